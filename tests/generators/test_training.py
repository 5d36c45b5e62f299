import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from sklearn_ood.generators import GAN, VAE
from sklearn_ood.generators._training import StackedRows
from sklearn_ood.nets._training import Arrays

X, Y = load_iris(return_X_y=True)
TINY = {"latent_dim": 2, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}
IMAGES = np.random.RandomState(0).rand(24, 1, 7, 6).astype(np.float32)
IMAGE_LABELS = np.arange(24) % 3


TINY_GAN = GAN(min_steps=0, **TINY)


@parametrize_with_checks([VAE(**TINY), VAE(conditional=True, **TINY), TINY_GAN])
def test_sklearn_checks(estimator, check):
    check(estimator)


CONDITIONAL = VAE(conditional=True, **TINY)


@pytest.mark.parametrize(
    "generator", [VAE(**TINY), CONDITIONAL, TINY_GAN], ids=["vae", "conditional", "gan"]
)
class TestBoth:
    def test_same_seed_same_generator_and_global_state_untouched(self, generator):
        before = torch.get_rng_state()
        one, two = clone(generator).fit(X, Y), clone(generator).fit(X, Y)
        z = np.random.RandomState(0).uniform(-1, 1, (150, 2))
        np.testing.assert_array_equal(one.decode(z, Y), two.decode(z, Y))
        assert torch.equal(before, torch.get_rng_state())

    def test_pickle(self, generator):
        fitted = clone(generator).fit(X, Y)
        copy = pickle.loads(pickle.dumps(fitted))
        z = np.zeros((150, 2))
        np.testing.assert_array_equal(copy.decode(z, Y), fitted.decode(z, Y))

    def test_classes_of_very_unequal_size_and_smaller_than_a_batch(self, generator):
        labels = np.r_[np.zeros(140), np.ones(9), 2.0]
        fitted = clone(generator).fit(np.r_[X, X[:1]][:150], labels)
        assert np.isfinite(fitted.sample(10, 2.0, random_state=0)).all()

    def test_constant_features_and_more_latents_than_features(self, generator):
        rows = np.column_stack([X, np.ones(150)])
        fitted = clone(generator).set_params(latent_dim=9).fit(rows, Y)
        assert fitted.sample(4, 1, random_state=0).shape == (4, 5)

    def test_images(self, generator):
        fitted = clone(generator).set_params(input_shape=(1, 7, 6)).fit(IMAGES, IMAGE_LABELS)
        assert fitted.sample(5, 2, random_state=0).shape == (5, 42)
        from_images = clone(generator).fit(IMAGES, IMAGE_LABELS)
        assert from_images.input_shape_ == (1, 7, 6)
        np.testing.assert_array_equal(
            from_images.sample(5, 2, random_state=0), fitted.sample(5, 2, random_state=0)
        )

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"latent_dim": 0}, "latent_dim"),
            ({"input_shape": (1, 2, 3)}, "input_shape"),
            ({"device": "abacus"}, "device"),
            ({"lr": 0.0}, "lr"),
        ],
    )
    def test_errors(self, generator, parameters, message):
        with pytest.raises(ValueError, match=message):
            clone(generator).set_params(**parameters).fit(X, Y)

    def test_divergence_raises(self, generator):
        with pytest.raises(ValueError, match="diverged"):
            clone(generator).set_params(lr=1e30, max_epochs=5).fit(1e3 * X, Y)


@pytest.mark.parametrize("kind", [VAE, GAN])
def test_convolutional_generators_pickle(kind):
    X = np.random.default_rng(0).random((24, 64), dtype=np.float32)
    tiny = {"latent_dim": 2, "max_epochs": 1, "random_state": 0}
    generator = kind(input_shape=(1, 8, 8), **tiny)
    if kind is GAN:
        generator.set_params(min_steps=0)
    generator.fit(X)
    copy = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(
        copy.sample(3, random_state=0), generator.sample(3, random_state=0)
    )


@pytest.mark.parametrize("name", ["encoder", "decoder", "generator", "discriminator"])
def test_networks_of_the_users_own(name):
    model = TINY_GAN if name in ("generator", "discriminator") else VAE(**TINY)
    n_in, n_out = {
        "encoder": (4, 4),
        "decoder": (2, 4),
        "generator": (2, 4),
        "discriminator": (4, 3),
    }[name]
    for network in (nn.Linear(n_in, n_out), nn.Linear):
        fitted = clone(model).set_params(**{name: network}).fit(X, Y)
        assert fitted.sample(3, 1, random_state=0).shape == (3, 4)
    with pytest.raises(ValueError, match="expected"):
        clone(model).set_params(**{name: nn.Linear(n_in, n_out + 1)}).fit(X, Y)
    with pytest.raises(ValueError, match="cannot take"):
        clone(model).set_params(**{name: nn.Linear(n_in + 1, n_out)}).fit(X, Y)
    with pytest.raises(ValueError, match="images"):
        clone(model).set_params(**{name: "conv"}).fit(X, Y)
    with pytest.raises(ValueError, match=name):
        clone(model).set_params(**{name: "transformer"}).fit(X, Y)
    with pytest.raises(TypeError, match="callable"):
        clone(model).set_params(**{name: 3}).fit(X, Y)


def test_vae_learns_a_curve():
    rng = np.random.RandomState(0)
    angle = rng.uniform(0, np.pi, 600)
    rows = np.column_stack([np.cos(angle), np.sin(angle)]) + 0.02 * rng.randn(600, 2)
    vae = VAE(1, hidden_layer_sizes=(32,), max_epochs=60, lr=5e-3, random_state=0).fit(rows)
    error = vae.decode(vae.encode(rows)) - rows
    assert np.mean(error**2) < 0.1 * rows.var(0).mean()
    radius = np.linalg.norm(vae.sample(200, random_state=0), axis=1)
    assert np.abs(radius - 1).mean() < 0.2
    assert vae.noise_variance_[0] < 0.1
    assert vae.loss_curve_[-1] < vae.loss_curve_[0]


def test_gan_learns_where_the_rows_are():
    rng = np.random.RandomState(0)
    rows = np.r_[rng.randn(300, 2) * 0.1 + 3, rng.randn(300, 2) * 0.1 - 3]
    labels = np.repeat(["high", "low"], 300)
    gan = GAN(2, hidden_layer_sizes=(32,), max_epochs=80, min_steps=0, lr=2e-3, random_state=0)
    gan.fit(rows, labels)
    assert np.abs(gan.sample(100, "high", random_state=0) - 3).mean() < 0.6
    assert np.abs(gan.sample(100, "low", random_state=0) + 3).mean() < 0.6
    assert set(gan.net_.history[-1]) >= {"train_loss", "train_generator_loss"}
    z = gan.draw_latents(200, random_state=0)
    told = gan.encode(gan.decode(z, "high"), "high")
    assert np.square(told - z).mean() < 0.7 * z.var()


def test_a_class_is_trained_as_it_would_be_alone():
    """Adam on the summed loss moves each class's weights by its own gradient only."""
    vae = VAE(noise_variance=0.1, **TINY).fit(X, Y)
    other = X.copy()
    other[Y == 2] += 5.0
    changed = VAE(noise_variance=0.1, **TINY)
    changed.fit(np.r_[other[:100], X[100:] * 1.0], Y)
    z = np.zeros((1, 2))
    np.testing.assert_array_equal(vae.decode(z, 0), changed.decode(z, 0))


def test_every_batch_has_equal_shares_of_unequal_classes():
    labels = np.array([0, 1, 1, 0, 1, 1, 1])
    stacked = StackedRows(Arrays(np.arange(7.0)[:, None], labels))
    assert len(stacked) == 5
    _, rows = stacked.batch(slice(0, 5))
    assert rows[0, :, 0].tolist() == [0.0, 3.0, 0.0, 3.0, 0.0]
    assert rows[1, :, 0].tolist() == [1.0, 2.0, 4.0, 5.0, 6.0]


def test_bernoulli_likelihood_stays_between_zero_and_one():
    rows = (np.random.RandomState(0).rand(60, 5) > 0.5).astype(float)
    vae = VAE(likelihood="bernoulli", **TINY).fit(rows)
    generated = vae.sample(50, random_state=0)
    assert 0 < generated.min() < generated.max() < 1
    with pytest.raises(ValueError, match="bernoulli"):
        VAE(likelihood="bernoulli", **TINY).fit(2 * rows)


def test_early_stopping_keeps_the_best_epoch():
    parameters = {**TINY, "max_epochs": 200, "lr": 0.1}
    vae = VAE(early_stopping=True, n_iter_no_change=2, **parameters).fit(X, Y)
    assert len(vae.loss_curve_) < 200
    with pytest.raises(ValueError, match="hold"):
        VAE(early_stopping=True, **TINY).fit(X[:3], [0, 1, 2])


@pytest.mark.parametrize(
    "parameters", [{"likelihood": "poisson"}, {"noise_variance": 0}, {"noise_variance": "low"}]
)
def test_vae_errors(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        VAE(**parameters).fit(X)


@pytest.mark.parametrize(
    "parameters", [{"label_smoothing": 1.0}, {"instance_noise": -1}, {"cycle_weight": -1}]
)
def test_gan_errors(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        GAN(**parameters).fit(X)


@pytest.mark.parametrize("gradient_penalty", [0.0, 1.0])
def test_gan_counts_steps_and_averages_weights(gradient_penalty):
    gan = clone(TINY_GAN).set_params(min_steps=10, batch_size=50, max_epochs=1)
    gan.set_params(gradient_penalty=gradient_penalty).fit(X, Y)
    assert len(gan.loss_curve_) == 10
    played, averaged = (
        torch.nn.utils.parameters_to_vector(network.parameters())
        for network in (gan.core_.player, gan.core_.decode)
    )
    assert not torch.equal(played, averaged)
    torch.testing.assert_close(played, averaged, atol=0.2, rtol=0)


def test_vae_density_is_the_bound_at_the_mean_in_closed_form():
    vae = VAE(noise_variance=0.3, **TINY).fit(X, Y)
    rows = torch.tensor(X, dtype=torch.float32)
    density = vae.core_.log_density(rows).detach().numpy()
    mean, log_variance = vae.core_.encode.distribution(rows.expand(3, -1, -1))
    for k in range(3):
        latent = mean[k].detach().numpy()
        misfit = ((X - vae.decode(latent, k)) ** 2).sum(1) / 0.3 + 4 * np.log(2 * np.pi * 0.3)
        posterior = torch.distributions.Normal(mean[k], torch.exp(0.5 * log_variance[k]))
        prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(1).detach().numpy()
        np.testing.assert_allclose(density[:, k], -0.5 * misfit - divergence, rtol=1e-4)


def test_conditional_vae_is_one_network_told_the_class():
    settings = {"hidden_layer_sizes": (32,), "max_epochs": 80, "lr": 5e-3, "random_state": 0}
    vae = VAE(2, conditional=True, **settings).fit(X, Y)
    apart = VAE(2, **settings).fit(X, Y)
    sizes = [sum(p.numel() for p in each.core_.decode.parameters()) for each in (vae, apart)]
    assert sizes[0] < 0.5 * sizes[1]
    for label in (0, 1, 2):
        rows = vae.sample(200, label, random_state=0)
        np.testing.assert_allclose(rows.mean(0), X[label == Y].mean(0), atol=0.4)
    z = np.zeros((3, 2))
    together = vae.decode(z, [0, 1, 2])
    alone = np.concatenate([vae.decode(z[:1], label) for label in (0, 1, 2)])
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    # The class is told, so that the latent says what all classes have in common.
    latents = np.concatenate([vae.encode(X[label == Y], label) for label in (0, 1, 2)])
    means = np.stack([latents[label == np.sort(Y)].mean(0) for label in (0, 1, 2)])
    assert np.abs(means).max() < 0.7


def test_conditional_vae_of_images(tmp_path):
    images = np.random.RandomState(0).rand(30, 1, 5, 6).astype(np.float32)
    labels = np.arange(30) % 3
    vae = VAE(2, conditional=True, max_epochs=1, random_state=0).fit(images, labels)
    assert vae.sample(4, 1, random_state=0).shape == (4, 30)
    assert vae.encode(images, labels).shape == (30, 2)


def test_gan_of_images_keeps_to_their_range_and_to_the_statistics_it_learned():
    settings = {"min_steps": 0, "max_epochs": 2, "batch_size": 4, "random_state": 0}
    # Nine rows a class: the last batch has one row each.
    images = 16 * np.random.RandomState(0).rand(18, 1, 4, 4).astype(np.float32)
    gan = GAN(3, **settings).fit(images, np.arange(18) % 2)
    rows = gan.sample(50, 1, random_state=0)
    assert rows.min() >= images.min()
    assert rows.max() <= images.max()
    z = gan.draw_latents(50, 0)
    alone = np.concatenate([gan.decode(each[None], 1) for each in z])
    np.testing.assert_allclose(alone, gan.decode(z, 1), rtol=1e-4, atol=1e-4)
