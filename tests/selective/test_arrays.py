from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity

from sklearn_ood import SelectiveClassifier, p_values_from_scores, threshold_from_scores
from sklearn_ood.selective._arrays import checked_loss

LIMITS = [
    {"risk": 0.3},
    {"coverage": 0.7},
    {"ood_acceptance": 0.6},
    {"risk": 0.5, "ood_acceptance": 0.6},
]


@pytest.fixture(scope="module")
def rows():
    X, y = make_classification(1200, n_informative=5, n_classes=3, flip_y=0.1, random_state=0)
    classifier = LogisticRegression(max_iter=500).fit(
        X[:600][y[:600] < 2], y[:600][y[:600] < 2]
    )
    return classifier, X[600:], y[600:]


@pytest.mark.parametrize("limits", LIMITS)
def test_the_threshold_is_that_of_the_estimator(rows, limits):
    classifier, X, y = rows
    if "risk" in limits and len(limits) == 1:
        X, y = X[y < 2], y[y < 2]
    model = SelectiveClassifier(FrozenEstimator(classifier), ood_label=2, delta=0.1, **limits)
    model.fit(X, y)
    proba = classifier.predict_proba(X).max(axis=1)
    found = threshold_from_scores(
        proba, y, classifier.predict(X), ood_label=2, delta=0.1, **limits
    )
    assert found == (model.threshold_, model.guarantee_)


def test_a_detector_needs_no_labels_for_a_coverage():
    scores = np.arange(10.0)
    assert threshold_from_scores(scores, coverage=0.3) == (7.0, {})


@pytest.mark.parametrize(
    ("arrays", "limits", "message"),
    [
        (([1.0, 2.0],), {}, "no limit"),
        (([1.0, 2.0],), {"coverage": 0.5, "risk": 0.1}, "coverage=0.5 together with risk"),
        (([1.0, 2.0],), {"risk": 0.1}, "y_true=None"),
        (([1.0, 2.0], [0, 1]), {"risk": 0.1}, "y_pred=None"),
        (([1.0, 2.0], [0, 1], [0]), {"risk": 0.1}, "y_pred with 1 rows"),
        (([1.0, np.nan], [0, 1], [0, 1]), {"risk": 0.1}, "1 NaN"),
        (([[1.0, 2.0]],), {"coverage": 0.5}, r"confidence of shape \(1, 2\)"),
        (([1.0, 2.0], [0, 1]), {"ood_acceptance": 0.1}, "from 0 outlier rows, .* ood_label"),
        (([1.0, 2.0], [0, 1], [0, 1]), {"risk": 0.1}, "No threshold can promise"),
        (([1.0, 2.0],), {"coverage": 1.5}, "coverage=1.5"),
        (([1.0, 2.0],), {"coverage": 0.5, "loss": [0, 1]}, "loss without risk"),
        (([np.inf] * 60, [0] * 60, [0, 1] * 30), {"risk": 0.3}, "accepting 60 rows"),
        (([-np.inf] * 60, [0] * 60, [0] * 30 + [1] * 30), {"risk": 0.3}, "accepting 60 rows"),
        (([], [], []), {"risk": 0.1}, "confidence with 0 rows"),
    ],
)
def test_errors_say_what_came(arrays, limits, message):
    with pytest.raises(ValueError, match=message):
        threshold_from_scores(*arrays, **limits)


@pytest.mark.parametrize("ends", [(-1.0, np.inf), (-np.inf, 1.0), (-np.inf, np.inf)])
def test_infinite_scores_are_accepted_together(ends):
    wrong = np.r_[[0] * 90, [1] * 10, [0] * 100, [1] * 100]
    scores = np.repeat(ends[::-1], [100, 200])
    threshold, promises = threshold_from_scores(scores, np.zeros(300), wrong, risk=0.3)
    accepted = scores >= threshold
    assert promises["risk"].n_accepted == accepted.sum() == 100
    assert promises["risk"].n_errors == wrong[accepted].sum() == 10


@pytest.mark.parametrize("labels", [["a", "b"], [0, 1]])
def test_labels_may_be_of_any_kind(labels):
    rng = np.random.default_rng(0)
    truth = rng.choice(labels, size=300)
    scores = rng.random(300)
    answers = np.where(scores > 0.3, truth, labels[0])
    threshold, promises = threshold_from_scores(scores, truth, answers, risk=0.1)
    accepted = scores >= threshold
    assert promises["risk"].n_accepted == accepted.sum()
    assert promises["risk"].n_errors == (truth != answers)[accepted].sum()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scores_may_be_tensors_of_a_graph(dtype):
    rng = np.random.default_rng(0)
    y, right = rng.integers(3, size=500), rng.random(500) < 0.9
    scores = torch.tensor(right + rng.random(500), requires_grad=True).to(dtype)
    plain = scores.detach().double().numpy()
    answers = np.where(right, y, (y + 1) % 3)
    found = threshold_from_scores(scores, torch.tensor(y), torch.tensor(answers), risk=0.2)
    assert found[0] == threshold_from_scores(plain, y, answers, risk=0.2)[0]
    np.testing.assert_array_equal(
        p_values_from_scores(scores, scores[:9]), p_values_from_scores(plain, plain[:9])
    )


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("wrapped", [np.asarray, torch.as_tensor, pd.Series])
@pytest.mark.parametrize("risk", [0.2, 0.35, [0.2, 0.35]])
def test_scores_of_few_bits_pass_a_threshold_as_often_as_is_promised(dtype, wrapped, risk):
    """Compared in their own type: just above a score that is refused must be a number of it."""
    rng = np.random.default_rng(0)
    scores = rng.integers(-5, 6, size=600) / (1 if "int" in dtype else 10)
    scores = scores > 0.2 if dtype == "bool" else scores.astype(dtype)
    answers = rng.random(600) > 0.55 + 0.4 * scores / scores.max()
    found = threshold_from_scores(wrapped(scores), np.zeros(600), answers, risk=risk)
    for threshold, promise in zip(np.ravel(found[0]).tolist(), found[1].values(), strict=True):
        assert promise.n_accepted < 600
        assert int((wrapped(scores) >= threshold).sum()) == promise.n_accepted


def test_a_type_that_numpy_lacks_has_its_own_steps():
    scores = torch.linspace(-1, 1, 200).bfloat16()
    answers = np.arange(200) < 100
    threshold, promises = threshold_from_scores(scores, np.zeros(200), answers, risk=0.1)
    assert int((scores >= threshold).sum()) == promises["risk"].n_accepted < 200


def test_losses_take_the_place_of_answers():
    rng = np.random.default_rng(0)
    scores = rng.random(1000)
    loss = 0.4 * (rng.random(1000) > scores)
    threshold, promises = threshold_from_scores(scores, loss=loss, risk=0.1)
    kept = scores >= threshold
    assert promises["loss"].n_errors == pytest.approx(loss[kept].sum())
    assert loss[kept].mean() < promises["loss"].bound <= 0.1
    with pytest.raises(ValueError, match=r"loss of shape \(1000,\) .* numbers in \[0, 1\]"):
        threshold_from_scores(scores, loss=loss * 3, risk=0.1)
    with pytest.raises(ValueError, match=r"loss=\[\[0.1\], \[0.2, 0.3\]\], whose lines differ"):
        threshold_from_scores(scores, loss=[[0.1], [0.2, 0.3]], risk=0.1)


def test_the_guide_s_threshold_for_a_detector_runs_as_written(rows):
    guide = Path(__file__).parents[2] / "docs" / "user_guide.rst"
    section = guide.read_text().split("A threshold for the detector that I have\n---")[1]
    code = section.split(".. code-block:: python\n")[1].split("\nAn estimator")[0]
    classifier, X, y = rows
    density = KernelDensity().fit(X)
    told = {
        "pyod_detector": SimpleNamespace(decision_function=lambda X: -density.score_samples(X)),
        "X_held_out": X,
        "confidence": classifier.predict_proba(X).max(axis=1),
        "y_true": y,
        "y_pred": classifier.predict(X),
    }
    exec(dedent(code).replace("risk=0.02", "risk=0.6"), told)
    assert (told["scores"] >= told["threshold"]).shape == (600,)
    assert told["promises"]["risk"].bound <= 0.6


@pytest.mark.parametrize("kind", [bool, int])
def test_losses_that_are_errors_are_promised_as_errors_are(kind):
    rng = np.random.default_rng(0)
    scores, truth = rng.random(500), np.zeros(500)
    wrong = rng.random(500) > 0.5 + scores
    found, promises = threshold_from_scores(scores, loss=wrong.astype(kind), risk=0.1)
    expected, of_errors = threshold_from_scores(scores, truth, wrong, risk=0.1)
    assert found == expected
    assert promises["loss"].bound == of_errors["risk"].bound


COSTS = np.array([[0, 0.2, 1], [0.1, 0, 0.5], [1, 1, 0]])


@pytest.mark.parametrize("names", [["b", "c", "a"], ["a", "b", "c"]])
def test_a_frame_of_losses_goes_by_its_names(names):
    places = [list("abc").index(name) for name in names]
    frame = pd.DataFrame(COSTS[np.ix_(places, places)], names, names)
    for loss in (frame, pd.DataFrame(COSTS), COSTS.tolist()):
        np.testing.assert_array_equal(checked_loss(loss, np.array(list("abc"))), COSTS)


@pytest.mark.parametrize(
    ("lines", "columns"),
    [
        (["b", "c", "a"], None),
        (None, ["a", "b", "c"]),
        (["a", "b", "c"], ["a", "b", "C"]),
        ([0, 1, 2], [1, 2, 3]),
    ],
)
def test_a_frame_of_losses_with_other_names_is_an_error(lines, columns):
    with pytest.raises(ValueError, match="loss with the names .*, but expected a line for"):
        checked_loss(pd.DataFrame(COSTS, lines, columns), np.array(list("abc")))


@pytest.mark.parametrize(("n_rows", "help_"), [(20, r" \(at least 29\),"), (200, ",")])
def test_how_many_rows_at_least_is_said_where_there_are_fewer(n_rows, help_):
    wrong = np.arange(n_rows) % 2
    with pytest.raises(ValueError, match=f"more calibration rows{help_} or a better"):
        threshold_from_scores(np.ones(n_rows), np.zeros(n_rows), wrong, risk=0.1)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e308])
def test_weights_of_any_scale_give_the_same_p_values(scale):
    weights = {"calibration_weight": [scale, scale / 2, scale], "sample_weight": [scale, scale]}
    found = p_values_from_scores([1.0, 2.0, 3.0], [0.5, 2.5], **weights)
    np.testing.assert_allclose(found, [1 / 3.5, 2.5 / 3.5], rtol=1e-12)
