from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils import check_random_state

from sklearn_ood import (
    BoundaryOutliers,
    GANOutliers,
    MixupOutliers,
    NoiseOutliers,
    UniformOutliers,
)
from sklearn_ood.classifiers._outlier import resolve_sources
from sklearn_ood.data._labels import OUTLIER
from sklearn_ood.data._rows import TrainingData
from sklearn_ood.datasets import inside_two_gaussians, make_two_gaussians
from sklearn_ood.outliers._boundary import _Region, median_of_class, within_class_whitening

MEANS = np.array([[-10.0, 0.0], [10.0, 0.0]])
SOURCES = [BoundaryOutliers(), UniformOutliers(), MixupOutliers(), NoiseOutliers()]


def sectors_covered(points, center, reach, n_sectors=36):
    """How many of the sectors around a centre have a point within reach."""
    x, y = (points - center).T
    near = np.hypot(x, y) <= reach
    angle = np.arctan2(y[near], x[near])
    return len(np.unique(np.floor((angle + np.pi) / (2 * np.pi) * n_sectors).clip(max=35)))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_boundary_covers_the_whole_ring_of_every_class(sigma):
    X, y = make_two_gaussians(1000, sigma=sigma, random_state=0)
    outliers = BoundaryOutliers()(X, y, 4000, random_state=1)
    covered = [sectors_covered(outliers, mean, 4.5 * sigma) for mean in MEANS]
    assert covered == [36, 36]


def test_boundary_lies_outside_and_leaves_the_chosen_share_inside():
    X, y = make_two_gaussians(4000, random_state=0)
    train, held_out = X[::2], X[1::2]
    outliers = BoundaryOutliers(quantile=0.9, between=0.0)(train, y[::2], 2000, 0)
    center = MEANS[(outliers[:, 0] > 0).astype(int)]
    radius = np.linalg.norm(outliers - center, axis=1)
    own = np.linalg.norm(held_out - MEANS[(held_out[:, 0] > 0).astype(int)], axis=1)
    assert abs((own < np.quantile(radius, 0.05)).mean() - 0.9) < 0.04
    assert radius.max() > 4.0
    tight, wide = (
        inside_two_gaussians(BoundaryOutliers(quantile=q)(train, y[::2], 2000, 0)).mean()
        for q in (0.9, 0.99)
    )
    assert wide < 0.5 * tight


@pytest.mark.parametrize("n_features", [2, 20, 200])
def test_new_rows_are_inside_as_often_as_asked_in_any_dimension(n_features):
    rng = np.random.RandomState(0)
    codes = rng.randint(3, size=6000)
    X = 20.0 * rng.normal(size=(3, n_features))[codes] + rng.normal(size=(6000, n_features))
    region = _Region(X[:3000], codes[:3000], BoundaryOutliers(quantile=0.9), rng)
    assert abs(region.contains(X[3000:]).mean() - 0.9) < 0.04


def test_each_class_has_a_radius_of_its_own():
    rng = np.random.RandomState(0)
    sigmas = np.repeat([1.0, 0.02], 1000)
    X = rng.normal(size=(2000, 2)) * sigmas[:, None] + [[8.0, 0.0]] * (sigmas < 1)[:, None]
    outliers = BoundaryOutliers(between=0.0)(X, sigmas, 8000, 0)
    for center, sigma in ((np.zeros(2), 1.0), (np.array([8.0, 0.0]), 0.02)):
        distance = np.linalg.norm(outliers - center, axis=1)
        assert sectors_covered(outliers, center, 5 * sigma) == 36
        assert (distance < 2 * sigma).mean() < 0.01


def test_boundary_rows_are_also_far_out():
    X, y = make_two_gaussians(1000, random_state=0)
    distance = np.linalg.norm(BoundaryOutliers(between=0.0)(X, y, 2000, 0), axis=1)
    assert 0.05 < (distance > 40).mean() < 0.5


def test_units_of_the_columns_do_not_matter():
    X, y = make_two_gaussians(300, random_state=0)
    units = np.array([1e-4, 1e5])
    inside, scaled = (BoundaryOutliers()(rows, y, 500, 0) for rows in (X, X * units))
    assert np.allclose(inside * units, scaled)


def test_median_of_each_class():
    values, codes = np.array([3.0, 1.0, 2.0, 9.0, 8.0, 5.0]), np.array([0, 0, 0, 2, 2, 3])
    assert median_of_class(values, codes)[[0, 2, 3]].tolist() == [2.0, 8.0, 5.0]


def test_boundary_keeps_out_of_other_classes():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.normal([center, 0], 1.0, (500, 2)) for center in (-8, 0, 8)])
    y = np.repeat([0, 1, 2], 500)
    outliers = BoundaryOutliers(between=1.0)(X, y, 1000, 0)
    assert (np.linalg.norm(outliers, axis=1) < 1.5).sum() == 0


def test_boundary_in_many_correlated_dimensions_is_farther_than_the_data():
    rng = np.random.RandomState(0)
    mixing = rng.normal(size=(12, 12))
    X = rng.normal(size=(600, 12)) @ mixing
    outliers = BoundaryOutliers()(X, np.zeros(600), 600, 0)
    to_white = np.linalg.inv(mixing)
    assert np.median(((outliers @ to_white) ** 2).sum(1)) > 12


@pytest.mark.parametrize("source", SOURCES)
def test_same_seed_same_rows_and_global_state_untouched(source):
    X, y = make_two_gaussians(100, random_state=0)
    state = check_random_state(None).get_state()[1].copy()
    first, again, other = (source(X, y, 50, seed) for seed in (3, 3, 4))
    assert first.shape == (50, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(check_random_state(None).get_state()[1], state)


@pytest.mark.parametrize("source", SOURCES)
def test_constant_features_and_tiny_classes_work(source):
    X = np.array([[0.0, 1.0], [2.0, 1.0], [5.0, 1.0]])
    assert np.isfinite(source(X, np.array([0, 0, 1]), 20, 0)).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 40), n_classes=st.integers(2, 5))
def test_mixup_lies_between_rows_of_two_classes(seed, n, n_classes):
    codes = np.random.RandomState(seed).permutation(np.arange(30) % n_classes)
    corners = np.eye(n_classes)[codes]
    mixed = MixupOutliers(low=0.3)(corners, codes, n, seed)
    assert mixed.shape == (n, n_classes)
    assert np.allclose(mixed.sum(axis=1), 1.0)
    assert ((mixed > 0).sum(axis=1) == 2).all()
    assert mixed.max() <= 0.7 + 1e-12


def test_mixup_of_one_class_is_refused():
    with pytest.raises(ValueError, match="one class"):
        MixupOutliers()(np.zeros((3, 2)), [0, 0, 0], 1, 0)


def test_uniform_fills_the_box_scaled_to_the_data_or_given():
    X = np.array([[0.0, 10.0], [1.0, 30.0]])
    wide = UniformOutliers(margin=0.5)(X, [0, 1], 5000, 0)
    assert np.allclose(wide.min(axis=0), [-0.5, 0.0], atol=0.05)
    assert np.allclose(wide.max(axis=0), [1.5, 40.0], atol=0.05)
    given_box = UniformOutliers(low=-1, high=[1, 2])(X, [0, 1], 5000, 0)
    assert np.allclose(given_box.min(axis=0), -1, atol=0.01)
    assert np.allclose(given_box.max(axis=0), [1, 2], atol=0.01)


def test_noise_has_the_moments_of_the_data():
    X = np.random.RandomState(0).gamma(2.0, [1.0, 9.0], size=(500, 2))
    noise = NoiseOutliers(scale=2.0)(X, None, 20000, 0)
    assert np.allclose(noise.mean(axis=0), X.mean(axis=0), rtol=0.05)
    assert np.allclose(noise.std(axis=0), 2 * X.std(axis=0), rtol=0.05)


def test_whitening_inverts_and_ignores_the_distance_between_classes():
    rng = np.random.RandomState(0)
    codes = np.repeat([0, 1], 2000)
    X = rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 3)) + 100.0 * codes[:, None]
    to_white, from_white = within_class_whitening(X, codes)
    assert np.allclose(to_white @ from_white, np.eye(3))
    assert np.allclose(np.cov(X[codes == 1] @ to_white, rowvar=False), np.eye(3), atol=0.15)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BoundaryOutliers(quantile=1.0), "quantile=1.0"),
        (BoundaryOutliers(between=1.5), "between=1.5"),
        (BoundaryOutliers(scales=(2, 1)), "scales"),
        (BoundaryOutliers(n_neighbors=0), "n_neighbors=0"),
        (UniformOutliers(low=2, high=1), "low=2 and high=1"),
        (MixupOutliers(low=0.6), "low=0.6"),
        (NoiseOutliers(scale=0), "scale=0"),
    ],
)
def test_parameters_out_of_range_are_named(source, message):
    with pytest.raises(ValueError, match=message):
        source(*make_two_gaussians(20, random_state=0), 5, 0)


@pytest.mark.parametrize(
    ("source", "message"),
    [(BoundaryOutliers(), "a minimum of 2 is required"), (MixupOutliers(), "one class")],
)
def test_one_row_is_too_few_for_what_needs_two(source, message):
    with pytest.raises(ValueError, match=message):
        source([[0.0, 1.0]], None, 5, 0)


def test_a_dict_mixes_sources():
    def mine(X, y, n, random_state):
        return X[:n]

    sources, weights = resolve_sources({"given": 1, mine: 3})
    assert sources[1].function is mine
    assert weights == [1.0, 3.0]


@pytest.mark.parametrize(
    ("outliers", "message"),
    [
        ("nowhere", "outliers='nowhere'"),
        ({}, "at least one source"),
        ({"boundary": 0}, "weight 0"),
        ({"boundary": "much"}, "weight 'much'"),
        ({"gan": 1, GANOutliers(pull_away=1.0): 1}, "at most one GAN"),
        (3, "outliers=3"),
    ],
)
def test_unusable_sources_are_named(outliers, message):
    with pytest.raises(ValueError, match=message):
        resolve_sources(outliers)


def training_data(known=0):
    codes = np.array([0, 1] * 5 + [OUTLIER] * known)
    rows = np.arange(2.0 * len(codes)).reshape(-1, 2).astype(np.float32)
    return TrainingData(rows, codes, np.array(["a", "b"]), (2,))


def test_a_callable_gets_the_known_rows_with_their_labels():
    def source(X, y, n, random_state):
        assert X.shape == (10, 2)
        assert set(y) == {"a", "b"}
        return X[:n].reshape(-1, 1, 1, 2)

    ((source,), _) = resolve_sources(source)
    bank = source.sample(training_data(known=3), 4, 0)
    assert bank.shape == (4, 2)
    assert bank.dtype == np.float32


def test_given_takes_the_labelled_rows():
    sources, _ = resolve_sources("given")
    assert np.array_equal(sources[0].sample(training_data(known=3), 99, 0)[:, 0], [20, 22, 24])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((4, 3)), r"shape \(4, 3\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.full((4, 2), np.nan), "NaN or infinite"),
    ],
)
def test_unusable_rows_of_a_callable_are_named(rows, message):
    ((source,), _) = resolve_sources(lambda X, y, n, random_state: rows)
    with pytest.raises(ValueError, match=message):
        source.sample(training_data(), 4, 0)


def test_a_net_is_judged_by_outliers_that_it_was_not_trained_on():
    rows = np.arange(80.0).reshape(40, 2)
    net = SimpleNamespace(unseen=0.25, device="cpu", module_=torch.nn.Identity())
    ((source,), _) = resolve_sources(lambda X, y, n, random_state: rows)
    draw = source.supply(net, training_data(), 40, 0, lambda rows: rows)
    seen, unseen = (set(draw_as(net, draw, training)) for training in (True, False))
    assert (len(seen), len(unseen), len(seen & unseen)) == (30, 10, 0)


def draw_as(net, draw, training):
    net.module_.train(training)
    return draw(1000)[:, 0].tolist()
