"""How usual an image is along the principal components of all, and beside them."""

import numpy as np
import pytest

from sklearn_ood.combined._radii import PrincipalRadii
from sklearn_ood.metrics import auroc


@pytest.fixture(scope="module")
def images():
    """Rows of a plane in forty dimensions, and noise."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(40, 2)))[0].T
    return rng.normal(size=(600, 2)) @ (axes * [[5], [3]]) + 0.1 * rng.normal(size=(600, 40))


def test_lengths_are_those_along_the_components_and_beside_them(images):
    known, new = images[:500].astype(np.float32), images[500:].astype(np.float32)
    radii = PrincipalRadii(2).fit(known)
    pca = radii.generator_
    axes, moved = pca.components_[0], new - pca.mean_
    latents = moved @ axes.T / (np.square(axes).sum(axis=1) + pca.noise_variance_)
    left = moved - latents @ axes
    expected = [np.square(latents).sum(axis=1), np.square(left).sum(axis=1)]
    scores = radii.extreme_.score_samples(np.column_stack(expected))
    np.testing.assert_allclose(radii.score_samples(new), scores, rtol=1e-4)


def test_too_short_is_as_strange_as_too_long(images):
    known, new, mean = images[:500], images[500:], images.mean(axis=0)
    radii = PrincipalRadii(2).fit(known)
    inside = radii.score_samples(new)
    plane = PrincipalRadii(2).fit(known).generator_
    projected = plane.decode(plane.encode(new))
    for strange in (3 * new, projected, np.tile(mean, (100, 1)), new + 1):
        scores = np.append(inside, radii.score_samples(strange))
        assert auroc(np.arange(len(scores)) < len(inside), scores) > 0.95


def test_few_rows_have_fewer_components_and_many_are_learned_from_in_part(images):
    assert PrincipalRadii().fit(images[:100]).generator_.latent_dim_ == 6
    assert PrincipalRadii().fit(images[:10]).generator_.latent_dim_ == 1
    assert PrincipalRadii().fit(images).generator_.latent_dim_ == 20
    first, again, other = (PrincipalRadii(2, seed).fit(images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.score_samples(images), again.score_samples(images))
    assert not np.array_equal(first.generator_.mean_, other.generator_.mean_)
    assert first.extreme_.columns_.shape[-1] == len(images)


def test_weights_are_how_often_there_are_such_rows(images):
    known, weight = np.concatenate([images, images + 1]), np.repeat([1.0, 1e-9], 600)
    scores = PrincipalRadii(2, 0).fit(known, sample_weight=weight).score_samples(images + 1)
    assert np.median(scores) < -6
    assert np.median(PrincipalRadii(2, 0).fit(known).score_samples(images + 1)) > -3


def test_rows_beyond_all_numbers_are_far(images):
    radii = PrincipalRadii(2).fit(images)
    far = radii.score_samples(np.stack([np.full(40, 1e300), -np.full(40, 1e30)]))
    assert np.isfinite(far).all()
    assert far.max() < radii.score_samples(images).min()
