"""Promises for groups and under weights, and how metadata come to where they are wanted."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.datasets import load_iris, make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import (
    CombinedClassifier,
    NeighborDistance,
    NoveltyDetector,
    RiskMonitor,
    SelectiveClassifier,
    p_values_from_scores,
    threshold_from_scores,
)
from sklearn_ood.metrics import selective_report, selective_scorer

HOSPITALS = np.array(["north", "small", "south"])


@pytest.fixture(scope="module")
def rows():
    """Two classes in three hospitals: one of them small, one of them mislabels."""
    rng = np.random.default_rng(0)
    X, y = make_blobs([2000, 2000], centers=[[0, 0], [2, 2]], random_state=0)
    groups = rng.choice(HOSPITALS, p=[0.6, 0.01, 0.39], size=len(y))
    y = np.where((groups == "south") & (rng.random(len(y)) < 0.05), 1 - y, y)
    return X, y, groups


@pytest.fixture(scope="module")
def frozen(rows):
    X, y, _ = rows
    return FrozenEstimator(GaussianNB().fit(X[::2], y[::2]))


@pytest.fixture
def model(rows, frozen):
    X, y, groups = (each[1::2] for each in rows)
    selective = SelectiveClassifier(frozen, risk=0.14, guarantee_for="group")
    with pytest.warns(UserWarning, match="1 of 3 groups risk=0.14 cannot .*: {'small': "):
        return selective.fit(X, y, groups=groups)


def test_each_group_has_its_threshold_and_promise_and_the_small_one_is_refused(rows, model):
    X, y, groups = (each[1::2] for each in rows)
    assert model.groups_.tolist() == HOSPITALS.tolist()
    assert np.isposinf(model.threshold_).tolist() == [False, True, False]
    accepted, confidence = model.accept(X, groups=groups), model.score_samples(X)
    for name, threshold in zip(HOSPITALS, model.threshold_, strict=True):
        own, promise = groups == name, model.guarantee_[f"risk of {name}"]
        np.testing.assert_array_equal(accepted[own], confidence[own] >= threshold)
        assert (promise.n_samples, promise.n_accepted) == (own.sum(), accepted[own].sum())
        assert promise.n_errors == (model.answers(X) != y)[own & accepted].sum()
        assert promise.bound <= 0.14 or not promise.n_accepted
        assert (promise.guarantee_for, promise.label) == ("group", name)
    answers = model.predict(X, groups=groups)
    np.testing.assert_array_equal(answers, np.where(accepted, model.answers(X), -1))
    frame = model.decide(pd.DataFrame(X), groups=pd.Series(groups))
    assert (frame["reason"][groups == "small"] == "no promise").all()


def test_a_group_that_never_calibrated_is_refused(rows, model):
    X = rows[0][:5]
    assert not model.accept(X, groups=["west"] * 5).any()
    assert (model.predict(X, groups=["west"] * 5) == -1).all()


def test_groups_are_there_exactly_where_they_are_needed(rows, model, frozen):
    X, y, groups = rows
    for verb in (model.predict, model.accept, model.decide, model.answers_and_accepted):
        with pytest.raises(ValueError, match=r"no groups, but .* promises .* pass groups="):
            verb(X)
        with pytest.raises(ValueError, match=r"groups of shape \(2,\)"):
            verb(X, groups=["north"] * 2)
    with pytest.raises(ValueError, match="no groups, but"):
        SelectiveClassifier(frozen, risk=0.1, guarantee_for="group").fit(X, y)
    plain = SelectiveClassifier(frozen, risk=0.2)
    with pytest.raises(
        ValueError, match="Got groups, but guarantee_for='all' promises nothing"
    ):
        plain.fit(X, y, groups=groups)
    plain.fit(X, y)
    for verb in (plain.predict, plain.accept, plain.decide):
        with pytest.raises(ValueError, match="Got groups, but guarantee_for='all'"):
            verb(X, groups=groups)
    with pytest.raises(ValueError, match="guarantee_for without risk"):
        SelectiveClassifier(frozen, coverage=0.5, guarantee_for="group").fit(X, y)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, "west", 7])
def test_rows_of_no_known_group_are_reported_as_refused(rows, model, missing):
    X, y, groups = rows
    some = pd.Series(groups, dtype=object)
    some[groups == "south"] = missing
    report = selective_report(model, X, y, groups=some)
    of_all = selective_report(model, X, y, groups=groups)
    assert report.group_risks["north"] == of_all.group_risks["north"]
    assert np.isnan(report.group_risks["south"])
    assert report.matrix[:, -1].sum() >= (groups == "south").sum()


@pytest.mark.parametrize("names", [["0", "1"], ["a", "b"]])
def test_groups_in_another_kind_than_those_that_calibrated_are_an_error(rows, frozen, names):
    X, y, groups = rows
    codes = (groups == "north").astype(int)
    model = SelectiveClassifier(frozen, risk=0.2, guarantee_for="group")
    model.fit(X, y, groups=codes)
    for verb in (model.predict, model.accept, model.decide):
        with pytest.raises(ValueError, match="Got groups .* the names that were learned"):
            verb(X, groups=np.array(names)[codes])
    assert (model.predict(X[:3], groups=["new"] * 3) == -1).all()


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_group_is_named_in_fit_and_refused_in_predict(rows, model, missing):
    X, y, groups = rows
    some = pd.Series(groups, dtype=object)
    some[:3] = missing
    with pytest.raises(ValueError, match="Got groups with 3 missing labels .* as 'unknown'"):
        model.recalibrate(X, y, groups=some)
    with pytest.raises(ValueError, match="Got groups with 1 missing labels of 4000"):
        model.recalibrate(X, y, groups=np.append(np.nan, np.zeros(len(y) - 1)))
    assert not model.accept(X[:3], groups=some[:3]).any()
    with pytest.raises(TypeError, match="Got groups with labels of the types int, str"):
        model.recalibrate(X, y, groups=[1, "b"] * (len(y) // 2))


def test_groups_are_reported_and_watched(rows, model):
    X, y, groups = rows
    text = str(selective_report(model, X, y, groups=groups))
    accepted, wrong = model.accept(X, groups=groups), model.answers(X) != y
    share = wrong[accepted & (groups == "south")].mean()
    assert "among the answers in group south, with probability 95%, from" in text
    assert f"here {share:.2%}" in text
    assert "in group small, which no answer keeps" in text
    scorer = selective_scorer("coverage")
    assert scorer(model, X, y, groups=groups) == pytest.approx(accepted.mean())
    with pytest.raises(TypeError, match="aurc asks for no decision"):
        selective_scorer("aurc")(model, X, y, groups=groups)
    monitor = RiskMonitor(FrozenEstimator(model)).fit(X, y)
    assert monitor.risk_ == 0.14
    assert monitor.partial_fit(X, y, groups=groups).n_answered_ == accepted.sum()


def test_groups_in_a_pipeline_by_name_and_by_routing(rows, model):
    X, y, groups = rows
    selective = SelectiveClassifier(GaussianNB(), risk=0.14, guarantee_for="group")
    selective.set_params(random_state=0, calibration=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        piped = make_pipeline(StandardScaler(), selective)
        piped.fit(X, y, selectiveclassifier__groups=groups)
        found = piped.predict(X, groups=groups)
        with config_context(enable_metadata_routing=True):
            selective.set_fit_request(groups=True).set_predict_request(groups=True)
            routed = make_pipeline(StandardScaler(), selective).fit(X, y, groups=groups)
            np.testing.assert_array_equal(routed.predict(X, groups=groups), found)
            scores = cross_validate(
                routed,
                X,
                y,
                scoring=selective_scorer("coverage").set_score_request(groups=True),
                params={"groups": groups},
                cv=3,
                error_score="raise",
            )
    assert (scores["test_score"] > 0.3).all()
    assert (found == -1).any()


def test_groups_reach_a_search_inside_alone_where_nothing_is_promised_for_them(rows):
    X, y, groups = rows
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1]}, cv=GroupKFold(3))
    with config_context(enable_metadata_routing=True):
        selective = SelectiveClassifier(search, risk=0.2, random_state=0).fit(
            X, y, groups=groups
        )
        assert selective.estimator_.n_splits_ == 3
        with pytest.raises(ValueError, match="Got groups, but guarantee_for='all'"):
            SelectiveClassifier(GaussianNB(), risk=0.2).fit(X, y, groups=groups)


def test_weights_reach_training_and_calibration(rows):
    X, y, _ = rows
    weight = np.where(X[:, 0] > 1, 1.0, 0.2)
    selective = SelectiveClassifier(LogisticRegression(), risk=0.2, random_state=0)
    selective.fit(X, y, sample_weight=weight)
    promise = selective.guarantee_["risk"]
    trained = SelectiveClassifier(LogisticRegression(), risk=0.2, random_state=0).fit(X, y)
    assert not np.allclose(selective.estimator_.coef_, trained.estimator_.coef_)
    assert promise.n_effective < promise.n_samples
    with config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=True)
        own = SelectiveClassifier(inner, risk=0.2, random_state=0)
        routed = own.fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(routed.estimator_.coef_, selective.estimator_.coef_)
        assert routed.guarantee_ == selective.guarantee_
        # Where calibration says that it wants none, training alone gets them.
        own.set_fit_request(sample_weight=False).fit(X, y, sample_weight=weight)
        np.testing.assert_array_equal(own.estimator_.coef_, selective.estimator_.coef_)
        assert own.guarantee_["risk"].n_effective is None
        with pytest.raises(UnsetMetadataPassedError, match="LogisticRegression"):
            SelectiveClassifier(LogisticRegression()).fit(X, y, sample_weight=weight)
        own.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = GridSearchCV(own, {"risk": [0.2]}, cv=3).fit(X, y, sample_weight=weight)
        assert search.best_estimator_.guarantee_["risk"].n_effective


class Early(LogisticRegression):
    """Looks at rows beside those it learns from, as boosting does that stops early."""

    def fit(self, X, y, eval_set=None):
        self.looked_at_ = eval_set
        return super().fit(X, y)


@pytest.mark.parametrize(
    "around",
    [
        lambda each: SelectiveClassifier(each, risk=0.2, random_state=0),
        lambda each: NoveltyDetector(each, random_state=0),
        lambda each: CombinedClassifier(each, [("near", NeighborDistance())], random_state=0),
    ],
)
def test_what_is_inside_gets_what_it_asks_for_by_other_names(rows, around):
    X, y, _ = rows
    looked_at = [(X[:50], y[:50])]
    with config_context(enable_metadata_routing=True):
        model = around(Early().set_fit_request(eval_set=True))
        model.fit(X[::8], y[::8], eval_set=looked_at)
    taught = getattr(model, "estimator_", None) or model.classifier_
    assert taught.looked_at_ is looked_at


def test_weights_that_nothing_takes_are_refused_by_name(rows, frozen):
    X, y, _ = rows
    weight = np.ones(len(y))
    nameless = (
        (SelectiveClassifier(KNeighborsClassifier(), risk=0.2), "KNeighborsClassifier"),
        (SelectiveClassifier(make_pipeline(KNeighborsClassifier())), "Pipeline"),
        (
            SelectiveClassifier(GaussianNB(), detector=GaussianMixture(), risk=0.2),
            "GaussianMixture",
        ),
        (NoveltyDetector(GaussianMixture()), "GaussianMixture"),
    )
    for model, name in nameless:
        with pytest.raises(TypeError, match=f"sample_weight, but {name} takes none in fit"):
            model.fit(X, y, sample_weight=weight)
    combined = CombinedClassifier(GaussianNB(), [("near", NeighborDistance())], random_state=0)
    weighted = NoveltyDetector(combined).fit(X, y, sample_weight=weight + (y == 1))
    assert weighted.estimator_.n_calibration_ < len(y)
    detector = NoveltyDetector(FrozenEstimator(combined.fit(X, y)))
    with pytest.raises(TypeError, match="CombinedClassifier has calibrated its p-values"):
        detector.fit(X, y, sample_weight=weight + (y == 1))
    selective = SelectiveClassifier(frozen, risk=0.2)
    with pytest.raises(ValueError, match="sample_weight with 3 rows"):
        selective.fit(X, y, sample_weight=weight[:3])
    with pytest.raises(ValueError, match="sample_weight from 0.0 to 0.0"):
        selective.fit(X, y, sample_weight=0 * weight)
    with pytest.raises(ValueError, match="weight"):
        selective.fit(X, y, weight=weight)


def test_a_model_is_recalibrated_for_groups_and_weights(rows, frozen, model):
    X, y, groups = (each[1::3] for each in rows)
    weight = np.where(X[:, 0] > 1, 1.0, 0.2)
    selective = SelectiveClassifier(frozen, risk=0.14, guarantee_for="group")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        selective.fit(X, y, groups=groups, sample_weight=weight)
        model.recalibrate(X, y, groups=groups, sample_weight=weight)
    assert model.guarantee_ == selective.guarantee_
    np.testing.assert_array_equal(model.threshold_, selective.threshold_)
    with pytest.raises(ValueError, match="Got groups, but guarantee_for='all'"):
        model.recalibrate(X, y, groups=groups, guarantee_for="all")
    assert model.guarantee_for == "group"
    model.recalibrate(X, y, guarantee_for="all")
    assert np.ndim(model.threshold_) == 0


def test_several_risks_from_one_calibration(rows, frozen):
    X, y, groups = rows
    limits = [0.001, 0.07, 0.2]
    selective = SelectiveClassifier(frozen, risk=limits)
    with pytest.warns(UserWarning, match=r"^risk=0.001 cannot be promised; no answer keeps it"):
        selective.fit(X[1::2], y[1::2])
    assert selective.threshold_.shape == (3,)
    assert list(selective.guarantee_) == [f"risk {limit}" for limit in limits]
    frame, accepted = selective.decide(X), selective.accept(X)
    np.testing.assert_array_equal(
        accepted, selective.score_samples(X) >= selective.threshold_[2]
    )
    np.testing.assert_array_equal(frame["accepted"], accepted)
    assert frame["risk"].isna().tolist() == (~accepted).tolist()
    assert set(frame["risk"][accepted]) == {0.07, 0.2}
    least = frame["confidence"][frame["risk"] == 0.07].min()
    assert least >= selective.threshold_[1]
    assert RiskMonitor(FrozenEstimator(selective)).fit(X, y).risk_ == 0.2
    assert "risk at most 7.00%" in str(selective_report(selective, X, y))
    answers, confidence = selective.answers_and_confidence(X[1::2])
    found, promises = threshold_from_scores(confidence, y[1::2], answers, risk=limits)
    np.testing.assert_array_equal(found, selective.threshold_)
    assert promises == selective.guarantee_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = selective.recalibrate(X, y, guarantee_for="group", groups=groups)
    assert each.threshold_.shape == (3, 3)
    assert "risk 0.2 of south" in each.guarantee_
    assert "risk" in each.decide(X, groups=groups)
    with pytest.raises(ValueError, match="several that rise"):
        SelectiveClassifier(frozen, risk=[0.2, 0.1]).fit(X, y)


def test_the_offset_of_a_novelty_detector_counts_by_weights():
    X = np.arange(1000.0)[:, None] / 1000
    weight = np.where(X[:, 0] < 0.5, 3.0, 1.0)
    density = KernelDensity(bandwidth=0.3).fit(X)
    detector = NoveltyDetector(FrozenEstimator(density), contamination=0.3)
    refused = detector.fit(X, sample_weight=weight).predict(X) == -1
    assert weight[refused].sum() / weight.sum() == pytest.approx(0.3, abs=0.01)
    forest = IsolationForest(random_state=0)
    plain = NoveltyDetector(forest, random_state=0).fit(X)
    weighted = NoveltyDetector(forest, random_state=0).fit(X, sample_weight=weight)
    assert plain.offset_ != weighted.offset_
    assert weighted.fit_predict(X, sample_weight=weight).shape == (1000,)


def test_weighted_p_values_hold_under_a_known_shift_and_plain_ones_do_not():
    """Rows are uniform, new ones have the density 2 (1 - x), and small x are strange."""
    rng, level, shares = np.random.default_rng(0), 0.1, []
    for _ in range(400):
        known, new = rng.random(200), 1 - np.sqrt(rng.random(200))
        plain = p_values_from_scores(known, new)
        weighted = p_values_from_scores(
            known, new, calibration_weight=1 - known, sample_weight=1 - new
        )
        shares.append([(plain <= level).mean(), (weighted <= level).mean()])
    plain, weighted = np.mean(shares, axis=0)
    assert plain > 0.15
    assert 0.08 < weighted < level + 4 * np.std(shares, axis=0)[1] / 20


def test_p_values_of_scores_are_ranks():
    assert p_values_from_scores([1, 2, 2, 3], [0, 2, 3]).tolist() == [0.2, 0.8, 1.0]
    ones = {"calibration_weight": np.ones(4), "sample_weight": np.ones(3)}
    assert p_values_from_scores([1, 2, 2, 3], [0, 2, 3], **ones).tolist() == [0.2, 0.8, 1.0]
    ones["sample_weight"] = np.zeros(3)
    ones["calibration_weight"] = [0, 1, 1, 1]
    assert p_values_from_scores([1, 2, 2, 3], [1, 2, 3], **ones).tolist() == [0, 2 / 3, 1.0]
    with pytest.raises(ValueError, match="pass both, or none"):
        p_values_from_scores([1.0], [1.0], sample_weight=[1.0])
    with pytest.raises(ValueError, match="sample_weight with 1 rows"):
        p_values_from_scores([1.0], [1.0, 2], sample_weight=[1.0], calibration_weight=[1.0])
    with pytest.raises(ValueError, match="scores with 1 NaN"):
        p_values_from_scores([1.0], [np.nan])


def test_a_callable_loss_is_promised_as_the_matrix_of_its_values(rows, frozen):
    X, y, _ = (each[1::2] for each in rows)
    matrix = np.array([[0, 0.3], [1, 0]])
    asked = []

    def loss(y_true, y_pred):
        asked.append(set(y_true.tolist()))
        return matrix[y_true, y_pred]

    unknown = np.where(np.arange(len(y)) < 20, 7, y)
    found, expected = (
        SelectiveClassifier(frozen, risk=0.1, loss=each).fit(X, unknown)
        for each in (loss, matrix)
    )
    assert found.guarantee_ == expected.guarantee_
    assert found.threshold_ == expected.threshold_
    assert asked == [{0, 1}]
    assert found.predict(X).shape == y.shape
    errors = SelectiveClassifier(frozen, risk=0.1, loss=lambda truth, answer: truth != answer)
    plain = SelectiveClassifier(frozen, risk=0.1).fit(X, y)
    assert errors.fit(X, y).threshold_ == plain.threshold_
    numbers = SelectiveClassifier(frozen, risk=0.1, loss=lambda a, b: 1.0 * (a != b)).fit(X, y)
    bounds = [each.guarantee_["loss"].bound for each in (errors, numbers)]
    assert bounds[0] < bounds[1]  # for all that it knows, some cost a half
    with pytest.raises(ValueError, match=r"of shape \(2, 2\): a line .* classes \[0, 1\]\.$"):
        SelectiveClassifier(frozen, risk=0.1, loss=np.zeros((3, 3))).fit(X, y)
    for wrong in (lambda truth, answer: 2.0 * (truth != answer), lambda truth, answer: 0.0):
        with pytest.raises(ValueError, match=r"what loss gives of .* numbers in \[0, 1\]"):
            SelectiveClassifier(frozen, risk=0.1, loss=wrong).fit(X, y)


@pytest.mark.parametrize("kind", ["S", object])
def test_groups_of_bytes_as_files_have_them_are_an_error(kind):
    """Text that is compared with bytes is never equal: all would be refused without a word."""
    X, y = load_iris(return_X_y=True)
    groups = np.array(["a", "b", "c"])[np.arange(150) % 3]
    as_bytes = np.char.encode(groups).astype(kind)
    model = SelectiveClassifier(FrozenEstimator(GaussianNB().fit(X, y)), risk=0.2)
    model.set_params(guarantee_for="group").fit(X, y, groups=groups)
    with pytest.raises(ValueError, match="Got groups with labels such as .b'a'"):
        model.predict(X, groups=as_bytes)
    with pytest.raises(TypeError, match="Got groups of bytes such as b'a'"):
        model.fit(X, y, groups=as_bytes)
