import pickle

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from sklearn_ood import BoundaryOutliers, RejectClassifier, UniformOutliers
from sklearn_ood.classifiers._outlier import reject_loss
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.nets._evaluation import forward

X, y = load_iris(return_X_y=True)
SQUARE = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.fixture(scope="module")
def iris():
    return RejectClassifier(max_epochs=30, lr=1e-2, random_state=0).fit(X, y)


def test_scores_are_log_odds_against_the_last_output(iris):
    logits = forward(iris.net_, X.astype(np.float32))
    assert logits.shape == (150, 4)
    assert np.allclose(iris.decision_function(X), logits[:, :3] - logits[:, 3:])
    assert np.allclose(iris.score_samples(X), iris.decision_function(X).max(axis=1))
    assert np.allclose(iris.predict_proba(X), softmax(logits[:, :3], axis=1))


def test_margin_is_negative_exactly_where_reject_wins(iris):
    rows = np.concatenate([X, X * 3 - 5, X[::-1] * 0.2])
    logits = forward(iris.net_, rows.astype(np.float32))
    assert np.array_equal(iris.score_samples(rows) >= 0, logits.argmax(axis=1) != 3)
    assert iris.score(X, y) > 0.93


def test_one_minus_reject_is_the_log_probability_of_any_class(iris):
    other = pickle.loads(pickle.dumps(iris)).set_params(score_function="1-reject")
    logits = forward(iris.net_, X.astype(np.float32))
    expected = logsumexp(logits[:, :3], axis=1) - logsumexp(logits, axis=1)
    assert np.allclose(other.score_samples(X), expected, atol=1e-9)


@pytest.mark.parametrize("confidence", ["margin", "1-reject"])
def test_epsilon_raises_the_score(iris, confidence):
    other = pickle.loads(pickle.dumps(iris)).set_params(score_function=confidence)
    before = other.score_samples(X)
    moved = other.set_params(epsilon=1e-3).score_samples(X) - before
    assert (moved > 0).mean() > 0.99


def test_reject_loss_is_the_cross_entropy_of_the_last_class():
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits, torch.full((7,), 3))
    assert torch.allclose(reject_loss(logits), expected)


def test_boundary_outliers_alone_bound_the_classes():
    toy, labels = make_two_gaussians(600, random_state=0)
    classifier = RejectClassifier(
        outliers=BoundaryOutliers(between=0.1),
        hidden_layer_sizes=(100, 100),
        max_epochs=40,
        random_state=0,
    ).fit(toy, labels)
    box = make_two_gaussians(2, outliers="box", n_outliers=2000, random_state=1)
    outside = box[0][box[1] == -1]
    assert (classifier.score_samples(outside) < 0).mean() > 0.9
    assert (classifier.score_samples(toy) >= 0).mean() > 0.8
    assert classifier.score(toy, labels) == 1.0


@pytest.mark.parametrize("n_features", [2, 20])
def test_new_rows_of_the_classes_are_kept_and_far_ones_refused(n_features):
    rng = np.random.RandomState(0)
    centers = 10.0 * np.eye(4, n_features) if n_features > 3 else 10.0 * np.array(SQUARE)
    codes = rng.randint(4, size=4000)
    rows = centers[codes] + rng.normal(size=(4000, n_features))
    classifier = RejectClassifier(max_epochs=60, batch_size=128, random_state=0)
    classifier.fit(rows[:2000], codes[:2000])
    kept = classifier.score_samples(rows[2000:]) >= 0
    assert (kept & (classifier.predict(rows[2000:]) == codes[2000:])).mean() > 0.95
    directions = rng.normal(size=(500, n_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for radius in (30, 100, 1000):
        far = centers.mean(axis=0) + radius * directions
        assert (classifier.score_samples(far) < 0).all()


def test_known_outliers_ride_along_in_a_pipeline_and_form_no_class():
    toy, labels = make_two_gaussians(300, outliers="boundary", random_state=0)
    pipe = make_pipeline(
        StandardScaler(),
        RejectClassifier(outliers="given", ood_label=-1, max_epochs=60, random_state=0),
    ).fit(toy, labels)
    assert pipe.classes_.tolist() == [0, 1]
    scores = pipe.score_samples(toy)
    assert np.quantile(scores[labels != -1], 0.1) > np.median(scores[labels == -1])


def test_class_weights_and_calibration_see_the_classes_only():
    digits, target = load_digits(return_X_y=True)
    classifier = RejectClassifier(
        class_weight="balanced",
        temperature="calibrate",
        outliers="mixup",
        max_epochs=5,
        random_state=0,
    ).fit(digits[:300] / 16, target[:300])
    assert 1 / 50 < classifier.temperature_ < 50
    assert np.isfinite(classifier.score_samples(digits[300:] / 16)).all()


def test_images_keep_their_shape():
    digits, target = load_digits(return_X_y=True)
    images = digits[:200].reshape(-1, 1, 8, 8) / 16
    classifier = RejectClassifier(outliers="uniform", max_epochs=2, random_state=0)
    scores = classifier.fit(images, target[:200]).score_samples(images)
    assert scores.shape == (200,)


def test_parameters_of_a_source_are_searched():
    search = GridSearchCV(
        RejectClassifier(outliers=UniformOutliers(), max_epochs=2, random_state=0),
        {"outliers__margin": [0.1, 1.0]},
        cv=2,
    ).fit(X, y)
    assert search.best_params_["outliers__margin"] in (0.1, 1.0)


def test_same_seed_same_bits_and_generators_left_alone():
    torch_state, numpy_state = (
        torch.get_rng_state(),
        check_random_state(None).get_state()[1].copy(),
    )
    classifier = RejectClassifier(max_epochs=2, random_state=5)
    first, again = (clone(classifier).fit(X, y).score_samples(X) for _ in range(2))
    assert np.array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(check_random_state(None).get_state()[1], numpy_state)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": 0}, "beta=0, but expected"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"score_function": "max_proba"}, "score_function='max_proba'"),
        ({"outliers": "given"}, "no row labelled ood_label"),
        ({"outliers": "nowhere"}, "outliers='nowhere'"),
        ({"outliers": lambda X, y, n, random_state: X[:, :2]}, r"shape \(150, 2\)"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        RejectClassifier(max_epochs=1, random_state=0, **parameters).fit(X, y)
