import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import sklearn_ood
from sklearn_ood import GenerativeClassifier, SelectiveClassifier, SiameseSimilarity
from sklearn_ood.generators import (
    GAN,
    VAE,
    GaussianMixtureGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
    PretrainedGenerator,
)
from sklearn_ood.search._latents import DISTANCES

X, Y = load_iris(return_X_y=True)
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
TINY_VAE = VAE(2, hidden_layer_sizes=(16,), max_epochs=20, lr=0.01, batch_size=16)
TINY_GAN = GAN(2, hidden_layer_sizes=(16,), max_epochs=30, min_steps=0, lr=0.01, batch_size=16)


@parametrize_with_checks(
    [
        GenerativeClassifier(random_state=0),
        GenerativeClassifier("knn", random_state=0),
        GenerativeClassifier(TINY_VAE, random_state=0),
        GenerativeClassifier(TINY_GAN, n_candidates=32, max_iter=3, random_state=0),
    ]
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "classifier",
    [
        GenerativeClassifier(random_state=0),
        GenerativeClassifier("pca", similarity="l2", random_state=0),
        GenerativeClassifier("pca", similarity="l3", search="optimize", random_state=0),
        GenerativeClassifier("knn", similarity="l1", random_state=0),
        GenerativeClassifier(TINY_VAE, search="both", n_candidates=16, random_state=0),
        GenerativeClassifier(TINY_GAN, n_candidates=64, max_iter=10, random_state=0),
    ],
    ids=["auto", "pca-l2", "pca-l3", "knn-l1", "vae-both", "gan"],
)
class TestEveryGenerator:
    def test_knows_its_classes_and_what_is_none_of_them(self, classifier):
        classifier = clone(classifier).fit(X, LABELS)
        assert classifier.score(X, LABELS) > 0.8
        far = np.random.RandomState(0).uniform(-30, 30, (100, 4))
        scores = classifier.score_samples(np.r_[X, far])
        assert roc_auc_score(np.repeat([1, 0], [150, 100]), scores) > 0.95

    def test_score_is_the_best_evidence_and_probabilities_agree(self, classifier):
        classifier = clone(classifier).fit(X, LABELS)
        evidence = classifier.decision_function(X)
        assert evidence.dtype == np.float64
        assert_array_equal(classifier.score_samples(X), evidence.max(1))
        assert_array_equal(classifier.predict(X), classifier.classes_[evidence.argmax(1)])
        probability = classifier.predict_proba(X)
        assert_allclose(probability.sum(1), 1)
        assert_array_equal(probability.argmax(1), evidence.argmax(1))

    def test_explain_shows_what_the_evidence_is_made_of(self, classifier):
        classifier = clone(classifier).fit(X, LABELS)
        explanation = classifier.explain(X[::10])
        assert explanation.generations.shape == (15, 3, 4)
        assert explanation.latents.shape == (15, 3, classifier.generator_.latent_dim_)
        assert_allclose(
            -explanation.distances, classifier.decision_function(X[::10]), atol=1e-6
        )
        if classifier.similarity == "l2":
            difference = X[::10, None] - explanation.generations
            assert_allclose((difference**2).mean(2), explanation.distances, atol=1e-5)

    def test_one_class(self, classifier):
        classifier = clone(classifier).fit(X[:50], LABELS[:50])
        assert_array_equal(classifier.predict(X), np.repeat("setosa", 150))
        assert_array_equal(classifier.predict_proba(X), np.ones((150, 1)))
        scores = classifier.score_samples(X)
        assert roc_auc_score(Y == 0, scores) > 0.95
        unlabelled = clone(classifier).fit(X[:50])
        assert_array_equal(unlabelled.score_samples(X), scores)

    def test_a_row_does_not_depend_on_its_batch(self, classifier):
        classifier = clone(classifier).fit(X, LABELS)
        together = classifier.score_samples(X)
        alone = np.concatenate([classifier.score_samples(X[i : i + 1]) for i in range(0, 20)])
        assert_allclose(alone, together[:20], rtol=1e-3, atol=1e-6)

    def test_same_seed_same_result_and_pickle(self, classifier):
        one, two = (clone(classifier).fit(X, LABELS) for _ in range(2))
        assert_array_equal(one.decision_function(X), two.decision_function(X))
        copy = pickle.loads(pickle.dumps(one))
        assert_array_equal(one.decision_function(X), copy.decision_function(X))

    def test_classes_with_a_single_row_and_constant_features(self, classifier):
        rows = np.column_stack([X, np.ones(150)])
        labels = np.where(np.arange(150) == 149, 3, Y)
        classifier = clone(classifier).fit(rows, labels)
        assert np.isfinite(classifier.decision_function(rows)).all()
        assert classifier.score(rows, labels) > 0.6


def test_outlier_rows_form_no_class():
    y = np.where(Y == 2, -1, Y)
    with_outliers = GenerativeClassifier(ood_label=-1, random_state=0).fit(X, y)
    without = GenerativeClassifier(random_state=0).fit(X[Y < 2], Y[Y < 2])
    assert_array_equal(with_outliers.classes_, [0, 1])
    assert_allclose(with_outliers.score_samples(X), without.score_samples(X))


def test_neighbors_are_the_nearest_neighbor_classifier():
    expected = KNeighborsClassifier(1).fit(X, Y)
    classifier = GenerativeClassifier("knn", validation_fraction=0).fit(X, Y)
    queries = X + np.random.RandomState(0).normal(0, 0.3, X.shape)
    assert_array_equal(classifier.predict(queries), expected.predict(queries))
    distance = expected.kneighbors(queries)[0][:, 0] ** 2 / 4
    assert_allclose(-classifier.score_samples(queries), distance, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("similarity", ["l1", "l3", SiameseSimilarity(max_epochs=1)])
def test_the_nearest_row_is_the_nearest_under_the_similarity(similarity, monkeypatch):
    monkeypatch.setattr("sklearn_ood.generators._neighbors.MAX_DISTANCES", 2500)
    classifier = GenerativeClassifier("knn", similarity=similarity, random_state=0).fit(X, Y)
    found = classifier.explain(X[::10])
    rows, queries = (torch.from_numpy(part.astype(np.float64)) for part in (X, X[::10]))
    if isinstance(similarity, str):
        apart = DISTANCES[similarity](queries[:, None], rows)
    else:
        apart = -classifier.similarity_(queries[:, None].float(), rows.float()).detach()
    nearest = np.stack([apart[:, k == Y].min(1).values for k in range(3)], 1)
    assert_allclose(found.distances, nearest, rtol=1e-4, atol=1e-6)
    closest = [apart[:, k == Y].argmin(1) for k in range(3)]
    for k, place in enumerate(closest):
        assert_allclose(found.generations[:, k], X[k == Y][place])


def test_the_nearest_generation_of_pca_in_l1_is_that_of_a_linear_program():
    options = {"similarity": "l1", "prior_weight": 0.0, "random_state": 0}
    classifier = GenerativeClassifier("pca", **options).fit(X, Y)
    core, rows = classifier.generator_.core_, X[::15]
    axes, mean = core.components.numpy(), core.mean.numpy()
    m, d = axes.shape[1:]
    cost, least = np.r_[np.zeros(m), np.full(d, 1 / d)], np.zeros((len(rows), 3))
    for i, k in np.ndindex(*least.shape):
        inequalities = np.block([[axes[k].T, -np.eye(d)], [-axes[k].T, -np.eye(d)]])
        apart = np.r_[rows[i] - mean[k], mean[k] - rows[i]]
        bounds = [(None, None)] * m + [(0, None)] * d
        least[i, k] = linprog(cost, inequalities, apart, bounds=bounds).fun
    found = -classifier.decision_function(rows)
    assert (found >= least - 1e-5).all()
    assert (found / least).mean() < 1.02
    first = GenerativeClassifier("pca", search="encoder", **options).fit(X, Y)
    assert (-first.decision_function(rows) / least).mean() > 1.1


def test_optimizing_is_no_worse_than_the_encoder_alone():
    vae = clone(TINY_VAE).set_params(random_state=0)
    options = {"prior_weight": 0.0, "n_candidates": 8, "random_state": 0}
    encoder = GenerativeClassifier(vae, search="encoder", **options).fit(X, Y)
    both = GenerativeClassifier(vae, search="both", **options).fit(X, Y)
    gained = both.decision_function(X) - encoder.decision_function(X)
    assert gained.min() >= -1e-6
    assert gained.mean() > 0


@pytest.mark.parametrize("similarity", ["l1", "l3"])
def test_other_distances_refine_the_closed_form(similarity):
    projected = GenerativeClassifier(
        "pca", similarity=similarity, search="encoder", random_state=0
    ).fit(X, Y)
    refined = GenerativeClassifier(
        "pca", similarity=similarity, search="optimize", prior_weight=0.0
    )
    refined.set_params(random_state=0).fit(X, Y)
    assert (refined.decision_function(X) - projected.decision_function(X)).min() >= -0.01
    assert refined.decision_function(X).mean() > projected.decision_function(X).mean()


def test_the_prior_keeps_latents_small():
    vae = clone(TINY_VAE).set_params(random_state=0, noise_variance=0.5)
    far = 5 * X[:20]
    lengths = [
        np.linalg.norm(
            GenerativeClassifier(vae, search="both", prior_weight=weight, random_state=0)
            .fit(X, Y)
            .explain(far)
            .latents,
            axis=2,
        ).mean()
        for weight in (0.0, 1.0, 100.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2]


def test_uniform_latents_stay_in_their_box():
    classifier = GenerativeClassifier(TINY_GAN, n_candidates=16, random_state=0).fit(X, Y)
    assert np.abs(classifier.explain(10 * X).latents).max() <= 1


def test_what_the_encoder_of_a_gan_finds_is_where_its_search_starts():
    found = {
        search: GenerativeClassifier(
            TINY_GAN, search=search, n_candidates=1, max_iter=2, random_state=0
        )
        .fit(X, Y)
        .decision_function(X)
        for search in ("auto", "encoder", "optimize")
    }
    assert (found["auto"] >= found["encoder"] - 1e-6).all()
    assert (found["auto"] > found["encoder"] + 1e-3).mean() > 0.5
    assert found["auto"].mean() > found["optimize"].mean()


def test_a_pretrained_generator_is_searched():
    torch.manual_seed(0)
    modules = [nn.Linear(2, 4) for _ in range(3)]
    rng = np.random.RandomState(0)
    with torch.no_grad():
        rows = np.concatenate(
            [m(torch.tensor(rng.randn(20, 2), dtype=torch.float32)).numpy() for m in modules]
        )
    labels = np.repeat([0, 1, 2], 20)
    generator = PretrainedGenerator(modules, latent_dim=2, noise_variance=0.0)
    classifier = GenerativeClassifier(generator, n_candidates=32, random_state=0)
    classifier.fit(rows, labels)
    assert classifier.score(rows, labels) > 0.95
    assert np.median(-classifier.score_samples(rows)) < 1e-3


def test_a_callable_similarity():
    def cosine(x, generated):
        return torch.cosine_similarity(x, generated, dim=-1)

    classifier = GenerativeClassifier("pca", similarity=cosine, random_state=0).fit(X, Y)
    assert classifier.score(X, Y) > 0.8
    assert classifier.score_samples(X).max() <= 1 + 1e-6
    named = GenerativeClassifier("pca", similarity="l2", random_state=0).fit(X, Y)
    own = GenerativeClassifier(
        "pca", similarity=lambda x, g: -(x - g).square().mean(-1), random_state=0
    ).fit(X, Y)
    assert_allclose(named.score_samples(X), own.score_samples(X))


def test_a_learned_similarity():
    similarity = SiameseSimilarity(hidden_layer_sizes=(16,), max_epochs=30, lr=0.01)
    classifier = GenerativeClassifier("knn", similarity=similarity, random_state=0)
    classifier = make_pipeline(StandardScaler(), classifier).fit(X, Y)
    assert classifier.score(X, Y) > 0.9
    learned = classifier[-1].similarity_
    rows = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
    pairs = learned(rows[:, None], rows[None]).detach().numpy()
    same = Y[:, None] == Y
    assert roc_auc_score(same.ravel(), pairs.ravel()) > 0.9
    with pytest.raises(ValueError, match="at least two"):
        SiameseSimilarity().fit(X[:50], Y[:50])


def test_images_and_their_explanation():
    images = np.random.RandomState(0).rand(30, 1, 6, 6)
    labels = np.arange(30) % 2
    images[labels == 1, :, :3] += 2
    vae = VAE(2, max_epochs=2, batch_size=8)
    for generator in ("pca", vae):
        classifier = GenerativeClassifier(generator, random_state=0).fit(images, labels)
        assert classifier.input_shape_ == (1, 6, 6)
        figure = classifier.plot_explanation(images, labels, max_rows=3)
        assert len(figure.axes) == 9
        assert figure.axes[0].get_title() == "input: 0"
    assert classifier.generator_.input_shape_ == (1, 6, 6)
    lines = GenerativeClassifier(random_state=0).fit(X, Y).plot_explanation(X, max_rows=2)
    assert len(lines.axes) == 8


def test_grid_search_reaches_the_generator():
    search = GridSearchCV(
        GenerativeClassifier(PCAGenerator(), random_state=0),
        {"generator__n_components": [1, 2], "similarity": ["l2", "likelihood"]},
        cv=2,
    ).fit(X, Y)
    assert search.best_score_ > 0.85
    assert search.best_estimator_.generator_.latent_dim_ in (1, 2)


def test_probabilities_are_calibrated_on_held_out_rows():
    rows, labels = make_blobs(3000, centers=3, cluster_std=3.0, random_state=0)
    classifier = GenerativeClassifier("pca", validation_fraction=0.3, random_state=0)
    probability = classifier.fit(rows[:2000], labels[:2000]).predict_proba(rows[2000:])
    confident = probability.max(1)
    accuracy = (probability.argmax(1) == labels[2000:]).mean()
    assert confident.mean() == pytest.approx(accuracy, abs=0.08)


def test_the_generator_is_chosen_by_the_width():
    assert isinstance(
        GenerativeClassifier(random_state=0).fit(X, Y).generator_, GaussianMixtureGenerator
    )
    wide = np.random.RandomState(0).rand(40, 80)
    classifier = GenerativeClassifier(random_state=0).fit(wide, np.arange(40) % 2)
    assert isinstance(classifier.generator_, PCAGenerator)
    assert classifier.similarity_ == "likelihood"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"generator": "flow"}, "generator='flow'"),
        ({"similarity": "l4"}, "similarity='l4'"),
        ({"similarity": 2}, "similarity=2"),
        ({"generator": "gmm", "similarity": "l2"}, "generates every point"),
        ({"generator": "knn", "similarity": "likelihood"}, "no density"),
        ({"search": "grid"}, "search='grid'"),
        (
            {
                "generator": PretrainedGenerator([nn.Linear(2, 4)] * 3, latent_dim=2),
                "search": "encoder",
            },
            "no encoder",
        ),
        ({"n_candidates": 0}, "n_candidates"),
        ({"max_iter": -1}, "max_iter"),
        ({"prior_weight": -0.5}, "prior_weight"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        (
            {"generator": PretrainedGenerator([nn.Linear(2, 9)] * 3, latent_dim=2)},
            "generates 9 features",
        ),
        ({"generator": PCAGenerator(7)}, "n_components=7"),
    ],
)
def test_errors_name_the_parameter(parameters, message):
    with pytest.raises(ValueError, match=message):
        GenerativeClassifier(**parameters).fit(X, Y)


def test_unused_generators_are_left_alone():
    generator = NearestNeighborGenerator()
    GenerativeClassifier(generator).fit(X, Y)
    assert not hasattr(generator, "rows_")


def test_quick_generators_learn_from_all_rows_after_the_calibration():
    held_out = GenerativeClassifier("knn", random_state=0).fit(X, Y)
    assert len(held_out.generator_.rows_) == 150
    assert_allclose(held_out.score_samples(X), 0, atol=1e-5)
    whole = GenerativeClassifier("knn", validation_fraction=0).fit(X, Y)
    assert held_out.temperature_ > whole.temperature_


def test_the_hybrid_answers_with_another_classifier():
    hybrid = SelectiveClassifier(
        LogisticRegression(max_iter=500),
        detector=GenerativeClassifier("pca", random_state=0),
        coverage=0.9,
        random_state=0,
    ).fit(X, LABELS)
    far = X + 20
    assert not hybrid.accept(far).any()
    assert hybrid.accept(X).mean() > 0.8
    expected = hybrid.estimator_.predict(X[hybrid.accept(X)])
    assert_array_equal(hybrid.predict(X)[hybrid.accept(X)], expected)


@pytest.mark.parametrize(
    "classifier",
    [
        GenerativeClassifier(),
        GenerativeClassifier("pca", similarity="l1", search="optimize"),
        GenerativeClassifier("knn"),
        GenerativeClassifier(TINY_VAE, search="both", max_iter=3),
        GenerativeClassifier(TINY_GAN, max_iter=3),
    ],
    ids=["auto", "pca-l1", "knn", "vae-both", "gan"],
)
def test_a_prediction_crosses_few_files(classifier):
    classifier = clone(classifier).set_params(random_state=0).fit(X, Y)
    files = set()
    sys.setprofile(lambda frame, event, argument: files.add(frame.f_code.co_filename))
    try:
        classifier.predict(X)
    finally:
        sys.setprofile(None)
    package = Path(sklearn_ood.__file__).parent
    assert len([file for file in files if package in Path(file).parents]) <= 8
