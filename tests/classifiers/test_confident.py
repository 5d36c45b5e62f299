import pickle

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_ood import ConfidentClassifier, GANOutliers, RejectClassifier, SoftmaxClassifier
from sklearn_ood.classifiers._outlier import uniform_divergence
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.metrics import selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut
from sklearn_ood.outliers._gan import pull_away_term

X, y = load_iris(return_X_y=True)
SMALL = {"hidden_layer_sizes": (16,), "batch_size": 32, "random_state": 0}
GAN = {"hidden_layer_sizes": (16,), "latent_dim": 4}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True, "temperature": "calibrate"},
        {"dropout": 0.3, "class_weight": "balanced", "epsilon": 0.01},
    ],
)
def test_beta_zero_is_softmax_bit_for_bit(parameters):
    shared = {"max_epochs": 4, "hidden_layer_sizes": (16,), "random_state": 3} | parameters
    ours = ConfidentClassifier(beta=0, **shared).fit(X, y)
    softmax = SoftmaxClassifier(**shared).fit(X, y)
    assert np.array_equal(ours.decision_function(X), softmax.decision_function(X))
    assert np.array_equal(ours.score_samples(X), softmax.score_samples(X))
    assert ours.loss_curve_ == softmax.loss_curve_


def test_divergence_is_that_of_the_paper():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double()
    p = torch.softmax(logits, dim=1)
    expected = (torch.log(torch.tensor(1 / 3).double() / p) / 3).sum(dim=1).mean()
    assert torch.allclose(uniform_divergence(logits), expected)


def test_pull_away_is_that_of_the_paper():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    cosines = [
        (a @ b / (a.norm() * b.norm())) ** 2
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if i != j
    ]
    assert torch.allclose(pull_away_term(rows), sum(cosines) / 30)


def test_known_outliers_lower_the_confidence():
    toy, labels = make_two_gaussians(300, outliers="box", random_state=0)
    shared = SMALL | {"max_epochs": 60, "ood_label": -1}
    taught = ConfidentClassifier(outliers="given", beta=1.0, **shared).fit(toy, labels)
    plain = SoftmaxClassifier(**shared).fit(toy, labels)
    fresh, kind = make_two_gaussians(2, outliers="box", n_outliers=500, random_state=1)
    outside = fresh[kind == -1]
    assert np.exp(taught.score_samples(outside)).mean() < 0.8
    assert np.exp(plain.score_samples(outside)).mean() > 0.95
    inside = toy[labels != -1]
    assert (taught.predict(inside) == labels[labels != -1]).mean() > 0.97


def test_the_history_has_every_loss():
    gan = ConfidentClassifier(beta=0.5, max_epochs=2, outliers=GANOutliers(**GAN), **SMALL)
    gan.fit(X, y)
    for name in ("", "class_", "outlier_", "discriminator_", "generator_"):
        losses = gan.net_.history[:, f"train_{name}loss"]
        assert len(losses) == 2
        assert np.isfinite(losses).all()
    of_rows, of_outliers = (
        gan.net_.history[:, f"train_{k}_loss"] for k in ("class", "outlier")
    )
    assert np.allclose(gan.loss_curve_, np.add(of_rows, np.multiply(0.5, of_outliers)))


def test_only_a_guided_generator_sees_the_classifier():
    losses = {}
    for guided in (True, False):
        gan = GANOutliers(guided=guided, **GAN)
        fitted = ConfidentClassifier(beta=1e4, outliers=gan, max_epochs=1, **SMALL).fit(X, y)
        losses[guided] = fitted.net_.history[0, "train_generator_loss"]
    assert losses[False] < 5 < 50 < losses[True]


def test_a_gan_that_has_learned_before_teaches_another_classifier():
    trained = ConfidentClassifier(
        max_epochs=1, outliers=GANOutliers(guided=False, **GAN), **SMALL
    )
    trained.fit(X, y)

    def samples(X, y, n, seed):
        return trained.sample_outliers(n, random_state=seed)

    taught = ConfidentClassifier(max_epochs=1, beta=1.0, outliers=samples, **SMALL).fit(X, y)
    assert not hasattr(taught.net_, "generator_")
    assert taught.net_.history[0, "train_outlier_loss"] > 0


def test_samples_are_seeded_and_survive_pickling():
    gan = RejectClassifier(max_epochs=1, outliers=GANOutliers(**GAN), **SMALL).fit(X, y)
    state = torch.get_rng_state()
    samples = gan.sample_outliers(5, random_state=1)
    assert samples.shape == (5, 4)
    assert torch.equal(torch.get_rng_state(), state)
    again = pickle.loads(pickle.dumps(gan))
    assert np.array_equal(again.sample_outliers(5, random_state=1), samples)
    assert np.array_equal(again.score_samples(X), gan.score_samples(X))


def test_the_schedule_of_the_gan_follows_the_classifiers():
    rates = []

    class Rates(Callback):
        def on_epoch_end(self, net, **kwargs):
            optimizers = (net.optimizer_, *(optimizer for _, optimizer in net.players_))
            rates.append([each.param_groups[0]["lr"] for each in optimizers])

    ConfidentClassifier(
        max_epochs=5,
        lr_schedule="step",
        lr=1e-2,
        outliers=GANOutliers(lr=1e-3, **GAN),
        net_params={"callbacks": [Rates()]},
        **SMALL,
    ).fit(X, y)
    assert np.allclose(rates[0], [1e-2, 1e-3, 1e-3])
    assert np.allclose(rates[-1], [1e-3, 1e-4, 1e-4])


def test_images_get_a_dcgan_in_the_range_of_the_data():
    images, labels = load_digits(return_X_y=True)
    images = images[:64].reshape(-1, 1, 8, 8) / 16
    gan = ConfidentClassifier(
        outliers=GANOutliers(n_channels=4, latent_dim=8, pull_away=0.1), max_epochs=1, **SMALL
    ).fit(images, labels[:64])
    samples = gan.sample_outliers(3, random_state=0)
    assert samples.shape == (3, 1, 8, 8)
    assert samples.min() >= 0
    assert samples.max() <= 1
    flat = ConfidentClassifier(
        outliers=GANOutliers(n_channels=4, latent_dim=8, pull_away=0.1),
        max_epochs=1,
        input_shape=(1, 8, 8),
        **SMALL,
    ).fit(images.reshape(64, -1), labels[:64])
    assert np.array_equal(flat.sample_outliers(3, random_state=0), samples)


def test_own_networks_for_the_gan():
    gan = GANOutliers(
        latent_dim=3,
        generator=lambda latent_dim, shape: nn.Linear(latent_dim, *shape),
        discriminator=lambda shape: nn.Linear(*shape, 1),
    )
    classifier = ConfidentClassifier(outliers=gan, max_epochs=1, **SMALL).fit(X, y)
    assert isinstance(classifier.net_.generator_, nn.Linear)


def test_beta_is_searched_without_outliers_through_a_pipeline():
    search = GridSearchCV(
        make_pipeline(
            StandardScaler(), ConfidentClassifier(outliers="boundary", max_epochs=3, **SMALL)
        ),
        {"confidentclassifier__beta": [0, 1.0]},
        scoring=selective_scorer("tnr_at_tpr"),
        cv=LeaveClassesOut(n_out=1, n_splits=2, random_state=0),
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_one_outlier_among_many_sources():
    toy, labels = make_two_gaussians(100, outliers="box", n_outliers=1, random_state=0)
    ConfidentClassifier(
        outliers={"given": 1, "uniform": 2, GANOutliers(**GAN): 1},
        ood_label=-1,
        early_stopping=True,
        max_epochs=2,
        **SMALL,
    ).fit(toy, labels)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": -1.0}, "beta=-1.0"),
        ({"beta": np.nan}, "beta=nan"),
        ({"outliers": "given"}, "no row labelled ood_label"),
        ({"outliers": lambda X, y, n, random_state: X[:, :3]}, r"shape \(150, 3\)"),
        ({"outliers": GANOutliers(lr=0)}, "lr=0"),
        ({"outliers": GANOutliers(pull_away=-1)}, "pull_away=-1"),
        ({"outliers": GANOutliers(latent_dim=0)}, "latent_dim=0"),
        ({"score_function": "1-reject"}, "score_function='1-reject'"),
        (
            {"outliers": GANOutliers(generator=lambda latent_dim, shape: nn.Linear(100, 3))},
            "a generator that maps 2 inputs",
        ),
        (
            {"outliers": GANOutliers(discriminator=lambda shape: nn.Linear(4, 2))},
            "a discriminator that maps 2 inputs",
        ),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        ConfidentClassifier(max_epochs=1, **SMALL | parameters).fit(X, y)


def test_a_collapsed_generator_is_an_error():
    class Constant(nn.Linear):
        def forward(self, latents):
            return 0 * super().forward(latents) + self.bias

    gan = GANOutliers(generator=lambda latent_dim, shape: Constant(latent_dim, *shape))
    with pytest.raises(ValueError, match="generator collapsed"):
        ConfidentClassifier(outliers=gan, max_epochs=1, **SMALL).fit(X, y)


def test_a_generator_of_one_class_is_told():
    class OneClass(nn.Linear):
        def forward(self, latents):
            return torch.tensor(X[0]).float() + 1e-2 * super().forward(latents)

    gan = GANOutliers(generator=lambda latent_dim, shape: OneClass(latent_dim, *shape))
    with pytest.warns(ConvergenceWarning, match="onto one class: .* class number 0"):
        ConfidentClassifier(outliers=gan, max_epochs=1, **SMALL).fit(X, y)


@pytest.mark.parametrize("kind", [ConfidentClassifier, RejectClassifier])
def test_a_classifier_that_says_the_same_of_all_rows_is_told(kind):
    def dead(n_features, n_outputs):
        network = nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Linear(8, n_outputs))
        nn.init.constant_(network[0].bias, -1e3)
        return network

    with pytest.warns(ConvergenceWarning, match="differ by 0 nats"):
        kind(dead, outliers="noise", max_epochs=2, random_state=0).fit(X, y)


def test_a_classifier_that_forgets_the_classes_is_told():
    class Rising(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 15:
                net.module_.network.output.weight.data.neg_()
                net.optimizer_.param_groups[0]["lr"] = 0.0

    classifier = ConfidentClassifier(
        outliers="noise", lr=1e-2, max_epochs=16, net_params={"callbacks": [Rising()]}, **SMALL
    )
    with pytest.warns(ConvergenceWarning, match="loss on the classes rose from"):
        classifier.fit(X, y)


def test_a_classifier_that_is_far_worse_than_the_nearest_mean_is_told():
    """As where outliers made a deep net forget what it knew before this fit began."""

    def confused(n_features, n_outputs):
        network = nn.Linear(n_features, n_outputs)
        network.weight.data = torch.tensor([[0.0, 0, 1, 0], [0, 0, -1, 0], [0, 1, 0, 0]])
        return network

    classifier = ConfidentClassifier(confused, outliers="noise", lr=1e-9, max_epochs=2)
    with pytest.warns(ConvergenceWarning, match="rightly, the nearest mean 9"):
        classifier.fit(X, y)


def test_a_live_classifier_is_not_warned_about(recwarn):
    ConfidentClassifier(max_epochs=5, random_state=0).fit(X, y)
    assert not [each for each in recwarn if each.category is ConvergenceWarning]


def test_the_generators_step_leaves_the_classifiers_statistics():
    def network(n_features, n_outputs):
        return nn.Sequential(
            nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_outputs)
        )

    gan = GANOutliers(**GAN)
    classifier = ConfidentClassifier(network, outliers=gan, max_epochs=3, **SMALL).fit(X, y)
    steps = 3 * -(-len(X) // SMALL["batch_size"])
    assert classifier.net_.module_.network[1].num_batches_tracked == steps


@pytest.mark.parametrize("size", [8, 11, 15])
def test_a_single_row_left_over_passes_batch_normalisation(size):
    images = np.random.RandomState(0).rand(33, 1, size, size)
    gan = GANOutliers(n_channels=2, latent_dim=3)
    classifier = ConfidentClassifier(outliers=gan, max_epochs=1, **SMALL)
    assert classifier.fit(images, [0, 1, 2] * 11).sample_outliers(1).shape == (1, 1, size, size)


def test_a_generator_that_diverges_is_an_error():
    class Broken(nn.Linear):
        def forward(self, latents):
            return super().forward(latents) / 0.0

    gan = GANOutliers(generator=lambda latent_dim, shape: Broken(latent_dim, *shape))
    with pytest.raises(ValueError, match="diverged"):
        ConfidentClassifier(outliers=gan, max_epochs=1, **SMALL).fit(X, y)


def test_samples_need_a_fit():
    with pytest.raises(NotFittedError):
        ConfidentClassifier().sample_outliers(3)


def test_without_a_generator_there_are_no_samples():
    classifier = ConfidentClassifier(outliers="uniform", max_epochs=1, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="trains no generator"):
        classifier.sample_outliers(3)


def test_tiny_images_need_other_networks():
    images = np.random.RandomState(0).rand(20, 1, 5, 5)
    with pytest.raises(ValueError, match=r"at least 8 x 8"):
        ConfidentClassifier(outliers="gan", max_epochs=1, **SMALL).fit(images, [0, 1] * 10)
