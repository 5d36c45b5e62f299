import pickle

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal, truncnorm
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from sklearn_ood import GenerativeClassifier
from sklearn_ood.generators import (
    GaussianMixtureGenerator,
    InterpolationGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
    PretrainedGenerator,
)
from sklearn_ood.generators._mixture import held_out_scores, simplest_of_the_best

X, Y = load_iris(return_X_y=True)
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
CHEAP = [
    PCAGenerator(),
    GaussianMixtureGenerator(random_state=0),
    GaussianMixtureGenerator(n_components=2, random_state=0),
    NearestNeighborGenerator(),
    InterpolationGenerator(),
]


@parametrize_with_checks(CHEAP)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("generator", CHEAP, ids=str)
class TestContract:
    def test_encode_then_decode_comes_back(self, generator):
        generator = clone(generator).fit(X, LABELS)
        z = generator.encode(X, LABELS)
        assert z.shape == (150, generator.latent_dim_)
        generated = generator.decode(z, LABELS)
        assert generated.shape == X.shape
        assert np.mean((generated - X) ** 2) < 0.2 * X.var(0).mean()

    def test_samples_look_like_their_class(self, generator):
        generator = clone(generator).fit(X, LABELS)
        rows = generator.sample(200, "virginica", random_state=0)
        np.testing.assert_allclose(rows.mean(0), X[Y == 2].mean(0), atol=0.3)
        np.testing.assert_array_equal(rows, generator.sample(200, "virginica", random_state=0))
        mixed = generator.sample(6, LABELS[[0, 0, 60, 60, 140, 140]], random_state=1)
        assert mixed[:2, 2].max() < mixed[2:, 2].min()

    def test_without_labels(self, generator):
        generator = clone(generator).fit(X)
        assert generator.classes_ is None
        assert generator.sample(5, random_state=0).shape == (5, 4)
        assert generator.encode(X).shape == (150, generator.latent_dim_)
        with pytest.raises(ValueError, match="without labels"):
            generator.sample(5, "setosa")

    def test_the_core_generates_what_decode_does(self, generator):
        generator = clone(generator).fit(X, LABELS)
        z = generator.encode(X, LABELS)
        tensor = torch.tensor(z, requires_grad=True)
        generated = generator.core_.generate(tensor, torch.tensor(Y))
        np.testing.assert_allclose(
            generated.detach(), generator.decode(z, LABELS), rtol=1e-5, atol=1e-5
        )
        generated.sum().backward()
        assert bool(tensor.grad.abs().sum() > 0) >= generator.core_.is_differentiable

    def test_a_single_row_a_class_and_constant_features(self, generator):
        rows = np.column_stack([np.ones(3), [0.0, 1.0, 5.0], [2.0, 1.0, 0.0]])
        generator = clone(generator).fit(rows, [0, 1, 2])
        generated = generator.decode(generator.encode(rows, [0, 1, 2]), [0, 1, 2])
        np.testing.assert_allclose(generated, rows, atol=1e-4)

    def test_errors_say_what_came(self, generator):
        generator = clone(generator)
        for ask in (generator.sample, lambda: generator.log_prior([[0.0]])):
            with pytest.raises(NotFittedError):
                ask()
        generator.fit(X, LABELS)
        for n_samples in (0, 2.5):
            with pytest.raises(ValueError, match=f"n_samples={n_samples}, but expected"):
                generator.sample(n_samples)
        with pytest.raises(ValueError, match="Got y with 2 rows"):
            generator.sample(3, ["setosa", "setosa"])
        with pytest.raises(ValueError, match="say of which class"):
            generator.encode(X)
        with pytest.raises(ValueError, match="iris-x"):
            generator.sample(3, "iris-x")
        wrong = np.zeros((2, generator.latent_dim_ + 1))
        for ask in (
            lambda: generator.decode(wrong, "setosa"),
            lambda: generator.log_prior(wrong),
        ):
            with pytest.raises(ValueError, match="latent_dim_"):
                ask()

    def test_pickle(self, generator):
        generator = clone(generator).fit(X, LABELS)
        copy = pickle.loads(pickle.dumps(generator))
        np.testing.assert_array_equal(copy.encode(X, LABELS), generator.encode(X, LABELS))

    def test_images_are_flattened(self, generator):
        images = np.random.RandomState(0).rand(30, 1, 3, 4)
        generator = clone(generator).fit(images)
        assert generator.n_features_in_ == 12
        assert generator.encode(images).shape == (30, generator.latent_dim_)


def test_pca_nearest_generation_is_the_projection():
    generator = PCAGenerator(n_components=2).fit(X, Y)
    generated = generator.decode(generator.encode(X, 1), 1)
    centred = X - X[Y == 1].mean(0)
    _, _, axes = np.linalg.svd(X[Y == 1] - X[Y == 1].mean(0), full_matrices=False)
    expected = centred @ axes[:2].T @ axes[:2] + X[Y == 1].mean(0)
    np.testing.assert_allclose(generated, expected, atol=1e-4)


def test_pca_penalised_search_is_ridge_regression():
    generator = PCAGenerator(n_components=2).fit(X, Y)
    z = generator.core_.nearest(torch.tensor(X), 3.0)[1].numpy()
    axes = generator.components_[1].T
    ridge = axes.T @ axes + 3.0 * generator.noise_variance_[1] * np.eye(2)
    expected = np.linalg.solve(ridge, axes.T @ (X - generator.mean_[1]).T).T
    np.testing.assert_allclose(z, expected, rtol=1e-6)


def test_pca_density_agrees_with_scipy():
    generator = PCAGenerator(n_components=2).fit(X, Y)
    density = generator.core_.log_density(torch.tensor(X)).numpy()
    for k in range(3):
        axes = generator.components_[k]
        covariance = axes.T @ axes + generator.noise_variance_[k] * np.eye(4)
        expected = multivariate_normal(generator.mean_[k], covariance).logpdf(X)
        np.testing.assert_allclose(density[:, k], expected)


def test_pca_with_all_components_is_a_gaussian():
    generator = PCAGenerator(n_components=4).fit(X)
    covariance = generator.components_[0].T @ generator.components_[0]
    np.testing.assert_allclose(covariance, np.cov(X.T, ddof=0), atol=1e-3)


@pytest.mark.parametrize("n_components", [0, 1.5, "many", 5])
def test_pca_rejects_impossible_sizes(n_components):
    with pytest.raises(ValueError, match="n_components"):
        PCAGenerator(n_components=n_components).fit(X)


def test_mixture_density_agrees_with_scikit_learn():
    generator = GaussianMixtureGenerator(n_components=3, random_state=0).fit(X, Y)
    assert generator.means_.shape == (3, 3, 4)
    for k in range(3):
        mixture = GaussianMixture(3)
        mixture.weights_ = generator.weights_[k]
        mixture.means_ = generator.means_[k]
        core = generator.core_
        root = core.covariance_root.numpy()[k] * core.scale.numpy()[:, None]
        mixture.covariances_ = root @ root.mT
        mixture.precisions_cholesky_ = np.linalg.inv(
            np.linalg.cholesky(mixture.covariances_)
        ).mT
        np.testing.assert_allclose(
            generator.class_log_density(X)[:, k],
            mixture.score_samples(X),
            rtol=1e-6,
        )


def test_mixture_latents_are_standard_normal():
    rng = np.random.RandomState(0)
    rows = np.r_[rng.randn(3000, 2), rng.randn(1000, 2) * 0.2 + 6]
    generator = GaussianMixtureGenerator(2, reg_covar=1e-6, random_state=0).fit(rows)
    z = generator.encode(rows)
    np.testing.assert_allclose(z[:, :2].mean(0), 0, atol=0.05)
    np.testing.assert_allclose(z[:, :2].var(0), 1, atol=0.06)
    samples = generator.sample(4000, random_state=0)
    np.testing.assert_allclose((samples[:, 0] > 4).mean(), 0.25, atol=0.03)


def test_mixture_chooses_its_size_by_held_out_classes():
    rng = np.random.RandomState(0)
    centres = rng.randn(4, 6, 2) * 4
    labels = np.repeat(np.arange(4), 600)
    rows = centres[labels, rng.randint(6, size=2400)] + 0.3 * rng.randn(2400, 2)
    generator = GaussianMixtureGenerator(random_state=0).fit(rows, labels)
    assert generator.n_components_ >= 4
    round_classes = 8 * rng.randn(4, 2)[labels] + rng.randn(2400, 2)
    chosen = GaussianMixtureGenerator(random_state=0).fit(round_classes, labels)
    assert chosen.n_components_ == 1


def test_mixture_of_counts_keeps_their_unit():
    X, y = load_digits(return_X_y=True)
    generator = GaussianMixtureGenerator(random_state=0).fit(X[:1200], y[:1200])
    assert np.ptp(generator.core_.scale.numpy()) == 0
    assert (generator.class_log_density(X[1200:]).argmax(1) == y[1200:]).mean() > 0.95
    mixed = X * np.logspace(-2, 2, 64)
    generator = GaussianMixtureGenerator(random_state=0).fit(mixed[:1200], y[:1200])
    assert np.ptp(generator.core_.scale.numpy()) > 0


def test_held_out_scores_agree_with_brute_force():
    rng = np.random.RandomState(0)
    density, codes = rng.randn(40, 5).round(1), rng.randint(5, size=40)
    scores = held_out_scores(density, codes) - (density.argmax(1) == codes)
    for k in range(5):
        auroc = roc_auc_score(codes != k, np.delete(density, k, 1).max(1))
        np.testing.assert_allclose(scores[codes == k].mean(), auroc)
    own = codes == 2
    one = held_out_scores(density[own], codes[own])
    np.testing.assert_allclose(one, density[own, 2].mean())


def test_the_simplest_candidate_is_taken_that_may_be_as_good_as_the_best():
    scores = np.array([[0.5, 0.5, 0.5], [0.9, 0.8, 0.9], [0.9, 0.9, 0.8]])
    assert simplest_of_the_best(scores) == 1


@pytest.mark.parametrize("parameters", [{"n_components": 0}, {"reg_covar": 0.0}])
def test_mixture_rejects_bad_parameters(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        GaussianMixtureGenerator(**parameters).fit(X)


def test_neighbors_agree_with_scikit_learn():
    rng = np.random.RandomState(0)
    rows = rng.randn(90, 5).astype(np.float32)
    labels = rng.choice(3, 90, p=[0.1, 0.2, 0.7])
    generator = NearestNeighborGenerator().fit(rows, labels)
    queries = rng.randn(40, 5).astype(np.float32)
    for k in range(3):
        own = rows[labels == k]
        expected = own[NearestNeighbors(n_neighbors=1).fit(own).kneighbors(queries)[1][:, 0]]
        np.testing.assert_array_equal(
            generator.decode(generator.encode(queries, k), k), expected
        )


def test_neighbors_sample_every_row_equally_often():
    generator = NearestNeighborGenerator().fit(np.arange(4.0)[:, None])
    counts = np.bincount(generator.sample(4000, random_state=0)[:, 0].astype(int))
    assert counts.min() > 900


class Conditional(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 4)

    def forward(self, z, index):
        return self.table(index) + z.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("module", "conditional"),
    [(Conditional(), True), ([nn.Linear(2, 4) for _ in range(3)], False)],
)
def test_pretrained_modules_are_used_as_they_are(module, conditional):
    generator = PretrainedGenerator(module, latent_dim=2, conditional=conditional).fit(
        X, LABELS
    )
    z = np.random.RandomState(0).randn(3, 2).astype(np.float32)
    generated = generator.decode(z, LABELS[[0, 60, 140]])
    with torch.no_grad():
        if conditional:
            expected = module(torch.tensor(z), torch.arange(3)).numpy()
        else:
            expected = np.stack(
                [m(torch.tensor(row)).numpy() for m, row in zip(module, z, strict=True)]
            )
    np.testing.assert_allclose(generated, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(AttributeError, match="no encoder"):
        generator.encode(X, LABELS)


def test_pretrained_from_module_needs_no_fit():
    generator = PretrainedGenerator.from_module(
        Conditional(), 2, classes=["a", "b", "c"], conditional=True, prior="uniform"
    )
    assert generator.n_features_in_ == 4
    assert np.abs(generator.draw_latents(50, random_state=0)).max() <= 1
    z = np.array([[0.5, -1.0], [0.5, 1.5]])
    np.testing.assert_allclose(generator.log_prior(z), [-2 * np.log(2), -np.inf])


class ManyClasses(nn.Module):
    """The interface of a BigGAN: a class embedding beside the latent, images out."""

    def __init__(self, n_classes=1000):
        super().__init__()
        self.shared, self.made = nn.Embedding(n_classes, 4), []
        self.body = nn.Linear(4 + 6, 3 * 8 * 8)

    def forward(self, z, index):
        self.made.append(len(z))
        rows = self.body(torch.cat([z, self.shared(index)], 1))
        return torch.tanh(rows).view(-1, 3, 8, 8)


def test_of_a_thousand_classes_only_what_is_asked_is_generated():
    generator = PretrainedGenerator.from_module(
        ManyClasses(),
        6,
        classes=np.arange(1000),
        conditional=True,
        prior="truncated_normal",
    )
    made = generator.core_.network.made
    assert sum(made) + len(generator.module.made) <= 2
    made.clear()
    y = np.r_[np.full(40, 7), np.arange(900, 912)]
    rows = generator.sample(52, y, random_state=0)
    assert rows.shape == (52, 192)
    assert sum(made) <= 64
    z = torch.from_numpy(generator.draw_latents(52, random_state=0))
    made.clear()
    generator.core_.generate(z, torch.from_numpy(y))
    assert made == [52]
    made.clear()
    generator.sample(20_000, random_state=0)
    assert sum(made) <= 20_016
    assert max(made) * 192 <= 2**20


class Counted(nn.Module):
    """A small body of a public network of 1,000 classes, that notes how much it makes."""

    def __init__(self, width):
        super().__init__()
        self.body, self.made = nn.Linear(width, 3 * 4 * 4), []

    def make(self, *parts):
        self.made.append(len(parts[0]))
        return torch.tanh(self.body(torch.cat(parts, 1))).view(-1, 3, 4, 4)


class BigGANPyTorch(Counted):
    """BigGAN-PyTorch: ``G(z, G.shared(y))``."""

    def __init__(self):
        super().__init__(4 + 8)
        self.shared = nn.Embedding(1000, 8)

    def forward(self, z, y):
        return self.make(z, y)


class PretrainedBigGAN(Counted):
    """pytorch-pretrained-BigGAN: ``model(z, class_label, truncation)`` of one-hot rows."""

    def __init__(self):
        super().__init__(4 + 8)
        self.embeddings = nn.Linear(1000, 8, bias=False)
        nn.init.normal_(self.embeddings.weight)

    def forward(self, z, class_label, truncation):
        assert 0 < truncation <= 1
        return self.make(z, self.embeddings(class_label))


class StyleGAN(Counted):
    """StyleGAN2-ADA: ``G(z, c, truncation_psi=1, noise_mode="random")`` of one-hot rows."""

    def __init__(self):
        super().__init__(8)
        self.z_dim, self.c_dim = 4, 1000
        self.mapping = nn.Linear(4 + 8, 8)
        self.embed = nn.Linear(1000, 8)
        nn.init.normal_(self.embed.weight)
        self.register_buffer("w_avg", torch.zeros(8))

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None, noise_mode="random"):
        assert (z.shape[1], c.shape[1]) == (self.z_dim, self.c_dim)
        w = self.mapping(torch.cat([z, self.embed(c)], 1))
        noise = torch.randn_like(w) if noise_mode == "random" else 0.0
        return self.make(self.w_avg.lerp(w, truncation_psi) + noise)


@pytest.mark.parametrize(
    ("network", "conditional", "arguments"),
    [
        (BigGANPyTorch, "shared", None),
        (PretrainedBigGAN, "one-hot", {"truncation": 1.0}),
        (StyleGAN, "one-hot", {"truncation_psi": 0.9, "noise_mode": "const"}),
    ],
)
def test_public_networks_of_a_thousand_classes_classify_as_they_are(
    network, conditional, arguments
):
    torch.manual_seed(0)
    generator = PretrainedGenerator.from_module(
        network(),
        4,
        classes=np.arange(1000),
        conditional=conditional,
        arguments=arguments,
        prior="truncated_normal",
        noise_variance=0.0,
    )
    y = np.array([3, 3, 500, 500, 999, 999])
    X = generator.sample(6, y, random_state=1)
    assert -1 <= X.min() < 0 < X.max() <= 1
    classifier = GenerativeClassifier(FrozenEstimator(generator), n_candidates=4, max_iter=8)
    made = generator.core_.network.made
    made.clear()
    classifier.set_params(random_state=0).fit(X, y)
    # The candidates; then, for the six rows in a block of 16, a search of eight steps of at
    # most three evaluations, each made once more for its gradient.
    assert sum(made) <= 1000 * (4 + 16 * 2 * 3 * 10)
    # What a call makes, and its one-hot rows, are bounded whatever the number of classes.
    assert max(made) * generator.core_.floats_per_latent <= 2**21
    assert len(classifier.classes_) == 1000
    # Eight steps leave some searches short of the image that was made.
    answers, confidence = classifier.answers_and_confidence(np.concatenate([X, -X]))
    assert (answers[:6] == y).mean() > 0.8
    assert confidence[:6].min() > confidence[6:].max()


class OfClasses(nn.Module):
    """Told the class; with noise it makes something else each time."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.codes, self.layer = nn.Embedding(n_classes, 2), nn.Linear(4, 4)

    def forward(self, z, k, noise=0.0):
        return self.layer(torch.cat([z, self.codes(k)], 1)) + noise * torch.randn(len(z), 1)


OF_CLASSES = {"latent_dim": 2, "classes": ["a", "b", "c"], "conditional": True}


@pytest.mark.parametrize(
    "given",
    [
        lambda network: network.half(),
        lambda network: network.bfloat16(),
        lambda network: network.double(),
        nn.DataParallel,
    ],
)
@pytest.mark.parametrize("how", [OF_CLASSES, {"latent_dim": 2, "classes": [1]}])
def test_trained_networks_of_another_precision_or_wrapped(how, given):
    torch.manual_seed(0)
    own = OfClasses() if "conditional" in how else nn.Linear(2, 4)
    expected = PretrainedGenerator.from_module(own, **how).sample(9, random_state=0)
    generator = PretrainedGenerator.from_module(given(own), **how)
    np.testing.assert_allclose(generator.sample(9, random_state=0), expected, atol=2e-2)
    classifier = GenerativeClassifier(FrozenEstimator(generator), n_candidates=4)
    classifier.fit(expected, [*"abc"] * 3 if "conditional" in how else None)
    assert np.isfinite(classifier.score_samples(expected)).all()


@pytest.mark.parametrize(
    ("module", "how", "error", "message"),
    [
        (OfClasses(), {"arguments": {"noise": 0.1}}, ValueError, "something else .*noise_mode"),
        (OfClasses(2), {}, ValueError, "index out of range.*number of classes"),
        (OfClasses(), {"classes": [2, 1, 0]}, ValueError, "ascending order.*numpy.argsort"),
        (OfClasses(), {"classes": ["a", "a", "b"]}, ValueError, "distinct labels"),
        (lambda z, k: z, {}, TypeError, "type function.*nn.Module"),
        (
            nn.ConvTranspose2d(2, 1, 2),
            {"classes": None, "conditional": False},
            ValueError,
            r"nn.Unflatten\(1, \(latent_dim, 1, 1\)\)",
        ),
    ],
)
def test_what_no_trained_generator_can_be_made_of(module, how, error, message):
    with pytest.raises(error, match=message):
        PretrainedGenerator.from_module(module, **OF_CLASSES | how)


def test_truncated_normal_prior():
    prior = {"latent_dim": 3, "prior": "truncated_normal"}
    generator = PretrainedGenerator.from_module(nn.Linear(3, 4), **prior)
    z = generator.draw_latents(4000, random_state=0)
    whole = truncnorm(-2, 2)
    assert kstest(z.ravel(), whole.cdf).pvalue > 0.01
    np.testing.assert_allclose(generator.log_prior(z), whole.logpdf(z).sum(1), rtol=1e-5)
    assert generator.log_prior([[0.0, 0.0, 2.1]]) == -np.inf


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"module": nn.Linear(2, 5), "latent_dim": 2}, "generates 5 features"),
        ({"module": nn.Linear(2, 4), "latent_dim": 3}, "latent_dim"),
        ({"module": nn.Linear(2, 4), "latent_dim": 2, "prior": "cauchy"}, "prior"),
        ({"module": nn.Linear(2, 4), "latent_dim": 2, "noise_variance": -1}, "noise_variance"),
        ({"module": [nn.Linear(2, 4)] * 2, "latent_dim": 2}, "2 module"),
        (
            {"module": PretrainedBigGAN(), "latent_dim": 4, "conditional": "one-hot"},
            "truncation",
        ),
        ({"module": Conditional(), "latent_dim": 2, "conditional": "shared"}, "no attribute"),
        ({"module": nn.Linear(2, 4), "latent_dim": 2, "arguments": {"a": 1}}, "arguments"),
    ],
)
def test_pretrained_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        PretrainedGenerator(**parameters).fit(X)


def test_log_prior_is_the_standard_normal():
    generator = PCAGenerator(n_components=2).fit(X)
    z = np.random.RandomState(0).randn(5, 2)
    expected = multivariate_normal(np.zeros(2)).logpdf(z)
    np.testing.assert_allclose(generator.log_prior(z), expected)


@pytest.mark.parametrize(("n", "d"), [(100, 400), (90, 200), (30, 70), (60, 70)])
def test_a_mixture_of_many_features_is_a_density_in_few_directions(n, d):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    centres = rng.normal(size=(2, d))
    rows, new = (rng.normal(size=(n, d)) + centres[y] for _ in range(2))
    generator = GaussianMixtureGenerator(random_state=0).fit(rows, y)
    assert generator.core_.directions.shape == (min(64, n - 1), d)
    assert generator.means_.shape[2] == d
    density = generator.class_log_density(new)
    assert (density.argmax(axis=1) == y).mean() > 0.9
    assert generator.class_log_density(new + 3).max() < density.max(axis=1).min()
    assert generator.sample(3, random_state=0).shape == (3, d)
    made = generator.decode(generator.encode(new, y), y)
    standardised = (new - made) / generator.core_.scale.numpy()
    left = np.square(standardised).sum(axis=1).mean() / (d - min(64, n - 1))
    assert 0.7 < left / float(generator.core_.noise_variance) < 1.4  # from halves of the rows


class Tabled(nn.Module):
    """Class k is around k."""

    def __init__(self, n_classes):
        super().__init__()
        self.table = nn.Embedding(n_classes, 2)
        self.table.weight.data[:] = torch.arange(n_classes)[:, None]

    def forward(self, z, index):
        means = self.table(index) if index.dtype == torch.int64 else index
        return means + 0.1 * z


@pytest.mark.parametrize("conditional", [True, "table"])
def test_classes_of_a_module_that_makes_more(conditional):
    y = np.repeat([0, 2], 20)
    X = y[:, None] + 0.1 * np.random.default_rng(0).normal(size=(40, 2))
    module, told = Tabled(3), {"latent_dim": 2, "conditional": conditional}
    with pytest.warns(UserWarning, match="2 classes for a module of 3: .* for its first"):
        PretrainedGenerator(module, **told).fit(X, y)
    known = PretrainedGenerator.from_module(module, classes=[0, 1, 2], **told)
    classifier = GenerativeClassifier(FrozenEstimator(known), random_state=0).fit(X, y)
    assert classifier.score(X, y) == 1
    assert classifier.classes_.tolist() == [0, 1, 2]
