import warnings

import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from sklearn_ood import GeValDi, SoftmaxClassifier
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.gevaldi import (
    plot_ascent,
    plot_changes,
    plot_map,
    plot_regions,
    plot_samples,
)
from sklearn_ood.gevaldi._climbing import log_proba_tensor
from sklearn_ood.gevaldi._regions import cluster_labels
from sklearn_ood.gevaldi._samples import compare_accuracy
from sklearn_ood.metrics import prediction_set_distance

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
NET = {"hidden_layer_sizes": (16,), "max_epochs": 15, "lr": 1e-2, "batch_size": 16}


def make(members, **parameters):
    settings = {"n_steps": 30, "prior_weight": 1e-3, "random_state": 0} | parameters
    return GeValDi(members, generator=GaussianMixtureGenerator(1), **settings).fit(X, LABELS)


@pytest.fixture(scope="module")
def nets():
    return make([("a", SoftmaxClassifier(**NET)), ("b", SoftmaxClassifier(**NET))])


@pytest.fixture(scope="module")
def three():
    members = [
        ("forest", RandomForestClassifier(10, random_state=0)),
        ("boosting", HistGradientBoostingClassifier(max_iter=5, random_state=0)),
        ("bayes", GaussianNB()),
    ]
    return make(members, n_steps=10)


@pytest.fixture(scope="module")
def found(nets):
    return nets.maximally_different_samples(60, random_state=0)


@pytest.fixture(scope="module")
def unlabelled(nets):
    generator = FrozenEstimator(PCAGenerator(2).fit(X))
    members = [(name, FrozenEstimator(net)) for name, net in nets.named_estimators_.items()]
    gevaldi = GeValDi(members, generator=generator, n_steps=5).fit(X, LABELS)
    return gevaldi, gevaldi.maximally_different_samples(6, random_state=0)


class TestSamples:
    def test_are_said_in_a_line(self, found):
        assert repr(found).endswith(" apart>")
        assert len(repr(found)) < 100

    def test_are_what_their_latents_generate(self, nets, found):
        generator = nets.generator_
        np.testing.assert_allclose(
            generator.decode(found.end.latents, found.y), found.end.samples, rtol=1e-5
        )
        np.testing.assert_allclose(
            generator.decode(found.start.latents, found.y), found.start.samples, rtol=1e-5
        )
        np.testing.assert_allclose(generator.log_prior(found.end.latents), found.end.log_prior)
        drift = np.linalg.norm(found.end.latents - found.start.latents, axis=1)
        drift /= np.linalg.norm(found.end.latents, axis=1)
        np.testing.assert_allclose(found.drift, drift, rtol=1e-5)

    def test_differ_more_than_at_their_start(self, nets, found):
        assert found.end.divergence.mean() > 2 * found.start.divergence.mean()
        np.testing.assert_allclose(
            found.end.divergence, -nets.score_samples(found.end.samples), rtol=1e-3, atol=1e-6
        )
        np.testing.assert_allclose(
            found.start.divergence,
            -nets.score_samples(found.start.samples),
            rtol=1e-3,
            atol=1e-6,
        )
        for member, answers in zip(nets.estimators_, found.end.predictions, strict=True):
            assert (member.predict(found.end.samples) == answers).all()
        assert (found.differ == (found.end.predictions[0] != found.end.predictions[1])).all()
        assert len(found) == 60

    def test_classes_are_those_asked_for(self, nets):
        assert np.unique(nets.maximally_different_samples(9).y, return_counts=True)[
            1
        ].tolist() == [
            3,
            3,
            3,
        ]
        only = nets.maximally_different_samples(4, y="setosa")
        assert only.y.tolist() == ["setosa"] * 4
        each = nets.maximally_different_samples(2, y=["virginica", "setosa"])
        assert each.y.tolist() == ["virginica", "setosa"]
        with pytest.raises(ValueError, match="'tulip'"):
            nets.maximally_different_samples(1, y="tulip")

    def test_members_are_asked_of_what_was_wanted_only(self, nets, monkeypatch):
        asked = []

        def count(classifiers, x):
            asked.append(len(x))
            return log_proba_tensor(classifiers, x)

        monkeypatch.setattr("sklearn_ood.gevaldi._climbing.log_proba_tensor", count)
        nets.maximally_different_samples(4, y="setosa")
        assert set(asked) == {4}

    def test_several_starts_climb_higher(self, nets, found):
        more = make(list(nets.named_estimators_.items()), n_starts=5)
        best = more.maximally_different_samples(60, random_state=0)
        assert len(best) == 60
        assert best.end.divergence.mean() > found.end.divergence.mean()

    def test_a_heavier_prior_keeps_them_nearer_to_what_is_common(self, nets):
        members = list(nets.named_estimators_.items())
        light, heavy = (
            make(members, prior_weight=weight).maximally_different_samples(40, random_state=0)
            for weight in (0.0, 0.2)
        )
        assert heavy.end.log_prior.mean() > light.end.log_prior.mean()
        assert heavy.end.divergence.mean() < light.end.divergence.mean()

    def test_are_among_the_likeliest_latents(self, nets):
        members = list(nets.named_estimators_.items())
        for optimizer in ("adam", "evolution"):
            free, bound = (
                make(
                    members, prior_mass=mass, prior_weight=0, lr=0.2, optimizer=optimizer
                ).maximally_different_samples(40, random_state=0)
                for mass in (1, 0.5)
            )
            radius = chi2.ppf(0.5, free.end.latents.shape[1]) ** 0.5
            assert np.linalg.norm(free.end.latents, axis=1).max() > radius
            for z in (bound.end.latents, bound.start.latents):
                assert np.linalg.norm(z, axis=1).max() < radius * (1 + 1e-6)

    def test_evolution_does_as_well_as_gradients(self, nets, found):
        members = list(nets.named_estimators_.items())
        evolution = make(members, optimizer="evolution")
        other = evolution.maximally_different_samples(60, random_state=0)
        assert other.end.divergence.mean() > 0.9 * found.end.divergence.mean()

    def test_forests_can_be_set_apart(self, three):
        pair = three.maximally_different_samples(
            30, pair=("forest", "boosting"), random_state=0
        )
        assert pair.names == ["forest", "boosting"]
        assert pair.end.divergence.mean() > 1.5 * pair.start.divergence.mean()
        assert (np.diff(pair.divergence_path.mean(1)) > -1e-3).all()

    def test_kl_takes_the_pair_in_its_order(self, nets):
        kl = make(list(nets.named_estimators_.items()), divergence="kl", n_steps=10)
        for pair in (("a", "b"), ("b", "a")):
            samples = kl.maximally_different_samples(12, pair=pair, random_state=0)
            first, second = samples.end.proba
            expected = (first * np.log(first / second)).sum(1)
            np.testing.assert_allclose(samples.end.divergence, expected, rtol=1e-3, atol=1e-6)

    def test_the_divergence_may_be_another_than_the_estimators(self, nets):
        other = make(list(nets.named_estimators_.items()), divergence="kl")
        expected = other.maximally_different_samples(6, random_state=0)
        samples = nets.maximally_different_samples(6, divergence="kl", random_state=0)
        np.testing.assert_array_equal(samples.end.samples, expected.end.samples)
        np.testing.assert_array_equal(samples.divergence_path, expected.divergence_path)
        assert nets.divergence == "js"
        with pytest.raises(ValueError, match="divergence='hellinger'"):
            nets.maximally_different_samples(6, divergence="hellinger")

    def test_any_callable_can_be_the_divergence(self, nets):
        def total_variation(log_proba):
            return 0.5 * (log_proba[0].exp() - log_proba[1].exp()).abs().sum(-1)

        gevaldi = make(list(nets.named_estimators_.items()), divergence=total_variation)
        samples = gevaldi.maximally_different_samples(12, random_state=0)
        expected = 0.5 * np.abs(samples.end.proba[0] - samples.end.proba[1]).sum(1)
        np.testing.assert_allclose(samples.end.divergence, expected, rtol=1e-3, atol=1e-6)
        assert samples.end.divergence.mean() > samples.start.divergence.mean()

    def test_a_network_can_be_set_apart_from_trees(self):
        mixed = make(
            [("net", SoftmaxClassifier(**NET)), ("forest", RandomForestClassifier(10))],
            n_steps=10,
        )
        assert mixed.optimizer_ == "evolution"
        samples = mixed.maximally_different_samples(12, random_state=0)
        assert samples.end.divergence.mean() > 1.5 * samples.start.divergence.mean()

    @pytest.mark.parametrize("pair", [("a",), ("a", "a"), ("a", "c"), ("a", "b", "a")])
    def test_a_wrong_pair_is_an_error(self, nets, pair):
        with pytest.raises(ValueError, match="two different members from"):
            nets.maximally_different_samples(1, pair=pair)

    @pytest.mark.parametrize("n_samples", [0, 1.5])
    def test_a_wrong_number_is_an_error(self, nets, n_samples):
        with pytest.raises(ValueError, match=f"n_samples={n_samples}"):
            nets.maximally_different_samples(n_samples)

    def test_frame(self, found):
        frame = found.to_frame()
        assert len(frame) == 60
        assert (frame["a"].to_numpy() == found.end.predictions[0]).all()
        assert (frame["condition"].to_numpy() == found.y).all()
        np.testing.assert_array_equal(frame["b_proba"], found.end.proba[1].max(1))

    def test_set_distance_along_the_way(self, found):
        tree = {"small": ["setosa"], "large": ["versicolor", "virginica"]}
        path = found.set_distance_path(tree, n=(1, 2))
        assert path.shape == (11, 60, 2)
        last = prediction_set_distance(
            *found.end.proba, tree, n=(1, 2), classes=["setosa", "versicolor", "virginica"]
        )
        np.testing.assert_allclose(path[-1], last)
        learned = found.set_distance_path(n=1)
        assert learned[-1].mean() > learned[0].mean()


class TestWithoutLabels:
    def test_samples_have_none(self, unlabelled):
        gevaldi, found = unlabelled
        assert found.y is None
        assert found.to_frame()["condition"].isna().all()
        with pytest.raises(ValueError, match="fitted without labels"):
            gevaldi.maximally_different_samples(2, y="setosa")

    def test_what_needs_them_says_so(self, unlabelled):
        gevaldi, found = unlabelled
        for needs in (found.compare_accuracy, lambda: gevaldi.refit_with(found, X, LABELS)):
            with pytest.raises(ValueError, match="without condition labels"):
                needs()


class TestPairs:
    def test_matrix_has_both_orders(self, three):
        matrix = three.disagreement_matrix(12, random_state=0)
        assert matrix.names == ["forest", "boosting", "bayes"]
        assert (np.diag(matrix.divergence) == 0).all()
        off = ~np.eye(3, dtype=bool)
        assert (matrix.divergence[off] > 0).all()
        assert not np.allclose(matrix.divergence, matrix.divergence.T)
        real = three.disagreement_matrix(X=X)
        assert (matrix.divergence[off] > real.divergence[off]).all()
        assert matrix.to_frame().loc["forest", "bayes"] == matrix.divergence[0, 2]
        assert three.divergence == "js"

    def test_matrix_on_rows_is_the_mean_divergence(self, three):
        matrix = three.disagreement_matrix(X=X)
        forest, boosting, bayes = (
            np.maximum(member.predict_proba(X.astype(float)), np.finfo(float).eps)
            for member in three.estimators_
        )
        expected = (boosting * np.log(boosting / bayes)).sum(1).mean()
        assert matrix.divergence[1, 2] == pytest.approx(expected, rel=1e-6)
        assert matrix.different[0, 1] == (forest.argmax(1) != boosting.argmax(1)).mean()

    def test_comparison_finds_a_real_difference_and_no_other(self):
        rng = np.random.default_rng(0)
        correct = rng.random((3, 400)) < np.array([[0.9], [0.6], [0.6]])
        pairs = {
            (pair.first, pair.second): pair
            for pair in compare_accuracy(correct, ["a", "b", "c"], random_state=0)
        }
        assert len(pairs) == 3
        better, same = pairs["a", "b"], pairs["b", "c"]
        assert better.difference == pytest.approx(correct[0].mean() - correct[1].mean())
        assert better.adjusted_p_value < 1e-6
        assert better.adjusted_p_value >= better.p_value
        assert better.low > 0
        assert same.low < 0 < same.high
        assert same.adjusted_p_value > 0.05

    def test_interval_covers_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        hits = 0
        for _ in range(200):
            correct = rng.random((2, 100)) < np.array([[0.8], [0.7]])
            (pair,) = compare_accuracy(correct, ["a", "b"], n_resamples=500, random_state=0)
            hits += pair.low <= 0.1 <= pair.high
        assert 180 <= hits <= 200

    def test_of_samples(self, found):
        judge = KNeighborsClassifier(1).fit(X, LABELS)
        agrees = judge.predict(found.end.samples) == found.y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if agrees.mean() < 0.9 else "error")
            (pair,) = found.compare_accuracy(judge, random_state=0)
        assert (pair.first, pair.second, pair.n_samples) == ("a", "b", agrees.sum())
        right = found.end.predictions[0] == found.y
        assert pair.first_accuracy == right[agrees].mean()
        with pytest.warns(UserWarning, match="no judge"):
            (pair,) = found.compare_accuracy(random_state=0)
        assert pair.first_accuracy == right.mean()
        with pytest.raises(ValueError, match="confidence_level=2"):
            found.compare_accuracy(judge, confidence_level=2)

    def test_a_judge_that_rarely_agrees_is_named(self, found):
        never = DummyClassifier(strategy="constant", constant="setosa").fit(X, LABELS)
        with pytest.warns(UserWarning, match="agrees with 3"):
            (pair,) = found.compare_accuracy(never, random_state=0)
        assert pair.n_samples == (found.y == "setosa").sum()
        nobody = DummyClassifier().fit(X, np.full(150, "none"))
        with (
            pytest.warns(UserWarning, match="agrees with 0%"),
            pytest.raises(ValueError, match="no sample"),
        ):
            found.compare_accuracy(nobody)

    def test_on_real_rows_a_planted_fault_is_found_that_conditions_hide(self):
        # Two classes that overlap: beyond 1 the generator of the first still makes rows, which
        # really are of the second.
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(4000, 2))
        labels = (rows[:, 0] > 1).astype(int)
        learn, test = slice(0, 2000), slice(2000, None)
        right = DecisionTreeClassifier(max_depth=1, random_state=0).fit(
            rows[learn], labels[learn]
        )
        faulty = DecisionTreeClassifier(max_depth=1, random_state=0)
        faulty.fit(rows[learn], rows[learn, 0] > 1.6)
        faulty.classes_ = right.classes_
        members = [("right", FrozenEstimator(right)), ("faulty", FrozenEstimator(faulty))]
        generator = GaussianMixtureGenerator(1, random_state=0)
        gevaldi = GeValDi(members, generator=generator, n_steps=20, random_state=0)
        gevaldi.fit(rows[learn], labels[learn])
        found = gevaldi.maximally_different_samples(100, y=0, random_state=0)
        with pytest.warns(UserWarning, match="no judge"):
            (hidden,) = found.compare_accuracy(random_state=0)
        (real,) = gevaldi.compare_accuracy(found, rows[test], labels[test], random_state=0)
        assert hidden.high < 0
        assert real.low > 0
        assert real.adjusted_p_value < 0.01
        assert real.n_samples <= 100
        for wrong, message in (
            (labels[test][:5], "y with 5 rows"),
            (labels[test].astype(str), "the classes that were learned are .0, 1."),
            (np.where(labels[test], np.nan, 0), "missing labels"),
        ):
            with pytest.raises(ValueError, match=message):
                gevaldi.compare_accuracy(found, rows[test], wrong)


class TestRegions:
    @pytest.mark.parametrize("eps", [0.2, None])
    @pytest.mark.parametrize("space", ["latent", "probability", "input", "auto"])
    def test_regions_are_disjoint_parts(self, nets, found, eps, space):
        regions = nets.failure_regions(found, space=space, min_samples=5, eps=eps)
        index = np.concatenate([region.index for region in regions] or [[]])
        assert len(np.unique(index)) == len(index) <= 60
        assert sorted((r.size for r in regions), reverse=True) == [r.size for r in regions]
        for region in regions:
            assert set(region.representatives) <= set(region.index)
            assert region.mean_divergence == found.end.divergence[region.index].mean()
            assert set(region.confusable) <= set(LABELS)
            assert region.name == "-".join(region.confusable)

    def test_confusable_classes_are_those_that_the_members_name(self, nets, found):
        regions = nets.failure_regions(found, space="probability", min_samples=5)
        assert regions
        answers = found.end.predictions[:, regions[0].index]
        labels, counts = np.unique(answers, return_counts=True)
        assert regions[0].confusable[0] == labels[counts.argmax()]

    def test_finds_clusters_of_any_scale(self):
        rng = np.random.RandomState(0)
        centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
        points = np.repeat(centres, 30, axis=0) + rng.normal(size=(120, 2))
        for scale in (1e-3, 1.0, 1e3):
            labels = cluster_labels(scale * points, 5)
            assert labels.max() == 3
            assert (labels >= 0).mean() > 0.8
        expected = DBSCAN(eps=1.0, min_samples=5).fit_predict(points)
        assert (cluster_labels(points, 5, eps=1.0) == expected).all()

    def test_few_or_equal_points_are_no_error(self):
        assert cluster_labels(np.zeros((6, 2)), 3, eps=1.0).tolist() == [0] * 6
        assert len(cluster_labels(np.zeros((6, 2)), 3)) == 6
        assert len(cluster_labels(np.random.RandomState(0).normal(size=(3, 2)), 10)) == 3
        assert cluster_labels(np.zeros((1, 2)), 10).tolist() == [-1]

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"space": "pixels"}, "space='pixels'"),
            ({"min_samples": 1}, "min_samples=1"),
            ({"eps": 0}, "eps=0"),
        ],
    )
    def test_wrong_parameters(self, nets, found, parameters, message):
        with pytest.raises(ValueError, match=message):
            nets.failure_regions(found, **parameters)


def test_refit_learns_from_the_samples(nets, found):
    fresh = nets.maximally_different_samples(60, random_state=1)
    sets = {"train": (X, LABELS), "fresh": (fresh.end.samples, fresh.y)}
    refit = nets.refit_with(found, X, LABELS, evaluate=sets)
    assert refit.before["train"] == nets.score(X, LABELS)
    assert refit.after["fresh"] == refit.estimator.score(fresh.end.samples, fresh.y)
    assert refit.after["fresh"] > refit.before["fresh"]
    assert refit.after["train"] > 0.9
    assert refit.estimator.generator_ is nets.generator_
    assert refit.estimator.estimators_[0] is not nets.estimators_[0]
    described = clone(refit.estimator).fit(X, LABELS)
    np.testing.assert_array_equal(described.score_samples(X), refit.estimator.score_samples(X))


class TestDisplays:
    @pytest.fixture(autouse=True)
    def _needs_matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_before_and_after(self, found):
        figure = plot_samples(found, max_samples=3)
        assert len(figure.axes) == 6
        most = found.end.divergence.argmax()
        title = figure.axes[1].get_title()
        for answer in found.end.predictions[:, most]:
            assert str(answer) in title

    def test_curves(self, found):
        figure = plot_ascent(found, n=(1, 2))
        assert [axis.get_ylabel() for axis in figure.axes] == [
            "Divergence (nats)",
            "Drift",
            "Prediction set distance",
        ]
        np.testing.assert_allclose(
            figure.axes[0].lines[0].get_ydata(), found.divergence_path.mean(1)
        )

    def test_map_and_regions(self, nets, found):
        regions = nets.failure_regions(found, space="probability", min_samples=5)
        figure = plot_map(found, regions, X, LABELS)
        assert len(figure.axes) == 2
        labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
        assert f"{regions[0].name} ({regions[0].size})" in labels
        assert len(plot_map(found, regions).axes) == 1
        assert plot_regions(found, regions).axes
        assert plot_regions(found, []).axes

    def test_changes(self, found):
        figure = plot_changes(found, feature_names=["a", "b", "c", "d"], max_features=2)
        change = np.abs(found.end.samples - found.start.samples).mean(0)
        change /= found.start.samples.std(0)
        largest = np.array(["a", "b", "c", "d"])[change.argmax()]
        assert [t.get_text() for t in figure.axes[0].get_yticklabels()][-1] == largest
        with pytest.raises(ValueError, match="1 feature_names"):
            plot_changes(found, feature_names=["a"])
