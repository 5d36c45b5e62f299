"""Any input to any public estimator: a right result, or an error that says what is wrong.

The suite tries a few inputs for each estimator, the same ones every time. The long run tries
others, as many as the environment says::

    SKLEARN_OOD_FUZZ_CASES=2000 pytest tests/test_fuzz.py -n 2
"""

import os
import signal
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity
from sklearn.utils.validation import check_is_fitted

from sklearn_ood import (
    BoundaryOutliers,
    CombinedClassifier,
    ConfidentClassifier,
    COOLClassifier,
    DAEConfidence,
    GANOutliers,
    GenerativeClassifier,
    GeValDi,
    MixupOutliers,
    NeighborDistance,
    NetFeatures,
    NoiseOutliers,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SiameseSimilarity,
    SoftmaxClassifier,
    UniformOutliers,
)
from sklearn_ood.generators import (
    GAN,
    VAE,
    GaussianMixtureGenerator,
    InterpolationGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
)

TINY = {"hidden_layer_sizes": (32,), "max_epochs": 2, "batch_size": 8, "random_state": 0}
SOFTMAX = SoftmaxClassifier(**TINY)
GAN_OUTLIERS = GANOutliers(hidden_layer_sizes=(32,), latent_dim=2)
SMALL_VAE = VAE(latent_dim=2, hidden_layer_sizes=(32,), max_epochs=2, random_state=0)
SMALL_GAN = GAN(
    latent_dim=2, hidden_layer_sizes=(32,), max_epochs=2, min_steps=0, random_state=0
)
MEMBERS = [("confidence", "classifier"), ("neighbors", NeighborDistance())]
GENERATORS = [
    PCAGenerator(),
    GaussianMixtureGenerator(2, random_state=0),
    NearestNeighborGenerator(),
    InterpolationGenerator(),
    SMALL_VAE,
    SMALL_GAN,
]
ESTIMATORS = {
    "SoftmaxClassifier": SOFTMAX,
    "SoftmaxClassifier, calibrated": SoftmaxClassifier(
        **TINY,
        early_stopping=True,
        temperature="calibrate",
        epsilon=0.1,
        class_weight="balanced",
    ),
    "COOLClassifier": COOLClassifier(**TINY, n_units_per_class=2),
    "ConfidentClassifier, GAN": ConfidentClassifier(**TINY, outliers=GAN_OUTLIERS),
    "ConfidentClassifier, given": ConfidentClassifier(**TINY, outliers="given"),
    "RejectClassifier": RejectClassifier(**TINY),
    "RejectClassifier, mixed": RejectClassifier(
        **TINY, outliers={"uniform": 1, "mixup": 1, "noise": 1}
    ),
    "DAEConfidence": DAEConfidence(**TINY),
    "DAEConfidence, typicality": DAEConfidence(
        **TINY, typicality=True, decoder="free", curvature="hutchinson"
    ),
    **{
        f"GenerativeClassifier, {type(generator).__name__}": GenerativeClassifier(
            generator, max_iter=3, n_candidates=4, random_state=0
        )
        for generator in GENERATORS
    },
    "NeighborDistance": NeighborDistance(2),
    "CombinedClassifier": CombinedClassifier(LogisticRegression(), MEMBERS, random_state=0),
    "CombinedClassifier, defaults": CombinedClassifier(SOFTMAX, random_state=0),
    "GeValDi": GeValDi(
        [("net", SOFTMAX), ("linear", LogisticRegression())],
        generator=GaussianMixtureGenerator(1),
        random_state=0,
    ),
    "NetFeatures": NetFeatures(SOFTMAX),
    "NoveltyDetector": NoveltyDetector(KernelDensity(), random_state=0),
    "NoveltyDetector, PCA": NoveltyDetector(GenerativeClassifier("pca"), contamination=0.1),
    "SelectiveClassifier": SelectiveClassifier(
        LogisticRegression(), coverage=0.8, random_state=0
    ),
    "SelectiveClassifier, promise": SelectiveClassifier(
        NeighborDistance(), risk=0.5, ood_acceptance=0.8, delta=0.4, random_state=0
    ),
    "SelectiveClassifier, net": SelectiveClassifier(
        SOFTMAX, detector=GenerativeClassifier("pca"), coverage=0.8, random_state=0
    ),
    **{type(generator).__name__: generator for generator in GENERATORS},
    "SiameseSimilarity": SiameseSimilarity(
        2, hidden_layer_sizes=(32,), max_epochs=2, random_state=0
    ),
}
SOURCES = [BoundaryOutliers(), UniformOutliers(), MixupOutliers(), NoiseOutliers()]

LONG_RUN = int(os.environ.get("SKLEARN_OOD_FUZZ_CASES", 0))
N_TESTS = len(ESTIMATORS) + len(SOURCES)
as_many = settings(
    max_examples=max(4, -(-LONG_RUN // N_TESTS)),
    derandomize=not LONG_RUN,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SECONDS = 60

DTYPES = ["f8", "f4", "f2", "i8", "i1", "u1", "?", "O", "c8", "U", "M8[D]", ">f8"]
FORMS = {
    "array": lambda X: X,
    "list": lambda X: X.tolist(),
    "by column": np.asfortranarray,
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
    "sparse": sparse.csr_array,
    "one dimension": np.ravel,
    "three dimensions": lambda X: X[:, :, None],
    "images": lambda X: X[:, None, :, None],
    "number": lambda X: 3.0,
    "nothing": lambda X: None,
}
VALUES = {
    "blobs": lambda rng, shape: rng.normal(size=shape) + 3.0 * rng.integers(3, size=shape),
    "constant": lambda rng, shape: np.full(shape, 7.0),
    "zero": lambda rng, shape: np.zeros(shape),
    "mixed scales": lambda rng, shape: (
        rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9, shape)
    ),
    "few rows repeated": lambda rng, shape: np.tile(rng.normal(size=shape[1]), (shape[0], 1)),
    "large": lambda rng, shape: rng.normal(size=shape) * 1e19,
    "huge": lambda rng, shape: rng.uniform(-3e38, 3e38, size=shape),
    "beyond float32": lambda rng, shape: rng.normal(size=shape) * 1e300,
    "tiny": lambda rng, shape: rng.normal(size=shape) * 1e-42,
}
CELLS = [np.nan, np.inf, -np.inf, 1e38, -1e20, 1e300, 5e-324]
LABELS = {
    "numbers": lambda codes: codes,
    "negative": lambda codes: codes - 2,
    "unsigned": lambda codes: codes.astype(np.uint8),
    "large": lambda codes: codes + 2**53,
    "whole floats": lambda codes: codes.astype(float),
    "fractions": lambda codes: codes / 3.0 + 0.1,
    "with NaN": lambda codes: np.where(codes == 1, np.nan, codes),
    "with inf": lambda codes: np.where(codes == 1, np.inf, codes),
    "booleans": lambda codes: codes == 0,
    "strings": lambda codes: np.array(["a", "bb", "ccc", "dddd"])[codes],
    "objects": lambda codes: np.array(["a", "bb", "ccc", "dddd"], dtype=object)[codes],
    "missing objects": lambda codes: np.array(["a", None, "c", "d"], dtype=object)[codes],
    "numbers and strings": lambda codes: np.array([1, "b", 2.5, "d"], dtype=object)[codes],
    "list": lambda codes: codes.tolist(),
    "series": lambda codes: pd.Series(codes, index=np.arange(len(codes))[::-1]),
    "categories": lambda codes: pd.Series(codes).astype("category"),
    "column": lambda codes: codes[:, None],
    "two columns": lambda codes: np.column_stack([codes, codes]),
    "one for each row": lambda codes: np.arange(len(codes)),
    "one too few": lambda codes: codes[:-1],
    "none": lambda codes: None,
}


@dataclass(frozen=True)
class Rows:
    """Rows of some shape, scale, dtype and form, made anew from their description."""

    seed: int
    shape: tuple
    values: str
    cells: tuple
    dtype: str
    form: str

    def make(self):
        rng = np.random.default_rng(self.seed)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            X = VALUES[self.values](rng, self.shape)
            for cell in self.cells if X.size else ():
                X.flat[rng.integers(X.size)] = cell
            X = (
                X.astype("i8").astype(self.dtype)
                if self.dtype == "M8[D]"
                else X.astype(self.dtype)
            )
            try:
                return FORMS[self.form](X)
            except (TypeError, ValueError):  # no sparse matrix of strings
                return X


@dataclass(frozen=True)
class Labels:
    """Labels of some kind for so many rows."""

    seed: int
    n_samples: int
    n_classes: int
    kind: str

    def make(self):
        codes = np.arange(max(1, self.n_samples)) % self.n_classes
        return LABELS[self.kind](np.random.default_rng(self.seed).permutation(codes))


SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def rows(draw, n_features, odd):
    """Rows that can be learned from, of any common dtype; odd ones may be anything."""
    return Rows(
        seed=draw(SEEDS),
        shape=(
            draw(st.sampled_from([30, 12, 60, 1, 2, 3, 0][: None if odd else 3])),
            n_features,
        ),
        values=draw(st.sampled_from([*VALUES])) if odd else "blobs",
        cells=tuple(draw(st.lists(st.sampled_from(CELLS), max_size=2))) if odd else (),
        dtype=draw(st.sampled_from(DTYPES[: None if odd else 5])),
        form=draw(st.sampled_from([*FORMS][: None if odd else 5])),
    )


@st.composite
def cases(draw):
    """Rows and labels to fit to, a label for outliers, and rows to predict: some of it odd."""
    odd = draw(st.sampled_from(["rows", "labels", "new rows", "labels and new rows", "all"]))
    width = draw(st.sampled_from([4, 2, 1, 9, 300, *([0] if odd == "all" else [])]))
    X = draw(rows(width, odd in ("rows", "all")))
    y = Labels(
        seed=draw(SEEDS),
        n_samples=X.shape[0],
        n_classes=draw(st.sampled_from([3, 2, 4, 1][: None if odd == "all" else 3])),
        kind=draw(st.sampled_from([*LABELS])) if "labels" in odd or odd == "all" else "numbers",
    )
    ood_label = draw(st.sampled_from([None, 1, "bb", 2.5, True]))
    new_width = draw(st.sampled_from([width, width, width, 3, 0]))
    X_new = draw(rows(new_width, "new rows" in odd or odd == "all"))
    return X, y, ood_label, X_new


@contextmanager
def in_time(seconds):
    """A hang becomes an error, where the system has alarms."""

    def give_up(*_):
        raise AssertionError(f"took more than {seconds} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def answer(function, *arguments):
    """What a call gives, or None where it says in a documented way that it cannot."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*arguments)
    except NotFittedError:
        raise
    except (ValueError, TypeError):
        return None


def check_numbers(values, n_rows, *, at_most=np.inf):
    values = np.asarray(values)
    assert values.shape[0] == n_rows
    assert values.dtype.kind == "f"
    assert not np.isnan(values).any()
    assert (values <= at_most).all()
    assert not np.isposinf(values).any()


def check_classifier(model, X, n_rows):
    predicted = answer(model.predict, X)
    assert (predicted is None) == (answer(model.score_samples, X) is None)
    if predicted is None:
        return
    assert predicted.shape == (n_rows,)
    assert set(predicted.tolist()) <= {
        *model.classes_.tolist(),
        getattr(model, "reject_label_", None),
    }
    proba = model.predict_proba(X)
    check_numbers(proba, n_rows, at_most=1.0 + 1e-9)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-6)


def check_answers(model, X):
    """Every method gives numbers, the same as for a plain array of the rows, or an error."""
    plain = np.ascontiguousarray(X.toarray() if sparse.issparse(X) else X)
    # A frame of float32 goes on as it is, and others compute in it.
    near = 1e-5 if plain.dtype == np.float32 and hasattr(X, "columns") else 1e-6
    for name in ("score_samples", "decision_function", "transform", "predict_log_proba"):
        values = answer(getattr(model, name), X) if hasattr(model, name) else None
        if values is not None:
            check_numbers(values, len(plain))
            again = answer(getattr(model, name), plain)
            np.testing.assert_allclose(again, values, rtol=near, atol=near)
    if is_classifier(model):
        check_classifier(model, X, len(plain))


def check_generator(generator, X):
    drawn = answer(partial(generator.sample, 3, random_state=0))
    if drawn is not None:
        assert drawn.shape == (3, generator.n_features_in_)
        check_numbers(drawn, 3)
    if hasattr(generator.core_, "encode"):
        y = None if generator.classes_ is None else generator.classes_[0]
        latents = answer(generator.encode, X, y)
        if latents is not None:
            check_numbers(latents, len(latents))


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@as_many
@given(case=cases())
def test_a_right_result_or_an_error_that_says_why(estimator, case):
    (X, y, X_new), ood_label = (part.make() for part in (case[0], case[1], case[3])), case[2]
    model = clone(estimator)
    if "ood_label" in model.get_params():
        model.set_params(ood_label=ood_label)
    with in_time(SECONDS):
        if answer(partial(model.fit, X), y) is None:
            with pytest.raises(NotFittedError):
                check_is_fitted(model)
            return
        check_is_fitted(model)
        if hasattr(model, "sample"):
            check_generator(model, X_new)
        for rows_to_answer in (X, X_new):
            check_answers(model, rows_to_answer)


@pytest.mark.parametrize("source", SOURCES, ids=repr)
@as_many
@given(case=cases(), n=st.sampled_from([0, 1, 7]))
def test_outlier_sources_give_rows_or_say_why_not(source, case, n):
    X, y = case[0].make(), case[1].make()
    with in_time(SECONDS):
        outliers = answer(source, X, y, n, 0)
    if outliers is not None:
        assert outliers.shape == (n, np.shape(X)[1])
        check_numbers(outliers, n)
