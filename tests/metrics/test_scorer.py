import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_ood import metrics
from sklearn_ood.metrics import selective_scorer

X, y = make_blobs(300, centers=4, cluster_std=2.0, random_state=0)
TAUGHT = np.flatnonzero(y < 3)
NAMES = {
    "aurc": -1,
    "eaurc": -1,
    "augrc": -1,
    "risk_at_coverage": -1,
    "coverage_at_risk": 1,
    "tnr_at_tpr": 1,
    "auroc": 1,
    "detection_accuracy": 1,
    "aupr_in": 1,
    "aupr_out": 1,
    "oscr": 1,
}
FOLDS = [
    (TAUGHT[fold != TAUGHT % 3], np.flatnonzero(np.arange(300) % 3 == fold))
    for fold in range(3)
]


class Selective(ClassifierMixin, BaseEstimator):
    """Answers "none" below a threshold; knows the class behind it."""

    def __init__(self, threshold=0.8):
        self.threshold = threshold

    def fit(self, X, y):
        self.estimator_ = LogisticRegression().fit(X, y)
        self.classes_ = self.estimator_.classes_
        return self

    def score_samples(self, X):
        return self.estimator_.predict_proba(X).max(axis=1)

    def answers(self, X):
        return self.estimator_.predict(X)

    def accept(self, X):
        return self.score_samples(X) >= self.threshold

    def predict(self, X):
        return np.where(self.accept(X), self.answers(X), -1)


@pytest.fixture(scope="module")
def fitted():
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(X[TAUGHT], y[TAUGHT])


@pytest.mark.parametrize("name", NAMES)
def test_value_is_the_metrics_with_its_sign(fitted, name):
    confidence = fitted.predict_proba(X).max(axis=1)
    function = getattr(metrics, f"{name}_score", getattr(metrics, name, None))
    if name in ("tnr_at_tpr", "auroc", "detection_accuracy", "aupr_in", "aupr_out"):
        expected = function(y < 3, confidence)
    elif name == "oscr":
        expected = function(y, fitted.predict(X), confidence, classes=fitted.classes_)
    else:
        expected = function(y, fitted.predict(X), confidence)
    assert selective_scorer(name)(fitted, X, y) == NAMES[name] * expected


def test_calibration_error_and_f_measure(fitted):
    confidence = fitted.predict_proba(X).max(axis=1)
    rows = (y, fitted.predict(X), confidence)
    error = metrics.expected_calibration_error(*rows, n_bins=7)
    assert selective_scorer("expected_calibration_error", n_bins=7)(fitted, X, y) == -error
    settings = {"classes": [0, 1, 2], "threshold": 0.7}
    f_measure = metrics.open_set_f_measure(*rows, **settings)
    assert selective_scorer("open_set_f_measure", threshold=0.7)(fitted, X, y) == f_measure


def test_unknown_rows_lower_the_score(fitted):
    scorer = selective_scorer()
    assert scorer(fitted, X, y) < scorer(fitted, X[TAUGHT], y[TAUGHT]) <= 0


@pytest.mark.parametrize("name", NAMES)
def test_grid_search_over_a_pipeline_with_outliers_in_the_test_folds(name):
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    grid = {"logisticregression__C": [1e-6, 1.0]}
    search = GridSearchCV(pipe, grid, scoring=selective_scorer(name), cv=FOLDS, refit=False)
    scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 2


@pytest.mark.parametrize(
    "estimator",
    [LinearSVC(), GaussianNB(), Selective(), make_pipeline(StandardScaler(), Selective())],
)
def test_any_classifier(estimator):
    scores = cross_val_score(estimator, X, y, scoring=selective_scorer("aurc"), cv=FOLDS)
    assert ((scores < 0) & (scores > -1)).all()


def test_text_labels():
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    with_text = cross_val_score(GaussianNB(), X, names, scoring=selective_scorer(), cv=FOLDS)
    with_numbers = cross_val_score(GaussianNB(), X, y, scoring=selective_scorer(), cv=FOLDS)
    assert np.array_equal(with_text, with_numbers)


def test_unknown_label_of_another_kind(fitted):
    mixed = y.astype(object)
    mixed[y == 3] = "unknown"
    for name in NAMES:
        scorer = selective_scorer(name)
        assert scorer(fitted, X, mixed) == scorer(fitted, X, y)


def test_report_is_for_several_metrics_at_once():
    result = cross_validate(
        GaussianNB(), X, y, scoring=selective_scorer("ood_report"), cv=FOLDS
    )
    for name in ("tnr_at_tpr", "auroc", "detection_accuracy", "aupr_in", "aupr_out"):
        single = cross_val_score(GaussianNB(), X, y, scoring=selective_scorer(name), cv=FOLDS)
        assert np.array_equal(result[f"test_{name}"], single)


def test_dict_of_scorers():
    scoring = {"aurc": selective_scorer("aurc"), "auroc": selective_scorer("auroc")}
    result = cross_validate(GaussianNB(), X, y, scoring=scoring, cv=FOLDS)
    assert {"test_aurc", "test_auroc"} <= set(result)


def test_ranking_looks_behind_the_rejection():
    plain = LogisticRegression().fit(X[TAUGHT], y[TAUGHT])
    for threshold in (0.0, 0.8, 2.0):
        selective = Selective(threshold).fit(X[TAUGHT], y[TAUGHT])
        assert selective_scorer()(selective, X, y) == selective_scorer()(plain, X, y)


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: make_pipeline(StandardScaler(), e)])
def test_decisions_of_a_classifier_that_rejects(wrap):
    estimator = wrap(Selective(0.9)).fit(X[TAUGHT], y[TAUGHT])
    answer = estimator.predict(X)
    answered = answer != -1
    assert selective_scorer("coverage")(estimator, X, y) == answered.mean()
    risk = (answer[answered] != y[answered]).mean()
    assert selective_scorer("selective_risk")(estimator, X, y) == pytest.approx(-risk)


def test_risk_of_nothing_answered_is_nan():
    estimator = Selective(2.0).fit(X[TAUGHT], y[TAUGHT])
    assert np.isnan(selective_scorer("selective_risk")(estimator, X, y))
    assert selective_scorer("coverage")(estimator, X, y) == 0


@pytest.mark.parametrize("name", ["coverage", "selective_risk"])
def test_decisions_need_accept(fitted, name):
    with pytest.raises(TypeError, match="SelectiveClassifier"):
        selective_scorer(name)(fitted, X, y)


@pytest.mark.parametrize(
    "name", ["tnr_at_tpr", "auroc", "ood_report", "aupr_out", "oscr", "open_set_f_measure"]
)
def test_fold_without_outliers_is_named(fitted, name):
    with pytest.raises(ValueError, match=r"Got 225 rows .* and 0 .*LeaveClassesOut"):
        selective_scorer(name)(fitted, X[TAUGHT], y[TAUGHT])


def test_estimators_without_a_confidence_or_classes():
    regressor = LinearRegression().fit(X, y)
    with pytest.raises(TypeError, match="a confidence comes from"):
        selective_scorer("aurc")(regressor, X, y)
    with pytest.raises(TypeError, match="without classes_"):
        selective_scorer("auroc")(regressor, X, y)
    with pytest.raises(TypeError, match="without predict_proba"):
        selective_scorer("expected_calibration_error")(LinearSVC().fit(X, y), X, y)


def test_unknown_name_and_unknown_setting():
    with pytest.raises(ValueError, match=r"metric='aucr'.*aurc"):
        selective_scorer("aucr")
    with pytest.raises(TypeError, match="'aurc' takes none"):
        selective_scorer("aurc", coverage=0.5)
    with pytest.raises(TypeError, match=r"\['cov'\], but .* takes \['coverage'\]"):
        selective_scorer("risk_at_coverage", cov=0.5)


def test_weights_are_repeated_rows(fitted):
    weights = np.arange(300) % 3 + 1
    rows = np.repeat(np.arange(300), weights)
    for name in NAMES:
        scorer = selective_scorer(name)
        weighted = scorer(fitted, X, y, sample_weight=weights)
        assert weighted == pytest.approx(scorer(fitted, X[rows], y[rows]))


def test_pickle_repr_and_clone(fitted):
    scorer = selective_scorer("risk_at_coverage", coverage=0.7)
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == repr(scorer) == "selective_scorer('risk_at_coverage', coverage=0.7)"
    assert repr(selective_scorer()) == "selective_scorer('aurc')"
    assert again(fitted, X, y) == scorer(fitted, X, y)
    search = clone(GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring=scorer))
    assert search.scoring == scorer
    assert hash(again) == hash(scorer)


def test_in_parallel():
    settings = {"scoring": selective_scorer(), "cv": FOLDS}
    one = cross_val_score(GaussianNB(), X, y, **settings)
    assert np.array_equal(one, cross_val_score(GaussianNB(), X, y, n_jobs=2, **settings))


def test_weights_are_routed_where_they_are_asked_for():
    weights = np.random.default_rng(0).integers(1, 30, len(y))
    scorer, by_hand = selective_scorer("aurc"), []
    for train, test in FOLDS:
        model = GaussianNB().fit(X[train], y[train], sample_weight=weights[train])
        by_hand.append(scorer(model, X[test], y[test], sample_weight=weights[test]))
    with config_context(enable_metadata_routing=True):
        inner = GaussianNB().set_fit_request(sample_weight=True)
        settings = {"cv": FOLDS, "params": {"sample_weight": weights}}
        with pytest.raises(UnsetMetadataPassedError, match="SelectiveScorer"):
            cross_val_score(inner, X, y, scoring=scorer, **settings)
        assert scorer.set_score_request(sample_weight=True) is scorer
        routed = cross_val_score(inner, X, y, scoring=scorer, **settings)
        several = cross_validate(inner, X, y, scoring={"one": scorer}, **settings)
    np.testing.assert_allclose(routed, by_hand)
    np.testing.assert_allclose(several["test_one"], by_hand)


def test_calibration_error_is_that_of_the_answer():
    binary = X[y < 2], y[y < 2]
    fixed = FixedThresholdClassifier(
        LogisticRegression(C=0.01), threshold=0.1, response_method="predict_proba"
    ).fit(*binary)
    answers = fixed.predict(X)
    of_answer = fixed.predict_proba(X)[np.arange(len(X)), answers]
    assert (of_answer < 0.5).any()
    error = metrics.expected_calibration_error(y, answers, of_answer)
    assert selective_scorer("expected_calibration_error")(fixed, X, y) == -error


def test_a_fold_of_training_rows_names_what_scores_them(fitted):
    with pytest.raises(ValueError, match=r"return_train_score=False.*HalvingGridSearchCV"):
        selective_scorer("auroc")(fitted, X[TAUGHT], y[TAUGHT])
