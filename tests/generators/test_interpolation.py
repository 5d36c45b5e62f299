import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from sklearn_ood import GenerativeClassifier, GeValDi
from sklearn_ood.generators import (
    GaussianMixtureGenerator,
    InterpolationGenerator,
    _neighbors,
)
from sklearn_ood.search._latents import nearest_of_classes

X, Y = load_wine(return_X_y=True)


def test_samples_are_on_segments_to_the_nearest_rows_of_their_class():
    generator = InterpolationGenerator(3, contamination=0).fit(X, Y)
    labels = np.repeat([0, 1, 2], 40)
    rows = generator.sample(len(labels), labels, random_state=0)
    spread = X.std(axis=0)
    for label in (0, 1, 2):
        own = X[label == Y]
        found = NearestNeighbors(n_neighbors=3).fit(own / spread).kneighbors()[1]
        starts, ends = np.repeat(own, 3, axis=0), own[found.ravel()]
        for row in rows[labels == label]:
            way = ends - starts
            place = ((row - starts) * way).sum(1) / np.square(way).sum(1)
            apart = np.abs(starts + place[:, None] * way - row) / spread
            on = (apart.max(axis=1) < 1e-4) & (place > -1e-4) & (place < 1 + 1e-4)
            assert on.any()


def test_rows_apart_from_their_class_are_no_start():
    rows = np.concatenate([X, X[:3] + 10 * X.std(axis=0)])
    labels = np.concatenate([Y, Y[:3]])
    generator = InterpolationGenerator().fit(rows, labels)
    samples = generator.sample(2000, 0, random_state=0)
    assert (samples <= X.max(axis=0) + 1e-3).all()
    assert generator.offsets_[-1] == sum(n - n // 10 for n in np.bincount(labels))


def test_moved_samples_keep_to_the_data_where_those_of_a_mixture_do_not():
    members = [("forest", RandomForestClassifier(20, random_state=0)), ("bayes", GaussianNB())]
    units = X / X.std(axis=0)
    train, test = np.arange(len(X)) % 2 == 0, np.arange(len(X)) % 2 == 1
    lof = LocalOutlierFactor(novelty=True).fit(units[train])
    lowest = np.quantile(lof.score_samples(units[test]), 0.05)
    shares = []
    for generator in (InterpolationGenerator(), GaussianMixtureGenerator(1, random_state=0)):
        gevaldi = GeValDi(members, generator=generator, n_steps=15, random_state=0)
        found = gevaldi.fit(units[train], Y[train]).maximally_different_samples(
            100, random_state=0
        )
        shares.append((lof.score_samples(found.end.samples) < lowest).mean())
        assert found.end.divergence.mean() > found.start.divergence.mean()
    assert shares[0] <= 0.1
    assert shares[1] > shares[0]


def test_it_is_what_gevaldi_takes_for_tables():
    members = [("forest", RandomForestClassifier(5, random_state=0)), ("bayes", GaussianNB())]
    assert isinstance(GeValDi(members).fit(X, Y).generator_, InterpolationGenerator)


def test_few_equal_and_constant_rows():
    rows = np.ones((7, 2))
    rows[:, 1] = [0, 0, 0, 1, 2, 3, 9]
    generator = InterpolationGenerator().fit(rows, [0, 0, 0, 1, 1, 1, 2])
    samples = generator.sample(60, np.repeat([0, 1, 2], 20), random_state=0)
    assert (samples[:, 0] == 1).all()
    assert (samples[:20, 1] == 0).all()
    assert set(samples[40:, 1].tolist()) == {9.0}
    with pytest.raises(ValueError, match="contamination=1"):
        InterpolationGenerator(contamination=1.0).fit(rows)


def test_classifies():
    units = X / X.std(axis=0)
    classifier = GenerativeClassifier(InterpolationGenerator(), max_iter=5, random_state=0)
    assert classifier.fit(units[::2], Y[::2]).score(units[1::2], Y[1::2]) > 0.85


@pytest.mark.parametrize("n_classes", [2, 30])
def test_the_rows_of_all_classes_are_compared_once_with_each_row(n_classes, monkeypatch):
    asked = []

    def nearest(x, *others, **options):
        asked.append(len(x))
        return nearest_of_classes(x, *others, **options)

    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), 4)
    rows = 5 * rng.normal(size=(n_classes, 3))[y] + rng.normal(size=(len(y), 3))
    classifier = GenerativeClassifier(InterpolationGenerator(), random_state=0).fit(rows, y)
    monkeypatch.setattr(_neighbors, "nearest_of_classes", nearest)
    found = classifier.decision_function(rows[:16])
    assert asked == [16]
    each = [
        classifier.generator_.decode(classifier.generator_.encode(rows[:16], k), k)
        for k in range(n_classes)
    ]
    expected = -np.square(np.stack(each, axis=1) - rows[:16, None]).mean(axis=2)
    if n_classes == 2:
        expected = expected[:, 1] - expected[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
