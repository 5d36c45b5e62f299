"""What a user writes, for the type checker: it is checked and never run."""

from typing import assert_type

from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    NeighborDistance,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.metrics import (
    ConfidenceHistogramDisplay,
    RiskCoverageDisplay,
    aurc_score,
    auroc,
    bootstrap_interval,
    expected_calibration_error,
    ood_report,
    open_set_f_measure,
    openness,
    oscr_score,
    prediction_set_distance,
    risk_at_coverage,
    risk_coverage_curve,
    selective_scorer,
    tnr_at_tpr,
)
from sklearn_ood.model_selection import LeaveClassesOut

X, y = load_iris(return_X_y=True)


def decide() -> float:
    """A classifier that may refuse."""
    selective = SelectiveClassifier(LogisticRegression(), risk=0.05, delta=0.1, random_state=0)
    assert_type(selective.fit(X, y), SelectiveClassifier)
    answers = selective.predict(X)
    assert_type(answers, NDArray)
    assert_type(selective.accept([[5.1, 3.5, 1.4, 0.2]]), NDArray)
    assert_type(selective.answers_and_confidence(X), tuple[NDArray, NDArray])
    return selective.accept(X).mean()


def detect() -> None:
    """A detector of outliers."""
    detector = NoveltyDetector(GaussianMixture(), contamination="auto").fit(X)
    assert_type(detector, NoveltyDetector)
    assert_type(detector.decision_function(X), NDArray)
    assert_type(NoveltyDetector(GaussianMixture(), contamination=0.1).fit_predict(X), NDArray)


def classify() -> None:
    """The verbs of every classifier."""
    classifier = SoftmaxClassifier(lr=0.01, random_state=0)
    classifier.fit(X, y)
    assert_type(classifier.predict(X=X), NDArray)
    assert_type(classifier.score_samples(X), NDArray)
    assert_type(NeighborDistance(n_neighbors=3).class_score_samples(X, y), NDArray)


def judge() -> None:
    """Metrics."""
    answers, confidence = SelectiveClassifier(LogisticRegression()).answers_and_confidence(X)
    assert_type(aurc_score(y, answers, confidence), float)
    assert_type(aurc_score(y_true=y, y_pred=answers, confidence=confidence), float)
    assert_type(aurc_score([0, 1], ["a", "b"], [0.1, 0.2], sample_weight=[1, 2]), float)
    assert_type(risk_at_coverage(y, answers, confidence, coverage=0.8), float)
    assert_type(auroc(y < 2, confidence), float)
    assert_type(tnr_at_tpr(y < 2, confidence, tpr=0.9, sample_weight=None), float)
    assert_type(oscr_score(y, answers, confidence, classes=[0, 1]), float)
    assert_type(open_set_f_measure(y, answers, confidence, classes=[0], threshold=0.5), float)
    assert_type(expected_calibration_error(y, answers, confidence, n_bins=10), float)
    assert_type(openness(2, 10, n_target=2), float)
    assert_type(ood_report(y < 2, confidence)["auroc"], float)
    for part in risk_coverage_curve(y, answers, confidence):
        assert_type(part, NDArray)
    assert_type(
        prediction_set_distance([[0.7, 0.3]], [[0.2, 0.8]], {"a": [0, 1]}, n=1), NDArray
    )
    interval = bootstrap_interval(risk_at_coverage, y, answers, confidence, coverage=0.8)
    assert_type(interval, tuple[float, float])


def draw() -> None:
    """Pictures."""
    selective = SelectiveClassifier(LogisticRegression()).fit(X, y)
    answers, confidence = selective.answers_and_confidence(X)
    display = RiskCoverageDisplay.from_estimator(selective, X, y, name="mine", color="green")
    assert_type(display, RiskCoverageDisplay)
    assert_type(display.plot(optimal=False), RiskCoverageDisplay)
    histogram = ConfidenceHistogramDisplay.from_predictions(
        y, answers, confidence, classes=[0, 1]
    )
    assert_type(histogram.threshold, float | None)


def select() -> float:
    """Model selection, with scikit-learn's own tools around."""
    splitter = LeaveClassesOut(1, n_splits=3, random_state=0)
    for train, test in splitter.split(X, y):
        assert_type((train, test), tuple[NDArray, NDArray])
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        scoring=selective_scorer("risk_at_coverage", coverage=0.8),
        cv=splitter,
    )
    search.fit(X, y)
    return selective_scorer()(search, X, y)
