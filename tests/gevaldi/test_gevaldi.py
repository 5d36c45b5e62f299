import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from sklearn_ood import (
    COOLClassifier,
    DAEConfidence,
    GeValDi,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.generators import (
    VAE,
    GaussianMixtureGenerator,
    InterpolationGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
    PretrainedGenerator,
)
from sklearn_ood.gevaldi._climbing import is_differentiable, log_proba, log_proba_tensor
from sklearn_ood.metrics import selective_scorer

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
NET = {"hidden_layer_sizes": (16,), "max_epochs": 15, "lr": 1e-2, "batch_size": 16}
NETS = [("a", SoftmaxClassifier(**NET)), ("b", SoftmaxClassifier(**NET))]
TREES = [
    ("forest", RandomForestClassifier(10, random_state=0)),
    ("boosting", HistGradientBoostingClassifier(max_iter=5, random_state=0)),
]
GENERATOR = GaussianMixtureGenerator(1)


def frozen(**members):
    return [(name, FrozenEstimator(member)) for name, member in members.items()]


@pytest.fixture(scope="module")
def nets():
    return GeValDi(NETS, generator=GENERATOR, n_steps=40, random_state=0).fit(X, LABELS)


@pytest.fixture(scope="module")
def trees():
    return GeValDi(TREES, generator=GENERATOR, n_steps=10, random_state=0).fit(X, LABELS)


class TestConsensus:
    def test_is_the_mean_of_the_members(self, nets):
        proba = np.mean([member.predict_proba(X) for member in nets.estimators_], axis=0)
        np.testing.assert_allclose(nets.predict_proba(X), proba)
        np.testing.assert_allclose(nets.decision_function(X), np.log(proba))
        assert (nets.predict(X) == nets.classes_[proba.argmax(1)]).all()
        assert nets.score(X, LABELS) > 0.9

    def test_score_is_minus_the_divergence(self, nets):
        first, second = (member.predict_proba(X) for member in nets.estimators_)
        expected = -(jensenshannon(first, second, axis=1) ** 2)
        np.testing.assert_allclose(nets.score_samples(X), expected, rtol=1e-6, atol=1e-12)

    def test_zero_probabilities_keep_kl_finite(self):
        gevaldi = GeValDi(
            TREES, generator=GENERATOR, divergence="kl", n_steps=3, random_state=0
        )
        gevaldi.fit(X, LABELS)
        assert (gevaldi.estimators_[0].predict_proba(X) == 0).any()
        score = gevaldi.score_samples(X)
        assert (np.isfinite(score) & (score <= 0) & (score > -37)).all()
        assert np.isfinite(gevaldi.maximally_different_samples(5).end.divergence).all()

    def test_takes_part_in_selection_and_searches(self):
        gevaldi = GeValDi(
            [("tree", TREES[0][1]), ("linear", LogisticRegression(max_iter=1000))],
            generator=GENERATOR,
            random_state=0,
        )
        selective = SelectiveClassifier(gevaldi, coverage=0.8, random_state=0).fit(X, Y)
        assert 0.6 < selective.accept(X).mean() < 1
        search = GridSearchCV(
            make_pipeline(StandardScaler(), gevaldi),
            {"gevaldi__tree__n_estimators": [2, 5]},
            scoring=selective_scorer("aurc"),
            cv=2,
        ).fit(X, Y)
        assert np.isfinite(search.best_score_)

    def test_disagreement_tells_errors(self, nets):
        rng = np.random.RandomState(0)
        between = 0.5 * (X[rng.randint(50, 100, 50)] + X[rng.randint(100, 150, 50)])
        scores = nets.score_samples(np.concatenate([X[:50], between]))
        assert roc_auc_score(np.repeat([1, 0], 50), scores) > 0.8

    def test_outliers_are_left_out(self):
        y = np.where(Y == 2, -1, Y)
        gevaldi = GeValDi(TREES, generator=GENERATOR, ood_label=-1, random_state=0).fit(X, y)
        assert gevaldi.classes_.tolist() == [0, 1]
        assert gevaldi.generator_.n_classes_ == 2


class TestEveryMember:
    @pytest.mark.parametrize(
        "classifier",
        [
            SoftmaxClassifier(temperature=2.5, random_state=0, **NET),
            COOLClassifier(n_units_per_class=2, random_state=0, **NET),
            DAEConfidence(random_state=0, **NET),
        ],
    )
    def test_tensors_say_what_predict_proba_says(self, classifier):
        classifier = clone(classifier).fit(X, LABELS)
        assert is_differentiable(classifier)
        x = torch.from_numpy(X).requires_grad_()
        predictions = log_proba_tensor([classifier], x)
        np.testing.assert_allclose(
            predictions[0].detach().exp(), classifier.predict_proba(X), rtol=1e-4, atol=1e-6
        )
        (gradient,) = torch.autograd.grad(predictions[0, :, 0].sum(), x)
        assert gradient.abs().sum() > 0

    def test_others_are_asked_for_numbers(self):
        classifier = TREES[0][1].fit(X, LABELS)
        assert not is_differentiable(classifier)
        predictions = log_proba_tensor([classifier], torch.from_numpy(X))
        np.testing.assert_allclose(predictions, log_proba([classifier], X))
        np.testing.assert_allclose(
            predictions[0].exp(), classifier.predict_proba(X), atol=1e-15
        )


class TestFit:
    def test_members_are_fitted_clones(self, nets):
        assert nets.estimator_names_ == ["a", "b"]
        assert nets.estimators_[0] is nets.named_estimators_.a
        assert not hasattr(NETS[0][1], "classes_")
        seeds = [member.random_state for member in nets.estimators_]
        assert len(set(seeds)) == 2
        np.testing.assert_allclose(
            nets.class_means_, [X[k == Y].mean(0) for k in range(3)], rtol=1e-6
        )

    @pytest.mark.slow
    def test_in_parallel_the_same_bits(self, nets):
        again = clone(nets).set_params(n_jobs=2).fit(X, LABELS)
        assert (again.score_samples(X) == nets.score_samples(X)).all()

    def test_same_seed_same_bits_and_after_pickling(self, nets):
        again = clone(nets).fit(X, LABELS)
        assert (again.score_samples(X) == nets.score_samples(X)).all()
        restored = pickle.loads(pickle.dumps(nets))
        first, second = (
            each.maximally_different_samples(6, random_state=1) for each in (nets, restored)
        )
        assert (first.end.samples == second.end.samples).all()
        state = torch.random.get_rng_state()
        nets.maximally_different_samples(2)
        assert torch.equal(torch.random.get_rng_state(), state)

    def test_defaults(self):
        gevaldi = GeValDi(random_state=0).set_params(n_steps=2)
        assert gevaldi.get_params()["estimators"] is None
        few = np.r_[0:20, 50:70, 100:120]
        gevaldi.fit(X[few], Y[few])
        assert gevaldi.estimator_names_ == ["wide", "deep"]
        assert gevaldi.optimizer_ == "evolution"
        assert isinstance(gevaldi.generator_, InterpolationGenerator)

    def test_images_reach_networks_and_generator_as_images(self):
        images = np.random.RandomState(0).rand(24, 1, 8, 8).astype(np.float32)
        y = np.repeat([0, 1], 12)
        members = [
            ("small", SoftmaxClassifier(max_epochs=1)),
            ("pipe", make_pipeline(StandardScaler(), SoftmaxClassifier(max_epochs=1))),
        ]
        generator = VAE(2, hidden_layer_sizes=(8,), max_epochs=1)
        gevaldi = GeValDi(
            members, generator=generator, n_steps=2, population_size=4, random_state=0
        )
        gevaldi.fit(images, y)
        assert gevaldi.estimators_[0].input_shape_ == (1, 8, 8)
        assert gevaldi.estimators_[1][-1].input_shape_ == (1, 8, 8)
        assert gevaldi.generator_.input_shape_ == (1, 8, 8)
        found = gevaldi.maximally_different_samples(4, random_state=0)
        assert found.end.samples.shape == (4, 64)
        assert found.input_shape == (1, 8, 8)
        assert gevaldi.predict(images).shape == (24,)


class TestPretrained:
    """The door for a BigGAN and two torchvision nets: small modules of the same interface."""

    class ConditionalGenerator(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Embedding(4, 8)
            self.body = nn.Linear(8 + 6, 3 * 8 * 8)

        def forward(self, z, y):
            return torch.tanh(self.body(torch.cat([z, self.shared(y)], 1))).view(-1, 3, 8, 8)

    @staticmethod
    def vision_net():
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(6, 4),
        )

    @pytest.fixture
    def parts(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            networks = [("one", self.vision_net().eval()), ("two", self.vision_net().eval())]
            generator = PretrainedGenerator.from_module(
                self.ConditionalGenerator(),
                latent_dim=6,
                classes=["ant", "bee", "cat", "dog"],
                conditional=True,
            )
        return networks, FrozenEstimator(generator)

    def test_a_thousand_classes(self):
        class Generator(nn.Module):
            def __init__(self):
                super().__init__()
                self.shared, self.made = nn.Embedding(1000, 4), []
                self.body = nn.Linear(4 + 6, 3 * 8 * 8)

            def forward(self, z, y):
                self.made.append(len(z))
                return torch.tanh(self.body(torch.cat([z, self.shared(y)], 1)))

        def vision_net():
            return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Flatten(), nn.Linear(96, 1000))

        generator = PretrainedGenerator.from_module(
            Generator(), 6, classes=np.arange(1000), conditional=True, prior="truncated_normal"
        )
        networks = [("one", vision_net()), ("two", vision_net())]
        frozen = FrozenEstimator(generator)
        gevaldi = GeValDi(networks, generator=frozen, input_shape=(3, 8, 8), n_steps=3).fit()
        made = generator.core_.network.made
        made.clear()
        found = gevaldi.maximally_different_samples(52, y=7, random_state=0)
        assert max(made) == 52
        assert len(made) == 4 + 2  # the start, each step, and what is kept
        assert np.abs(found.end.latents).max() <= 2
        spread = gevaldi.maximally_different_samples(52, random_state=0)
        assert len(np.unique(spread.y)) == 52
        assert spread.end.log_proba.shape == (2, 52, 1000)

    def test_modules_are_taken_as_they_are_without_data(self, parts):
        networks, generator = parts
        gevaldi = GeValDi(
            networks,
            generator=generator,
            prior_weight=0,
            prior_mass=1,
            input_shape=(3, 8, 8),
        ).fit()
        found = gevaldi.maximally_different_samples(8, random_state=0)
        assert gevaldi.generator_ is generator.estimator
        assert gevaldi.optimizer_ == "adam"
        assert gevaldi.classes_.tolist() == ["ant", "bee", "cat", "dog"]
        assert sorted(found.y) == sorted(2 * ["ant", "bee", "cat", "dog"])
        assert found.end.divergence.mean() > 2 * found.start.divergence.mean()
        with torch.no_grad():
            logits = networks[0][1](torch.from_numpy(found.end.samples).view(-1, 3, 8, 8))
        np.testing.assert_allclose(
            found.end.proba[0], torch.softmax(logits.double(), 1), rtol=1e-4, atol=1e-7
        )
        with pytest.raises(ValueError, match="class_means=None"):
            found.set_distance_path()

    def test_a_missing_shape_or_missing_classes_are_clear_errors(self, parts):
        networks, generator = parts
        with pytest.raises(ValueError, match="cannot take inputs of shape"):
            GeValDi(networks, generator=generator).fit()
        nameless = PretrainedGenerator.from_module(nn.Linear(2, 192), latent_dim=2)
        nameless = FrozenEstimator(nameless)
        with pytest.raises(ValueError, match="neither the generator nor y says which classes"):
            GeValDi(networks, generator=nameless, input_shape=(3, 8, 8)).fit()

    def test_wrapped_networks_and_uniform_prior(self):
        member = SoftmaxClassifier.from_module(nn.Linear(3, 2), [0, 1], 3)
        other = SoftmaxClassifier.from_module(nn.Linear(3, 2), [0, 1], 3)
        generator = PretrainedGenerator.from_module(
            [nn.Linear(2, 3), nn.Linear(2, 3)], latent_dim=2, classes=[0, 1], prior="uniform"
        )
        gevaldi = GeValDi(
            frozen(a=member, b=other), generator=FrozenEstimator(generator), lr=0.2
        )
        gevaldi.fit()
        found = gevaldi.maximally_different_samples(10, random_state=0)
        assert np.abs(found.end.latents).max() <= 1
        assert np.isfinite(found.end.log_prior).all()

    def test_flat_rows_take_the_members_shape(self, parts):
        networks, generator = parts
        members = frozen(
            **{
                name: SoftmaxClassifier.from_module(network, generator.classes_, (3, 8, 8))
                for name, network in networks
            }
        )
        rows = generator.sample(8, np.repeat(generator.classes_, 2), random_state=0)
        gevaldi = GeValDi(members, generator=generator, n_steps=1)
        gevaldi.fit(rows, np.repeat(generator.classes_, 2))
        assert gevaldi.input_shape_ == (3, 8, 8)
        flat, images = gevaldi.score_samples(rows), rows.reshape(-1, 3, 8, 8)
        np.testing.assert_array_equal(flat, gevaldi.score_samples(images))

    def test_frozen_sklearn_members_and_data(self, trees):
        again = GeValDi(
            frozen(**trees.named_estimators_),
            generator=FrozenEstimator(trees.generator_),
            n_steps=10,
        ).fit(X, LABELS)
        assert again.estimators_[0] is trees.estimators_[0]
        assert (again.predict_proba(X) == trees.predict_proba(X)).all()
        assert again.class_means_ is not None

    def test_some_may_be_frozen_and_others_fitted(self, trees):
        members = [("forest", FrozenEstimator(trees.estimators_[0])), ("bayes", GaussianNB())]
        mixed = GeValDi(members, generator=GENERATOR, n_jobs=2, random_state=0).fit(X, LABELS)
        assert mixed.estimators_[0] is trees.estimators_[0]
        assert mixed.estimators_[1].score(X, LABELS) > 0.9


class TestBadInput:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"estimators": NETS[:1]}, "1 classifier.*at least two"),
            ({"estimators": [NETS[0], NETS[0]]}, "not unique"),
            (
                {"estimators": [("lr", NETS[0][1]), NETS[1]]},
                "conflict with constructor arguments",
            ),
            ({"divergence": "hellinger"}, "divergence='hellinger'"),
            ({"optimizer": "cma"}, "optimizer='cma'"),
            ({"n_steps": 1.5}, "n_steps=1.5"),
            ({"n_starts": 0}, "n_starts=0"),
            ({"population_size": 3}, "population_size=3"),
            ({"lr": 0}, "lr=0"),
            ({"step_size": -1.0}, "step_size=-1.0"),
            ({"prior_weight": -1.0}, "Got prior_weight=-1.0"),
            ({"prior_mass": 0}, "Got prior_mass=0"),
            ({"prior_mass": 1.5}, "Got prior_mass=1.5"),
        ],
    )
    def test_parameters(self, parameters, message):
        with pytest.raises(ValueError, match=message):
            GeValDi(**{"estimators": NETS, "generator": GENERATOR} | parameters).fit(X, Y)

    def test_not_a_list_of_pairs(self):
        with pytest.raises(TypeError, match=r"expected a list of \(name, classifier\)"):
            GeValDi([GaussianNB(), GaussianNB()], generator=GENERATOR).fit(X, Y)

    def test_no_gradients_where_they_are_asked_for(self):
        with pytest.raises(ValueError, match="has no gradients; use 'evolution'"):
            GeValDi(TREES, generator=GENERATOR, optimizer="adam").fit(X, Y)

    def test_a_member_without_probabilities(self):
        members = [("svm", LinearSVC()), ("bayes", GaussianNB())]
        with pytest.raises(TypeError, match=r"'svm' \(LinearSVC\) without predict_proba"):
            GeValDi(members, generator=GENERATOR).fit(X, Y)
        members[0] = ("svm", CalibratedClassifierCV(LinearSVC(), cv=2))
        GeValDi(members, generator=GENERATOR, n_steps=1).fit(X, Y)

    def test_members_with_other_classes(self):
        one, two = GaussianNB().fit(X, Y), GaussianNB().fit(X, LABELS)
        generator = clone(GENERATOR).fit(X, Y)
        with pytest.raises(
            ValueError, match=r"'b' with classes_=\['setosa'.*must know the same"
        ):
            GeValDi(frozen(a=one, b=two), generator=FrozenEstimator(generator)).fit()

    def test_unfitted_members_and_generators(self):
        fitted = GaussianNB().fit(X, Y)
        generator = FrozenEstimator(clone(GENERATOR).fit(X, Y))
        with pytest.raises(NotFittedError, match="GaussianNB instance is not fitted"):
            GeValDi(frozen(a=fitted, b=GaussianNB()), generator=generator).fit()
        with pytest.raises(NotFittedError, match="not fitted"):
            GeValDi(frozen(a=fitted, b=fitted), generator=FrozenEstimator(GENERATOR)).fit()
        with pytest.raises(TypeError, match="expected one from sklearn_ood.generators"):
            GeValDi(frozen(a=fitted, b=fitted), generator=FrozenEstimator(fitted)).fit()

    def test_a_generator_of_another_width_or_other_classes(self):
        members = frozen(a=GaussianNB().fit(X, Y), b=GaussianNB().fit(X, Y))
        narrow = FrozenEstimator(clone(GENERATOR).fit(X[:, :3], Y))
        with pytest.raises(ValueError, match="'generator' for 3 features, but expected 4"):
            GeValDi(members, generator=narrow).fit(X, Y)
        with pytest.raises(ValueError, match="'a' for 4 features, but expected 3"):
            GeValDi(members, generator=narrow).fit()
        strange = FrozenEstimator(clone(GENERATOR).fit(X, Y + 5))
        with pytest.raises(ValueError, match=r"generator of the classes \[5, 6, 7\]"):
            GeValDi(members, generator=strange).fit(X, Y)

    def test_data_are_needed_unless_all_is_frozen(self):
        with pytest.raises(ValueError, match="y"):
            GeValDi(NETS, generator=GENERATOR).fit(X, None)
        members = [*frozen(a=GaussianNB().fit(X, Y)), ("b", GaussianNB())]
        with pytest.raises(ValueError, match=r"\['b', 'generator'\] have to be fitted"):
            GeValDi(members).fit()
        members = frozen(a=GaussianNB().fit(X, Y), b=GaussianNB().fit(X, Y))
        generator = FrozenEstimator(clone(GENERATOR).fit(X, Y))
        with pytest.raises(TypeError, match="sample_weight without X"):
            GeValDi(members, generator=generator).fit(sample_weight=np.ones(len(X)))

    def test_unfitted(self):
        with pytest.raises(NotFittedError):
            GeValDi().maximally_different_samples()
        with pytest.raises(NotFittedError):
            GeValDi().predict(X)


class TestGenerators:
    @pytest.mark.parametrize(
        "generator",
        [
            VAE(2, hidden_layer_sizes=(8,), max_epochs=5, batch_size=16),
            PCAGenerator(2),
            NearestNeighborGenerator(),
        ],
        ids=["vae", "pca", "knn"],
    )
    def test_every_generator_can_be_climbed(self, generator):
        gevaldi = GeValDi(
            NETS, generator=generator, n_steps=5, population_size=6, random_state=0
        )
        gevaldi.fit(X, Y)
        found = gevaldi.maximally_different_samples(9, random_state=0)
        assert found.end.samples.shape == (9, 4)
        assert np.bincount(found.y).tolist() == [3, 3, 3]
        assert found.end.divergence.mean() >= found.start.divergence.mean()


class TestConstraints:
    def wanted(self):
        return {
            "integer": ["petal width (cm)"],
            "range": {"sepal length (cm)": (5.0, 6.5)},
            "fixed": {1: 3.0},
        }

    @pytest.mark.parametrize("members", [NETS, TREES])
    def test_samples_keep_to_them_at_every_step(self, members):
        frame, y = load_iris(return_X_y=True, as_frame=True)
        settings = {"generator": GENERATOR, "n_steps": 15, "random_state": 0}
        gevaldi = GeValDi(members, constraints=self.wanted(), **settings).fit(frame, y)
        found = gevaldi.maximally_different_samples(30, random_state=0)
        for moment in (found.start, found.end):
            length, width, _, petal = moment.samples.T
            assert (petal == petal.round()).all()
            assert length.min() >= 5
            assert length.max() <= 6.5
            assert (width == 3).all()
            np.testing.assert_allclose(
                np.exp(log_proba(gevaldi.estimators_, moment.samples)), moment.proba, atol=1e-5
            )
        assert found.end.divergence.mean() > found.start.divergence.mean()

    def test_are_checked_in_fit(self):
        with pytest.raises(ValueError, match="column 'petal'"):
            GeValDi(TREES, generator=GENERATOR, constraints={"integer": ["petal"]}).fit(X, Y)


def test_frozen_members_that_pick_columns_by_name():
    X, y = load_iris(return_X_y=True, as_frame=True)
    by_name = make_column_transformer((StandardScaler(), list(X.columns[:2])))
    members = [("sepals", make_pipeline(by_name, GaussianNB())), ("all", GaussianNB())]
    frozen = [(name, FrozenEstimator(member.fit(X, y))) for name, member in members]
    gevaldi = GeValDi(frozen, generator=GaussianMixtureGenerator(1), n_steps=2, random_state=0)
    found = gevaldi.fit(X, y).maximally_different_samples(3, random_state=0)
    expected = np.log(members[0][1].predict_proba(X[:3]))
    np.testing.assert_allclose(log_proba(gevaldi.estimators_, X[:3])[0], expected)
    assert len(found.end.samples) == 3
