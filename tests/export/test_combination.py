"""A combination is one graph, to label, probabilities, p-value, confidence and accepted."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import ExtraTreesClassifier, IsolationForest, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    MahalanobisDistance,
    NeighborDistance,
    SelectiveClassifier,
    SoftmaxClassifier,
    TableEncoder,
    to_onnx,
)
from sklearn_ood.combined import _conformal
from sklearn_ood.combined._conformal import log_right
from sklearn_ood.detectors import scores_of_network
from sklearn_ood.export._answers import answers as answers_of
from sklearn_ood.export._comparison import run
from sklearn_ood.export._flow import Flow, Parts

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NAMES = ["label", "probabilities", "score", "accepted", "p_value", "confidence"]
X, Y = load_digits(return_X_y=True)
IMAGES = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)
NOISE = np.random.default_rng(0).random((100, 1, 8, 8), dtype=np.float32)


def answers(graph, rows):
    names = [each.name for each in graph.graph.output]
    said = run(graph, {"X": rows.reshape(len(rows), -1).astype(np.float64)})
    return dict(zip(names, said, strict=True))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    net = SoftmaxClassifier(nn.Sequential(*layers), max_epochs=5, random_state=0)
    return net.fit(IMAGES[:600], Y[:600]).net_.module_.network


def test_around_a_network(network):
    model = CombinedClassifier.from_module(
        network, IMAGES[600:1400], Y[600:1400], random_state=0
    )
    selective = SelectiveClassifier(FrozenEstimator(model), coverage=0.9)
    selective.fit(IMAGES[1000:1500], Y[1000:1500])
    rows = np.concatenate([IMAGES[1400:], NOISE])
    exported = to_onnx(selective, X=IMAGES[1400:1500])
    given = answers(exported, rows)
    assert list(given) == NAMES
    # The members share one network.
    assert sum(node.op_type == "Conv" for node in exported.graph.node) == 1
    np.testing.assert_allclose(given["probabilities"], model.predict_proba(rows), atol=1e-4)
    for name, method in (("score", "confidence"), ("p_value", "p_values")):
        np.testing.assert_allclose(given[name], getattr(model, method)(rows), atol=1e-4)
    np.testing.assert_array_equal(given["accepted"], selective.accept(rows))
    np.testing.assert_array_equal(given["label"], selective.predict(rows))
    assert 0 < given["accepted"].mean() < 1


def test_of_scikit_learn_and_of_densities():
    X, y = load_breast_cancer(return_X_y=True)
    members = [
        ("confidence", "classifier"),
        ("near", make_pipeline(StandardScaler(), NeighborDistance(3, max_samples=100))),
        ("mahalanobis", MahalanobisDistance(normalize=False)),
        ("trees", ExtraTreesClassifier(20, random_state=0)),
        ("pca", GenerativeClassifier("pca")),
        ("mixture", GenerativeClassifier("gmm")),
    ]
    forest = RandomForestClassifier(20, random_state=0)
    model = CombinedClassifier(forest, members, outlier_share=0, random_state=0).fit(X, y)
    given = answers(to_onnx(model, X=X), X + 0.1)
    np.testing.assert_array_equal(given["label"], model.predict(X + 0.1))
    np.testing.assert_allclose(given["confidence"], model.confidence(X + 0.1), atol=1e-7)
    np.testing.assert_allclose(given["p_value"], model.p_values(X + 0.1), atol=1e-4)
    np.testing.assert_allclose(given["score"], model.score_samples(X + 0.1), rtol=1e-3)


def test_members_that_ask_no_classifier_are_read_at_their_best_class():
    X, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(20, random_state=0)
    members = [("pca", GenerativeClassifier("pca"))]
    model = CombinedClassifier(forest, members, random_state=0).fit(X, y)
    graph = to_onnx(model, X=X)
    given = answers(graph, X + 0.1)
    np.testing.assert_allclose(given["p_value"], model.p_values(X + 0.1), atol=1e-4)
    np.testing.assert_allclose(given["confidence"], model.confidence(X + 0.1), atol=1e-4)
    # The forest takes a missing cell, the member does not.
    missing = np.where(np.arange(X.shape[1]) == 0, np.nan, X[:1])
    assert np.isnan(answers(graph, missing)["confidence"]).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_few_rows_that_calibrate_whose_p_values_jump(share):
    rows, members = X[:60], [("near", MahalanobisDistance(normalize=False))]
    forest = RandomForestClassifier(3, random_state=0)
    model = CombinedClassifier(forest, members, calibration=share, random_state=0)
    with pytest.warns(UserWarning, match="rows that calibrate"):
        model.fit(rows, Y[:60] > 4)
    given = answers(to_onnx(model, X=rows), NOISE)  # of which some calibrate
    expected = model.p_values(NOISE.reshape(100, -1))
    np.testing.assert_allclose(given["p_value"], expected, atol=1e-4)


def test_of_one_class():
    model = CombinedClassifier(members=[("m", MahalanobisDistance())], random_state=0)
    given = answers(to_onnx(model.fit(X), X=X), X)
    # A row that calibrated may lie on a step, which rounding takes or leaves.
    step = 1 / (model.n_calibration_ + 1)
    np.testing.assert_allclose(given["p_value"], model.p_values(X), rtol=0, atol=1.01 * step)
    assert (np.abs(given["p_value"] - model.p_values(X)) > 1e-9).mean() < 0.01
    assert (given["label"] == 1).all()


def test_a_member_without_a_form_is_named():
    members = [("forest", IsolationForest(n_estimators=10)), ("m", MahalanobisDistance())]
    model = CombinedClassifier(RandomForestClassifier(5), members).fit(X, Y)
    with pytest.raises(TypeError, match="In the member 'forest': Got IsolationForest"):
        to_onnx(model, X=X)


@pytest.mark.parametrize("method", list(_conformal.COMBINATIONS))
@pytest.mark.parametrize("share", [0, 0.05])
def test_calibration_in_tensors(method, share):
    """The same functions take arrays and tensors; scales are of several lengths."""
    rng = np.random.default_rng(0)
    drawn = np.hstack([rng.normal(size=(200, 2)), rng.standard_t(2, size=(200, 2)).round(1)])
    weights = np.array([2.0, 1.0, 0.5, 1.0])
    parts = [drawn[:100], drawn[100:]]
    scales, scale = _conformal.calibrated(parts, method, weights, is_crossed=False)
    scores = np.concatenate([3 * rng.normal(size=(500, 4)), [[9e9] * 4, [-9e9] * 4]])
    log_proba = np.log(rng.random(len(scores)))

    def said(scores, log_proba):
        typicality = -_conformal.combine(_conformal.on_scales(scales, scores), method, weights)
        log_p = scale.log_p(typicality)
        return scale.p_values(typicality), log_p, log_right(log_proba, log_p, share)

    given = said(torch.tensor(scores), torch.tensor(log_proba))
    for values, wanted in zip(given, said(scores, log_proba), strict=True):
        np.testing.assert_allclose(values.numpy(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", list(scores_of_network((np.eye(2), np.zeros(2)))))
def test_every_score_of_features_as_a_module(name):
    rng = np.random.default_rng(0)
    score = scores_of_network((rng.normal(size=(10, 64)), np.zeros(10)), random_state=0)[name]
    score.fit(X[:500], Y[:500])
    last, rows = (score[-1], score[:-1].transform(X)) if hasattr(score, "steps") else (score, X)
    flow = Flow(torch.tensor(rows, dtype=torch.float64), Parts(), [None] * rows.shape[1])
    with torch.no_grad():
        given = answers_of(last, flow).score
    np.testing.assert_allclose(given.numpy(), last.score_samples(rows), rtol=1e-9)


def encoded(estimator):
    return make_pipeline(TableEncoder(), estimator)


@pytest.mark.parametrize(
    ("member", "refuses"),
    [
        (encoded(NeighborDistance()), False),
        (encoded(GenerativeClassifier("pca")), False),
        (NeighborDistance(), True),
    ],
)
def test_missing_cells_are_refused_by_a_part_of_a_combination_or_not(member, refuses):
    forest = encoded(ExtraTreesClassifier(5, random_state=0))
    rows = X[:200, 2:12].copy()
    model = CombinedClassifier(forest, [("member", member)], random_state=0)
    model.fit(rows, Y[:200])
    rows[::5, 1] = np.nan
    flow = Flow(torch.tensor(rows), Parts(), [None] * rows.shape[1])
    with torch.no_grad():
        given = answers_of(model, flow).score.numpy()
    refused = np.isnan(rows).any(axis=1) & refuses
    np.testing.assert_array_equal(np.isnan(given), refused)
    expected = model.score_samples(rows[~refused])
    np.testing.assert_allclose(given[~refused], expected, atol=1e-6)
