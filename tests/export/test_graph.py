"""One graph gives what the estimator gives: onnxruntime beside Python, on real rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)
from sklearn.svm import SVC

from data import load_images
from sklearn_ood import (
    ConfidentClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    GenerativeClassifier,
    MahalanobisDistance,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
    to_onnx,
)
from sklearn_ood.detectors import FDBD
from sklearn_ood.export._steps import OPSETS
from sklearn_ood.nets._heads import SCORE_FUNCTIONS, log1p

for package in ("onnx", "onnxscript", "skl2onnx"):
    pytest.importorskip(package)
onnxruntime = pytest.importorskip("onnxruntime")

SMALL = {"hidden_layer_sizes": (16,), "max_epochs": 4, "random_state": 0, "device": "cpu"}
X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_TABLE, Y_TABLE = load_breast_cancer(return_X_y=True)
X_TABLE = X_TABLE.astype(np.float32)


def run(model, rows):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": rows.astype(np.float64)}), strict=True))


def agrees(estimator, rows, graph=None):
    """Everything that the graph gives, beside Python; returns it."""
    answers = run(graph or to_onnx(estimator), rows)
    assert list(answers) == ["label", "probabilities", "score", "accepted"]
    np.testing.assert_allclose(
        answers["probabilities"], estimator.predict_proba(rows), atol=1e-4
    )
    np.testing.assert_allclose(
        answers["score"], estimator.score_samples(rows), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(answers["label"], estimator.predict(rows))
    return answers


@pytest.fixture(scope="module")
def softmax():
    return SoftmaxClassifier(**SMALL).fit(X[:800], Y[:800])


@pytest.fixture(scope="module")
def graph(softmax):
    return to_onnx(softmax)


def test_a_softmax(softmax, graph):
    assert agrees(softmax, X[800:], graph)["accepted"].all()


class Scores(torch.nn.Module):
    """Every score of logits."""

    def forward(self, logits):
        return torch.stack([each(logits) for each in SCORE_FUNCTIONS.values()], dim=1)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own
def test_every_score_of_a_softmax():
    """In one graph, since each export takes seconds."""
    logits = 30 * np.random.default_rng(0).normal(size=(200, 10))
    given = torch.onnx.export(
        Scores().eval(),
        (torch.tensor(logits),),
        input_names=["X"],
        opset_version=OPSETS[""],
        verbose=False,
    )
    (found,) = run(given.model_proto, logits).values()
    expected = Scores()(torch.tensor(logits)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "classifier",
    [
        ConfidentClassifier(outliers="boundary", temperature="calibrate", **SMALL),
        RejectClassifier(outliers="boundary", **SMALL),
        RejectClassifier(outliers="boundary", score_function="1-reject", **SMALL),
        COOLClassifier(n_units_per_class=3, **SMALL),
        DAEConfidence(curvature="off", typicality=True, decoder="free", **SMALL),
    ],
    ids=lambda classifier: repr(classifier).replace(" ", "")[:60],
)
def test_every_classifier_that_is_one_net(classifier):
    agrees(classifier.fit(X[:800], Y[:800]), X[800:])


def test_a_refused_row_gets_the_reject_label(tmp_path):
    names = np.array([f"digit {k}" for k in range(10)])[Y]
    model = SelectiveClassifier(SoftmaxClassifier(**SMALL), coverage=0.8, random_state=0)
    model.fit(X[:800], names[:800])
    graph = to_onnx(model, tmp_path / "digits.onnx")
    answers = agrees(model, X[800:], graph)
    np.testing.assert_array_equal(answers["accepted"], model.accept(X[800:]))
    assert 0 < answers["accepted"].mean() < 1
    assert (answers["label"] == "reject").sum() == (~answers["accepted"]).sum()
    of_nan = run(graph, np.full((1, 64), np.nan))
    assert not of_nan["accepted"][0]
    assert of_nan["label"][0] == "reject"
    session = onnxruntime.InferenceSession(tmp_path / "digits.onnx")
    assert session.get_modelmeta().custom_metadata_map["threshold"] == repr(model.threshold_)
    (label,) = session.run(["label"], {"X": X[800:801].astype(np.float64)})
    assert label.tolist() == model.predict(X[800:801]).tolist()


def test_another_net_decides_what_is_accepted():
    detector = COOLClassifier(n_units_per_class=2, **SMALL)
    model = SelectiveClassifier(
        SoftmaxClassifier(**SMALL), detector=detector, coverage=0.7, random_state=0
    ).fit(X[:800], Y[:800])
    answers = agrees(model, X[800:])
    assert (answers["label"] == -1).sum() == (~answers["accepted"]).sum() > 0


def test_who_answers_and_who_decides_have_steps_of_their_own():
    detector = make_pipeline(PCA(5), COOLClassifier(n_units_per_class=2, **SMALL))
    inner = make_pipeline(StandardScaler(), SoftmaxClassifier(**SMALL))
    selective = SelectiveClassifier(inner, detector=detector, coverage=0.8, random_state=0)
    model = make_pipeline(MinMaxScaler(), selective).fit(X_TABLE[:400], Y_TABLE[:400])
    assert 0 < agrees(model, X_TABLE[400:])["accepted"].mean() < 1


@pytest.mark.parametrize("outside", [True, False])
def test_preprocessing_in_front(outside):
    """Features from 1e-3 to 1e3: in double, as in scikit-learn."""
    net = SoftmaxClassifier(**SMALL)
    if outside:
        inner = SelectiveClassifier(net, coverage=0.9, random_state=0)
        model = make_pipeline(PowerTransformer(), StandardScaler(), inner)
    else:
        inner = make_pipeline(StandardScaler(), "passthrough", PolynomialFeatures(1), net)
        model = SelectiveClassifier(inner, coverage=0.9, random_state=0)
    frame = pd.DataFrame(X_TABLE, columns=[f"f{k}" for k in range(30)])
    model.fit(frame[:400], Y_TABLE[:400] == 1)
    graph = to_onnx(model)
    answers = run(graph, X_TABLE[400:])
    np.testing.assert_allclose(
        answers["probabilities"], model.predict_proba(frame[400:]), atol=1e-4
    )
    np.testing.assert_allclose(
        answers["score"], model.score_samples(frame[400:]), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(answers["label"], model.predict(frame[400:]))
    assert '"f29"' in graph.metadata_props[2].value


def test_a_sampler_is_no_part_of_the_graph(softmax):
    class Sampler(BaseEstimator):
        def fit_resample(self, X, y):
            return X, y

    steps = [("sampler", Sampler()), ("nothing", "passthrough"), ("classifier", softmax)]
    answers = run(to_onnx(Pipeline(steps)), X[800:])
    np.testing.assert_array_equal(answers["label"], softmax.predict(X[800:]))


def test_a_search_around_images():
    net = SoftmaxClassifier("small_cnn", input_shape=(1, 8, 8), **SMALL | {"max_epochs": 1})
    search = GridSearchCV(net, {"lr": [1e-2]}, cv=2).fit(X[:400], Y[:400])
    frozen = SelectiveClassifier(FrozenEstimator(search), threshold=-0.1)
    agrees(frozen.fit(X[:400], Y[:400]), X[800:])


class Tokens(torch.nn.Module):
    """A transformer's first and last layers: patches, and a norm, which squares."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = torch.nn.Conv2d(1, 6, 4, 4), torch.nn.LayerNorm(6)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.norm(self.patches(images).flatten(2).mT)[:, 0])


def test_a_network_with_a_norm_refuses_what_it_cannot_square():
    torch.manual_seed(0)
    network = SoftmaxClassifier.from_module(Tokens(), [0, 1, 2], (1, 8, 8))
    graph = to_onnx(network)
    agrees(network, X[:100], graph)
    assert np.isnan(run(graph, X[1:2] * 1e19)["score"]).all()


@pytest.mark.slow
def test_the_scores_on_mnist_and_on_its_outliers(real_data):
    real_data("mnist.npz", "notmnist.npz")
    images, y = load_images("mnist", split="train", return_X_y=True)
    letters, _ = load_images("notmnist", split="test", return_X_y=True)
    model = SelectiveClassifier(
        SoftmaxClassifier("cnn", input_shape=(1, 28, 28), max_epochs=1, random_state=0),
        coverage=0.9,
    ).fit(images[:1000], y[:1000])
    rows = np.concatenate([images[3000:3500], letters[:500]]).astype(np.float32)
    answers = run(to_onnx(model), rows)
    np.testing.assert_allclose(answers["probabilities"], model.predict_proba(rows), atol=1e-4)
    np.testing.assert_allclose(answers["score"], model.score_samples(rows), atol=1e-4)


@pytest.mark.parametrize("exporting", [False, True])
def test_log1p_is_exact_where_its_argument_is_tiny(exporting, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)
    x = torch.tensor([0.0, 1e-300, 1e-20, 1e-9, 0.3, 9.0], dtype=torch.float64)
    np.testing.assert_allclose(log1p(x).numpy(), np.log1p(x.numpy()), rtol=1e-14)


def with_steps(*steps):
    return make_pipeline(*steps, SoftmaxClassifier(**SMALL))


FAR = X_TABLE[:400].astype(np.float64) + 1.7e9


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([SimpleImputer(), StandardScaler()], FAR),
        ([MinMaxScaler()], FAR * 1e20),
        ([Normalizer("l1")], X_TABLE[:400]),
        ([KMeans(5, random_state=0), StandardScaler()], X_TABLE[:400]),
    ],
    ids=["imputer", "range", "norms", "clusters"],
)
def test_labels_far_from_zero_are_those_of_python(steps, rows):
    model = SelectiveClassifier(with_steps(*steps), coverage=0.9, random_state=0)
    model.fit(rows, Y_TABLE[:400])
    answers = run(to_onnx(model, X=rows), rows)
    np.testing.assert_array_equal(answers["label"], model.predict(rows))
    np.testing.assert_array_equal(answers["accepted"], model.accept(rows))


@pytest.mark.parametrize(
    "step", [PowerTransformer(), KBinsDiscretizer(4, encode="ordinal")], ids=str
)
def test_what_a_step_makes_of_nan_is_not_accepted(step):
    rows = X_TABLE[:400].astype(np.float64)
    model = SelectiveClassifier(with_steps(step), coverage=0.9, random_state=0)
    graph = to_onnx(model.fit(rows, Y_TABLE[:400]))
    rows[3, 7], rows[5, 0] = np.nan, np.inf
    answers = run(graph, rows[:6])
    assert not answers["accepted"][[3, 5]].any()
    assert np.isnan(answers["score"][[3, 5]]).all()
    usual = [0, 1, 2, 4]
    np.testing.assert_array_equal(answers["label"][usual], model.predict(rows[usual]))


def test_missing_values_are_filled_in_as_in_python():
    rows = X_TABLE[:400].astype(np.float64)
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    names = [f"f{k}" for k in range(30)]
    median = SimpleImputer(strategy="median")
    imputers = [("a", median, names[:10]), ("b", SimpleImputer(), names[10:])]
    frame = pd.DataFrame(rows, columns=names)
    model = with_steps(ColumnTransformer(imputers), StandardScaler())
    model.fit(frame, Y_TABLE[:400])
    answers = run(to_onnx(model), rows)
    np.testing.assert_array_equal(answers["label"], model.predict(frame))


def test_an_autoencoder_on_edge_rows():
    model = DAEConfidence(curvature="off", **SMALL).fit(X[:800], Y[:800])
    graph = to_onnx(model)
    agrees(model, X[800:], graph)
    rows = np.concatenate([np.zeros((1, 64)), X[:5] * 1e17, X[:5] * 1e25])
    agrees(model, rows.astype(np.float32), graph)
    assert not run(graph, np.full((1, 64), np.nan))["accepted"][0]


def test_the_state_of_torch_is_as_it_was_found(softmax, graph):
    expected = run(graph, X[:5])["score"]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            given = run(to_onnx(softmax), X[:5])["score"]
            assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("step", "rows", "message"),
    [
        (Normalizer("max"), X_TABLE - 500, "rows otherwise"),
        (LinearDiscriminantAnalysis(), X_TABLE, "output of shape"),
        (KNNImputer(), X_TABLE, "cannot convert"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_answers_otherwise_is_named(step, rows, message, tmp_path):
    model = with_steps(step).fit(rows[:400], Y_TABLE[: len(rows)][:400])
    with pytest.raises(TypeError, match=f"step '{type(step).__name__.lower()}'.*{message}"):
        to_onnx(model, tmp_path / "model.onnx", X=rows[:400])
    assert not (tmp_path / "model.onnx").exists()


class Mixing(torch.nn.Linear):
    """It makes numbers itself, in float32."""

    def forward(self, rows):
        logits = super().forward(rows)
        return logits @ torch.eye(logits.shape[1])


class Turning(torch.nn.Linear):
    def forward(self, rows):
        return torch.nn.functional.linear(super().forward(rows), -torch.eye(self.out_features))


@pytest.mark.parametrize("module", [Mixing, Turning])
def test_a_network_that_works_in_single_alone(module):
    agrees(SoftmaxClassifier(module, **SMALL).fit(X[:200], Y[:200]), X[200:300])


class Branching(torch.nn.Linear):
    def forward(self, rows):
        return super().forward(rows if rows.sum() > 0 else -rows)


class Length(torch.nn.Linear):
    def forward(self, rows):
        return super().forward(rows.reshape(len(rows), -1))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SVC(), "Got SVC, which has no ONNX form"),
        (IsolationForest(), "IsolationForest, which has no classes_"),
        (StandardScaler(), "StandardScaler, which has no classes_"),
        (SelectiveClassifier(GenerativeClassifier("knn")), "GenerativeClassifier.*searched"),
        (SoftmaxClassifier(epsilon=0.2, **SMALL), r"epsilon=0\.2.*gradients"),
        (RejectClassifier(outliers="boundary", epsilon=0.1, **SMALL), r"epsilon=0\.1"),
        (DAEConfidence(**SMALL), "curvature='auto'.*curvature='off'"),
        (
            DAEClassifier(LogisticRegression(), curvature="off", **SMALL),
            "DAEClassifier, which has no",
        ),
        (FDBD(), "FDBD, which has no classes_"),
        (NoveltyDetector(MahalanobisDistance()), "NoveltyDetector, which has no classes_"),
        (SoftmaxClassifier(Branching, **SMALL), "Branching.*torch.onnx cannot export"),
        (SoftmaxClassifier(Length, **SMALL), r"x\.shape\[0\] in place of len\(x\)"),
        (
            make_pipeline(FunctionTransformer(np.sort), SoftmaxClassifier(**SMALL)),
            "step 'functiontransformer'",
        ),
        (
            SelectiveClassifier(
                SelectiveClassifier(SoftmaxClassifier(**SMALL), threshold=-1.0, reject_label=11)
            ),
            "one threshold",
        ),
    ],
    ids=lambda value: repr(value).replace(" ", "")[:40],
)
def test_what_has_no_onnx_form_is_named(estimator, message):
    rows = np.concatenate([X[:60], X[:60]])
    with pytest.raises(TypeError, match=message):
        to_onnx(estimator.fit(rows, np.concatenate([Y[:60], Y[:60]])))


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:For the answers of")
def test_a_class_that_is_always_refused_has_a_threshold_too():
    model = SelectiveClassifier(GaussianNB(), risk=0.1, guarantee_for="class", random_state=0)
    few = np.flatnonzero((Y < 3) | (np.arange(len(Y)) % 9 == 0))
    model.fit(X[few], Y[few])
    assert {-np.inf, np.inf} & set(model.threshold_.tolist())
    accepted = run(to_onnx(model, X=X[:50]), X[:99])["accepted"]
    np.testing.assert_array_equal(accepted, model.accept(X[:99]))


@pytest.mark.parametrize("changed", [{"risk": 0.5}, {"risk": [0.1, 0.5]}, {"delta": 0.2}])
def test_a_threshold_that_was_chosen_by_other_parameters(softmax, changed):
    model = SelectiveClassifier(FrozenEstimator(softmax), risk=0.3).fit(X, Y)
    with pytest.raises(ValueError, match=r"the threshold was chosen by.*recalibrate"):
        to_onnx(model.set_params(**changed))


def test_labels_that_onnx_has_not(softmax):
    with pytest.raises(TypeError, match="encode the labels"):
        to_onnx(
            SoftmaxClassifier.from_module(
                softmax.net_.module_, np.arange(10).astype("datetime64[D]"), 64
            )
        )


def test_a_missing_package_names_the_extra(softmax, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"sklearn-ood\[onnx\]"):
        to_onnx(softmax)
