import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, is_outlier_detector
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    DriftMonitor,
    NeighborDistance,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
)


class FirstColumn(BaseEstimator):
    """The first column is the score."""

    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0]


class Alone(BaseEstimator):
    """PyOD's contract; how far out, each row by itself."""

    def fit(self, X, y=None):
        self.known_ = np.sort(np.abs(X).max(axis=1))
        self.decision_scores_ = self.decision_function(X)
        return self

    def decision_function(self, X):
        return np.abs(X).max(axis=1)


class Ranked(Alone):
    """As PyOD's ECOD and COPOD: ranks among the rows that it learned and those beside it."""

    def decision_function(self, X):
        far = super().decision_function(X)
        every = np.sort(np.concatenate([self.known_, far]))
        return np.searchsorted(every, far, side="right") / len(every)


class Several(Alone):
    """As PyOD's COF and SOD: knows no row but those beside it."""

    def decision_function(self, X):
        return np.abs(X[:, 0] - X[[1], 0])


class Told(Alone):
    """As PyOD's XGBOD: must be told which rows are outliers."""

    def fit(self, X, y):
        return super().fit(X[y == 0])


class Drawn(Alone):
    """As PyOD's LMDD: by chance."""

    def decision_function(self, X):
        return np.random.default_rng().normal(size=len(X))


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal(size=(500, 3))


def test_the_outlier_detectors_contract(normal):
    detector = NoveltyDetector(GaussianMixture(random_state=0), contamination=0.1).fit(normal)
    assert is_outlier_detector(detector)
    decision = detector.decision_function(normal)
    np.testing.assert_allclose(decision, detector.score_samples(normal) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(normal), np.where(decision < 0, -1, 1))
    assert (detector.predict(normal) == -1).mean() == pytest.approx(0.1)
    assert (detector.predict(normal + 20) == -1).all()


def test_auto_refuses_one_in_twenty_new_rows_of_a_method_that_remembers(normal):
    """A narrow kernel density is high at its own training rows and low everywhere else."""
    density = KernelDensity(bandwidth=0.3)
    fresh = np.random.default_rng(1).normal(size=(2000, 3))
    auto = NoveltyDetector(density, random_state=0).fit(normal)
    remembering = NoveltyDetector(density, contamination=0.05).fit(normal)
    assert 0.02 < (auto.predict(fresh) == -1).mean() < 0.09
    assert (remembering.predict(fresh) == -1).mean() > 0.1


@pytest.mark.parametrize("n_rows", [38, 60, 100, 500])
def test_auto_refuses_one_in_twenty_on_average_of_few_rows_too(n_rows):
    """The score is uniform, so that the offset is the share of new rows below it."""
    rng = np.random.default_rng(0)
    scores = [rng.random((n_rows, 1)) for _ in range(400)]
    found = [NoveltyDetector(FirstColumn(), random_state=0).fit(X).offset_ for X in scores]
    assert abs(np.mean(found) - 0.05) < 4 * np.std(found) / 20
    shares = []
    for X in scores:  # of the density 2 (1 - x), of which 1 - (1 - x) ** 2 lies below x
        weighted = NoveltyDetector(FrozenEstimator(FirstColumn().fit(X)))
        weighted.fit(X, sample_weight=1 - X[:, 0])
        shares.append(1 - (1 - weighted.offset_) ** 2)
    assert 0.03 < np.mean(shares) < 0.05 + 4 * np.std(shares) / 20


def test_too_few_rows_to_hold_any_out_are_known_by_heart():
    X = np.random.default_rng(0).normal(size=(19, 2))
    with pytest.warns(UserWarning, match="holds rows out where there are 20 or more"):
        detector = NoveltyDetector(NeighborDistance()).fit(X)
    assert (detector.predict(X + 0.01) == -1).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NoveltyDetector(NeighborDistance()).fit(np.vstack([X, X[:1] + 1]))
        NoveltyDetector(KernelDensity()).fit(X)


def test_a_search_of_what_calibrates_itself_holds_nothing_out(normal):
    y = np.arange(len(normal)) % 2
    combined = CombinedClassifier(GaussianNB(), [("near", NeighborDistance())])
    search = GridSearchCV(combined, {"classifier__var_smoothing": [1e-9]}, cv=2)
    detector = NoveltyDetector(search).fit(normal, y)
    assert detector.estimator_.best_estimator_.n_calibration_ == len(normal)


def test_a_share_of_rows_that_are_known_by_heart_is_warned_of(normal):
    """Nearest rows are at distance 0 to themselves: new ones all lie below the offset."""
    with pytest.warns(UserWarning, match="contamination='auto', which holds rows out"):
        detector = NoveltyDetector(NeighborDistance(), contamination=0.1).fit(normal[:200])
    assert (detector.predict(normal[200:]) == -1).all()


def test_around_a_classifier_and_a_pipeline():
    X, y = load_iris(return_X_y=True)
    inner = make_pipeline(StandardScaler(), SoftmaxClassifier(max_epochs=20, random_state=0))
    detector = NoveltyDetector(inner, contamination=0.05).fit(X, y)
    assert (detector.predict(X) == -1).sum() == pytest.approx(0.05 * len(X), abs=1)
    assert detector.n_features_in_ == 4


def test_labels_are_asked_for_where_they_are_needed(normal):
    with pytest.raises(ValueError, match="requires y"):
        NoveltyDetector(LogisticRegression(), contamination=0.1).fit(normal, None)


def test_a_frozen_estimator_is_not_fitted_again_and_all_rows_place_the_offset(normal):
    density = KernelDensity().fit(normal[:100])
    for frozen in (FrozenEstimator(density), make_pipeline(FrozenEstimator(density))):
        detector = NoveltyDetector(frozen).fit(normal[100:])
        assert detector.estimator_ is frozen
        scores = density.score_samples(normal[100:])
        assert detector.offset_ == np.quantile(scores, 0.05, method="weibull")


def test_a_frozen_classifier_needs_no_labels():
    X, y = load_iris(return_X_y=True)
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X, y))
    detector = NoveltyDetector(frozen, contamination=0.1).fit(X)
    assert (detector.predict(X) == -1).mean() == pytest.approx(0.1)


def test_what_a_frozen_classifier_was_not_taught_places_nothing():
    X, y = load_iris(return_X_y=True)
    known = y < 2
    frozen = FrozenEstimator(LogisticRegression(max_iter=500).fit(X[known], y[known]))
    alone = NoveltyDetector(frozen).fit(X[known], y[known])
    assert NoveltyDetector(frozen).fit(X, y).offset_ == alone.offset_
    assert len(DriftMonitor(frozen).fit(X, y).reference_scores_) == known.sum()
    with pytest.raises(ValueError, match="the classes that were learned are"):
        NoveltyDetector(frozen).fit(X, y.astype(str))


@pytest.fixture(scope="module")
def contaminated(normal):
    """Known outliers are the last fifth, labelled -1 as scikit-learn's tools pass it."""
    X = np.vstack([normal, np.random.default_rng(2).normal(6, 1, size=(125, 3))])
    return X, np.repeat([1, -1], [500, 125])


@pytest.mark.parametrize("estimator", [NeighborDistance(), KernelDensity(), IsolationForest()])
@pytest.mark.parametrize("contamination", ["auto", 0.05])
def test_labels_of_minus_one_are_outliers_and_neither_train_nor_place(
    contaminated, estimator, contamination
):
    X, y = contaminated
    detector = NoveltyDetector(estimator, contamination=contamination, random_state=0)
    assert (
        cross_val_score(detector, X, y, scoring="roc_auc", cv=StratifiedKFold(3)).min() > 0.99
    )
    for as_given in (y, y[:, None]):
        detector.fit(X, as_given)
        assert (detector.predict(X[y == -1]) == -1).all()
    assert (detector.predict(X[y == 1]) == -1).mean() < 0.12


def test_an_ood_label_inside_names_the_outliers(contaminated):
    X, y = contaminated
    inner = NeighborDistance(ood_label=-1)
    named = NoveltyDetector(inner, random_state=0).fit(X, y)
    assert list(named.estimator_.classes_) == [1]
    unnamed = NoveltyDetector(NeighborDistance(), random_state=0).fit(X, y)
    assert named.offset_ == unnamed.offset_


def test_minus_one_and_one_are_classes_of_what_needs_labels_with_a_warning(contaminated):
    with pytest.warns(UserWarning, match="LogisticRegression takes for classes"):
        detector = NoveltyDetector(LogisticRegression()).fit(*contaminated)
    assert list(detector.estimator_.classes_) == [-1, 1]
    X, y = load_iris(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NoveltyDetector(LogisticRegression(max_iter=500)).fit(X[:100], y[:100])


def test_a_level_below_the_resolution_of_the_p_values_is_an_error(normal):
    members = [("density", KernelDensity())]
    combined = CombinedClassifier(None, members, calibration=40, random_state=0)
    fitted = NoveltyDetector(combined, contamination=1 / 21).fit(normal)
    assert fitted.estimator_.n_calibration_ == 20
    message = r"contamination=0\.04, but no p-value of CombinedClassifier is below 0\.0476"
    with pytest.raises(ValueError, match=message):
        NoveltyDetector(combined, contamination=0.04).fit(normal)
    refused = (fitted.predict(np.random.default_rng(3).normal(size=(2000, 3))) == -1).mean()
    assert refused < 0.15


def test_the_score_is_novelty_also_of_what_has_another_confidence(normal):
    class Sure(KernelDensity):
        def confidence(self, X):
            return np.zeros(len(X))

    detector = NoveltyDetector(Sure()).fit(normal)
    np.testing.assert_array_equal(
        detector.score_samples(normal), detector.estimator_.score_samples(normal)
    )


def test_a_density_of_bounded_support_places_a_number(normal):
    tophat = KernelDensity(kernel="tophat", bandwidth=0.3)
    detector = NoveltyDetector(tophat, contamination=0.4, random_state=0).fit(normal)
    assert np.isfinite(detector.offset_)
    assert (detector.predict(normal + 50) == -1).all()
    auto = NoveltyDetector(tophat, random_state=0)
    with pytest.warns(UserWarning, match="-inf, for 5% of the rows or more from KernelDensity"):
        auto.fit(normal)  # most of the rows are outside
    assert np.isfinite(auto.decision_function(normal + 50)).all()


@pytest.mark.parametrize("contamination", [-0.1, 0.0, 0.6, "some"])
def test_contamination_out_of_range(normal, contamination):
    detector = NoveltyDetector(KernelDensity(), contamination=contamination)
    with pytest.raises(
        ValueError, match=r"contamination=.*expected one of 'auto' or a float in .*0\.5\]"
    ):
        detector.fit(normal)


@pytest.mark.parametrize(
    "detector", [Ranked(), Several(), Drawn()], ids=["ranked", "several", "drawn"]
)
@pytest.mark.parametrize(
    "around",
    [
        lambda each: NoveltyDetector(each, random_state=0),
        lambda each: SelectiveClassifier(
            LogisticRegression(), detector=each, coverage=0.9, random_state=0
        ),
        lambda each: CombinedClassifier(
            LogisticRegression(), [("it", each)], calibration=0.3, random_state=0
        ),
    ],
    ids=["novelty", "selective", "combined"],
)
def test_scores_that_hang_on_the_rows_beside_a_row_are_a_warning(normal, detector, around):
    labels = np.arange(len(normal)) % 2
    with pytest.warns(UserWarning, match="of a row among others, but alone .*StandardScaler, "):
        around(make_pipeline(StandardScaler(), detector)).fit(normal, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        around(make_pipeline(StandardScaler(), Alone())).fit(normal, labels)


def test_a_detector_that_is_told_of_outliers_takes_no_classes_for_them(normal):
    labels = np.arange(len(normal)) % 2
    classifier, told = LogisticRegression(), make_pipeline(StandardScaler(), Told())
    with pytest.raises(TypeError, match="Told, which learns from y which rows are outliers"):
        SelectiveClassifier(classifier, detector=told, coverage=0.9).fit(normal, labels)
    with pytest.raises(TypeError, match="Told, which learns from y which rows are outliers"):
        CombinedClassifier(classifier, [("it", told)], calibration=0.3).fit(normal, labels)
    frozen = FrozenEstimator(told.fit(normal, np.zeros(len(normal))))
    SelectiveClassifier(classifier, detector=frozen, coverage=0.9).fit(normal, labels)
    CombinedClassifier(classifier, [("it", frozen)], calibration=0.3).fit(normal, labels)
