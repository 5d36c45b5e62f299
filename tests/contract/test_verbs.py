"""What DESIGN promises of every classifier of the package, on every instance of the list."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from contract.estimators import ESTIMATORS
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, get_tags

from sklearn_ood import SelectiveClassifier
from sklearn_ood.metrics import selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut

CLASSIFIERS = [estimator for estimator in ESTIMATORS if is_classifier(estimator)]
X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = StandardScaler().fit_transform(X_IRIS)[::2]
Y_IRIS = Y_IRIS[::2]
ROWS, OUTLIERS = len(Y_IRIS), 25
X_OUTLIERS = np.random.default_rng(0).uniform(5, 9, size=(OUTLIERS, 4))


@pytest.fixture(scope="module", params=CLASSIFIERS, ids=lambda e: repr(e).replace(" ", ""))
def estimator(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(estimator):
    return clone(estimator).fit(X_IRIS, Y_IRIS)


def test_shapes_and_types_of_the_answers(fitted):
    assert fitted.predict(X_IRIS).shape == (ROWS,)
    assert fitted.predict_proba(X_IRIS).shape == (ROWS, 3)
    np.testing.assert_allclose(fitted.predict_proba(X_IRIS).sum(axis=1), 1.0, rtol=1e-9)
    decision = fitted.decision_function(X_IRIS)
    assert decision.shape == (ROWS, 3)
    np.testing.assert_array_equal(fitted.predict(X_IRIS), decision.argmax(axis=1))
    scores = fitted.score_samples(X_IRIS)
    assert scores.shape == (ROWS,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_higher_is_more_trustworthy_never_inverted(fitted):
    """Far rows are not trusted more than rows of the data, whatever the method."""
    far = np.concatenate([X_OUTLIERS, -X_OUTLIERS])
    assert np.isfinite(fitted.score_samples(1e4 * far)).all()
    if type(fitted).__name__ in {"GenerativeClassifier", "DAEConfidence"}:
        assert np.median(fitted.score_samples(far)) < np.median(fitted.score_samples(X_IRIS))


def test_rows_at_the_end_of_float32_are_scored(fitted):
    huge = np.random.default_rng(0).choice([-3e38, 3e38], size=(20, 4))
    with np.errstate(under="raise"):  # that a probability is as small as none is no error
        for method in (fitted.decision_function, fitted.score_samples):
            assert not np.isnan(method(huge)).any()
        np.testing.assert_allclose(fitted.predict_proba(huge).sum(axis=1), 1.0, rtol=1e-9)


def test_a_rows_score_does_not_depend_on_its_batch(fitted):
    whole = fitted.score_samples(X_IRIS)
    alone = np.concatenate([fitted.score_samples(X_IRIS[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(alone, whole[:7], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fitted.score_samples(X_IRIS[::-1])[::-1], whole, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e30])
def test_answers_and_confidence_at_once_are_those_asked_apart(fitted, scale):
    answers, confidence = fitted.answers_and_confidence(X_IRIS * scale)
    apart = getattr(fitted, "answers", fitted.predict)(X_IRIS * scale)
    np.testing.assert_array_equal(answers, apart)
    asked = getattr(fitted, "confidence", fitted.score_samples)(X_IRIS * scale)
    np.testing.assert_array_equal(confidence, asked)


def test_pickle_keeps_the_bits(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(X_IRIS), fitted.score_samples(X_IRIS))
    np.testing.assert_array_equal(again.predict(X_IRIS), fitted.predict(X_IRIS))


def test_same_seed_same_bits_and_global_generators_untouched(estimator, fitted):
    before = torch.get_rng_state(), pickle.dumps(check_random_state(None))
    with np.errstate(all="raise"):
        again = clone(fitted).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(again.score_samples(X_IRIS), fitted.score_samples(X_IRIS))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert pickle.dumps(check_random_state(None)) == before[1]


def test_string_labels_and_frames(estimator):
    names = np.array(["setosa", "versicolor", "virginica"])
    frame = pd.DataFrame(X_IRIS, columns=list("abcd"))
    model = clone(estimator).fit(frame, pd.Series(names[Y_IRIS]))
    assert list(model.classes_) == names.tolist()
    assert set(model.predict(frame)) <= set(names)
    assert list(model.feature_names_in_) == list("abcd")


def test_boolean_labels(estimator):
    model = clone(estimator).fit(X_IRIS, Y_IRIS == 0)
    assert set(model.predict(X_IRIS).tolist()) <= {True, False}
    assert model.decision_function(X_IRIS).shape == (ROWS,)


def test_images_of_four_dimensions(estimator):
    images = np.random.default_rng(0).random((24, 1, 8, 8), dtype=np.float32)
    y = np.arange(24) % 2
    if isinstance(estimator, SelectiveClassifier):
        pytest.skip("its inner estimator decides which shapes it takes")
    model = clone(estimator)
    if not hasattr(model, "input_shape") and "estimator" in model.get_params():
        pytest.skip("its inner estimator decides which shapes it takes")
    model.fit(images, y)
    np.testing.assert_array_equal(
        model.score_samples(images), model.score_samples(images.reshape(24, -1))
    )
    assert model.n_features_in_ == 64
    with pytest.raises(ValueError, match=r"\(1, 4, 16\).*\(1, 8, 8\)"):
        model.predict(images.reshape(24, 1, 4, 16))


def test_outlier_rows_ride_along_in_a_pipeline(estimator):
    X = np.concatenate([X_IRIS, X_OUTLIERS])
    y = np.append(Y_IRIS, np.full(OUTLIERS, -1))
    model = make_pipeline(StandardScaler(), clone(estimator).set_params(ood_label=-1))
    model.fit(X, y)
    assert list(model.classes_) == [0, 1, 2]
    assert model.score_samples(X).shape == (len(X),)
    assert 0 <= selective_scorer("auroc")(model, X, y) <= 1


def test_outlier_rows_only(estimator):
    with pytest.raises(ValueError, match="only outlier rows"):
        clone(estimator).set_params(ood_label=-1).fit(X_OUTLIERS, np.full(OUTLIERS, -1))


def test_grid_search_with_classes_left_out(estimator):
    search = GridSearchCV(
        clone(estimator),
        {"ood_label": [None]},
        scoring=selective_scorer("aurc"),
        cv=LeaveClassesOut(n_out=1, n_splits=1, random_state=0),
        error_score="raise",
    ).fit(X_IRIS, Y_IRIS)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((2, 4), np.nan), "NaN"),
        (np.full((2, 4), np.inf), "infinity"),
        (np.zeros((2, 3)), "3 features.*expecting 4"),
        (np.zeros((0, 4)), "0 sample"),
        (np.zeros(4), "1D array"),
    ],
)
def test_rows_that_cannot_be_scored(fitted, rows, message):
    if np.isnan(rows).any() and get_tags(fitted).input_tags.allow_nan:
        assert np.isfinite(fitted.score_samples(rows)).all()
        return
    with pytest.raises(ValueError, match=message):
        fitted.score_samples(rows)
