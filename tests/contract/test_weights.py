"""``sample_weight``: how often a row is there, exactly or by rows drawn; or an error."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    ConfidentClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    GenerativeClassifier,
    GeValDi,
    MahalanobisDistance,
    NeighborDistance,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
    Subspace,
    TableClassifier,
    TableDensity,
)
from sklearn_ood.detectors import FDBD, NCI, KLMatching, LogitScore
from sklearn_ood.generators import (
    GaussianMixtureGenerator,
    InterpolationGenerator,
    PCAGenerator,
)

NET = {"hidden_layer_sizes": (8,), "max_epochs": 8, "lr": 2e-2, "random_state": 0}
MEMBERS = [("near", NeighborDistance()), ("density", TableDensity(1))]
LEARN_SHARES = [
    SoftmaxClassifier(**NET),
    SoftmaxClassifier(early_stopping=True, temperature="calibrate", **NET),
    COOLClassifier(**NET),
    ConfidentClassifier(outliers="uniform", **NET),
    RejectClassifier(outliers="uniform", **NET),
    DAEConfidence(typicality=True, **NET),
    DAEClassifier(LogisticRegression(), **NET),
    TableClassifier(3, random_state=0),
    CombinedClassifier(LogisticRegression(), MEMBERS, random_state=0),
    CombinedClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), MEMBERS, random_state=0
    ),
    GeValDi(
        [("linear", LogisticRegression()), ("net", SoftmaxClassifier(**NET))],
        generator=PCAGenerator(2),
        random_state=0,
    ),
]
LEARN_CLASSES = [
    TableDensity(2, random_state=0),
    GenerativeClassifier("pca", random_state=0),
    GenerativeClassifier("gmm", random_state=0),
    MahalanobisDistance(),
    MahalanobisDistance(relative=True),
    NeighborDistance(),
]


@pytest.fixture(scope="module")
def rows():
    """Two classes that overlap."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    return rng.normal(size=(160, 4)) + y[:, None], y


def answers(model, X):
    proba = model.predict_proba(X)
    return np.column_stack([proba, model.score_samples(X)])


@pytest.mark.parametrize("model", [*LEARN_SHARES, *LEARN_CLASSES], ids=repr)
def test_rows_of_weight_zero_are_as_absent(model, rows):
    X, y = rows
    X, y = np.vstack([X, X[:30] + 9]), np.append(y, np.full(30, 2))
    counts = (y < 2) & (np.arange(len(y)) % 5 > 0)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    assert weighted.classes_.tolist() == [0, 1]
    absent = clone(model).fit(X[counts], y[counts])
    np.testing.assert_allclose(answers(weighted, X), answers(absent, X), rtol=1e-9)


@pytest.mark.parametrize("model", LEARN_SHARES, ids=repr)
def test_the_weight_of_a_class_moves_its_share(model, rows):
    X, y = rows
    shares = [
        clone(model).fit(X, y, sample_weight=weight).predict(X).mean()
        for weight in (np.where(y, 1, 5), np.ones(len(y)), np.where(y, 5, 1))
    ]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("model", LEARN_CLASSES[:-1], ids=repr)
def test_weights_within_a_class_move_what_is_typical_of_it(model, rows):
    X, y = rows
    to_the_right = np.where(X[:, 0] > y, 9.0, 1.0)
    ask = np.array([[1.5, 0, 0, 0], [-1.5, 0, 0, 0]])
    if isinstance(model, MahalanobisDistance):
        model = clone(model).set_params(normalize=False)
    gains = [
        np.subtract(*clone(model).fit(X, y, **how).class_score_samples(ask, [0, 0]))
        for how in ({"sample_weight": to_the_right}, {})
    ]
    assert gains[0] > gains[1]


@pytest.mark.parametrize(
    "model",
    [MahalanobisDistance(), MahalanobisDistance(relative=True), NeighborDistance(), Subspace()]
    + [LogitScore(), FDBD(), NCI(), KLMatching()],
    ids=repr,
)
def test_weights_are_repetitions(model, rows):
    X, y = rows
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = clone(model).fit(X, y, sample_weight=weight).score_samples(X)
    repeated = clone(model).fit(X.repeat(weight, axis=0), y.repeat(weight)).score_samples(X)
    is_closed = isinstance(model, (MahalanobisDistance, NeighborDistance, Subspace))
    tolerance = {"rtol": 1e-9} if is_closed else {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(weighted, repeated, **tolerance)


@pytest.mark.parametrize(
    "generator",
    [PCAGenerator(2), GaussianMixtureGenerator(1), InterpolationGenerator()],
    ids=repr,
)
def test_generators_draw_rows_by_their_weights(generator, rows):
    X, y = rows
    weight = np.where(X[:, 0] > 1, 9.0, 0.0)
    made = clone(generator).fit(X, y, sample_weight=weight).sample(400, random_state=0)
    plain = clone(generator).fit(X, y).sample(400, random_state=0)
    assert made[:, 0].mean() > plain[:, 0].mean() + 0.5


def test_a_member_that_takes_no_weights_is_named(rows):
    X, y = rows
    members = [("near", KNeighborsClassifier()), ("linear", LogisticRegression())]
    model = GeValDi(members, generator=PCAGenerator(2), random_state=0)
    with pytest.raises(TypeError, match=r"sample_weight, but KNeighborsClassifier takes none"):
        model.fit(X, y, sample_weight=np.ones(len(y)) + y)


def test_weights_calibrate_a_combination_unless_others_do(rows):
    X, y = rows
    weight = np.where(X[:, 0] > 0, 4.0, 1.0)
    model = CombinedClassifier(LogisticRegression(), MEMBERS, random_state=0)
    plain = clone(model).fit(X, y)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    trained = clone(model).fit(X, y, sample_weight=weight, calibration_weight=np.ones(len(y)))
    assert weighted.n_calibration_ == pytest.approx(weight.sum() / 4)
    assert trained.n_calibration_ == plain.n_calibration_ == len(y)
    assert not np.array_equal(trained.classifier_.coef_, plain.classifier_.coef_)
    np.testing.assert_array_equal(trained.classifier_.coef_, weighted.classifier_.coef_)
    far = weighted.members_["density"], plain.members_["density"]
    assert not np.array_equal(*(each.score_samples(X) for each in far))
    selective = SelectiveClassifier(model, risk=0.5, random_state=0)
    assert selective.fit(X, y, sample_weight=weight).guarantee_["risk"].n_effective


def test_weights_are_routed(rows):
    X, y = rows
    weight = np.where(y, 5.0, 1.0)
    model = CombinedClassifier(LogisticRegression(), MEMBERS[:1], random_state=0)
    expected = clone(model).fit(X, y, sample_weight=weight)
    with config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="LogisticRegression"):
            model.fit(X, y, sample_weight=weight)
        model.classifier.set_fit_request(sample_weight=True)
        model.members[0][1].set_fit_request(sample_weight=False)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"method": ["fisher"]}, cv=2)
        found = search.fit(X, y, sample_weight=weight).best_estimator_
        np.testing.assert_array_equal(found.classifier_.coef_, expected.classifier_.coef_)
        net = SoftmaxClassifier(**NET).set_fit_request(sample_weight=True)
        net.set_score_request(sample_weight=False)
        params = {"sample_weight": weight}
        scores = cross_validate(net, X, y, params=params, cv=2, error_score="raise")
        assert (scores["test_score"] >= 0.5).all()
        default = CombinedClassifier(members=MEMBERS[:1], random_state=0)
        default.members[0][1].set_fit_request(sample_weight=False)
        assert default.fit(X, y, sample_weight=weight).predict(X).mean() > y.mean()
    with pytest.raises(ValueError, match="CombinedClassifier.fit"):
        model.fit(X, y, weight=weight)


def test_what_takes_no_weights_says_so(rows):
    X, y = rows
    weight = np.where(y, 5.0, 1.0)
    with pytest.raises(TypeError, match="sample_weight, but KNeighborsClassifier takes none"):
        CombinedClassifier(KNeighborsClassifier()).fit(X, y, sample_weight=weight)
    with pytest.raises(TypeError, match=r"\['weight'\], but SoftmaxClassifier.fit takes"):
        SoftmaxClassifier().fit(X, y, weight=weight)
    with pytest.raises(ValueError, match="neighbours are counted"):
        NeighborDistance(3).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="1 class of some sample_weight"):
        TableClassifier().fit(X, y, sample_weight=y)
    masked = np.ma.masked_array(weight, mask=y)
    for wrong in (np.zeros(len(y)), -weight, weight[:5], masked):
        with pytest.raises(ValueError, match="weight"):
            SoftmaxClassifier().fit(X, y, sample_weight=wrong)
    with pytest.raises(ValueError, match="weight"):
        MahalanobisDistance().fit(X, y, sample_weight=masked)
    with pytest.raises(ValueError, match="NaN, .* a row that does not count has 0"):
        CombinedClassifier().fit(X, y, sample_weight=np.where(y, np.nan, 1.0))
