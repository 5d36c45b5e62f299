"""Promises for classes, losses and costs, and how a fitted model gets other ones."""

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from sklearn_ood import CombinedClassifier, NeighborDistance, SelectiveClassifier
from sklearn_ood.metrics import ConfidenceHistogramDisplay, selective_report

NAMES = np.array(["often", "rare", "some"])
LOSS = [[0, 0.1, 0.1], [1, 0, 0.5], [0.5, 0.1, 0]]


@pytest.fixture(scope="module")
def rows():
    """Three classes that overlap, one of them rare."""
    X, y = make_blobs([3000, 60, 900], centers=[[0, 0], [2, 0], [0, 3]], random_state=0)
    return X, NAMES[y]


@pytest.fixture(scope="module")
def frozen(rows):
    X, y = rows
    return FrozenEstimator(GaussianNB().fit(X[::2], y[::2]))


@pytest.fixture
def model(rows, frozen):
    X, y = rows
    return SelectiveClassifier(frozen, risk=0.05).fit(X[1::2], y[1::2])


def test_each_class_has_its_threshold_and_promise_and_the_hopeless_one_is_refused(rows, frozen):
    X, y = (each[1::2] for each in rows)
    selective = SelectiveClassifier(frozen, risk=0.05, guarantee_for="class")
    with pytest.warns(UserWarning, match=r"1 of 3 classes risk=0.05 .* these answers: .'rare'"):
        selective.fit(X, y)
    assert selective.threshold_.shape == (3,)
    assert np.isposinf(selective.threshold_).tolist() == [False, True, False]
    answers, confidence = selective.answers_and_confidence(X)
    accepted = selective.accept(X)
    for name, threshold in zip(selective.classes_, selective.threshold_, strict=True):
        own, promise = answers == name, selective.guarantee_[f"risk of {name}"]
        np.testing.assert_array_equal(accepted[own], confidence[own] >= threshold)
        assert promise.label == name
        assert (promise.n_samples, promise.n_accepted) == (own.sum(), accepted[own].sum())
        assert promise.n_errors == (answers != y)[own & accepted].sum()
        assert promise.bound <= 0.05 or not promise.n_accepted
    np.testing.assert_array_equal(selective.predict(X), np.where(accepted, answers, "reject"))
    again = pickle.loads(pickle.dumps(selective))
    np.testing.assert_array_equal(again.predict(X), selective.predict(X))


def test_no_class_of_which_anything_can_be_promised_is_an_error(rows, frozen):
    selective = SelectiveClassifier(frozen, risk=1e-4, guarantee_for="class")
    with pytest.raises(ValueError, match="No threshold can promise risk=0.0001 .* any class"):
        selective.fit(*rows)


def test_the_mean_loss_is_promised_and_its_bound_is_of_losses(rows, frozen, model):
    X, y = (each[1::2] for each in rows)
    selective = SelectiveClassifier(frozen, risk=0.05, loss=LOSS).fit(X, y)
    promise, accepted = selective.guarantee_["loss"], selective.accept(X)
    codes = (np.searchsorted(NAMES, each) for each in (y, selective.answers(X)))
    spent = np.array(LOSS)[tuple(codes)][accepted]
    assert promise.n_errors == pytest.approx(spent.sum())
    assert spent.mean() < promise.bound <= 0.05
    assert "risk" not in selective.guarantee_
    errors = SelectiveClassifier(frozen, risk=0.05, loss=1 - np.eye(3)).fit(X, y)
    assert errors.threshold_ == model.threshold_
    assert errors.guarantee_["loss"].bound == model.guarantee_["risk"].bound


def test_a_frame_of_losses_is_read_by_its_labels(rows, frozen):
    X, y = (each[1::2] for each in rows)
    loss = pd.DataFrame(LOSS, NAMES, NAMES)
    by_position = SelectiveClassifier(frozen, risk=0.05, loss=LOSS).fit(X, y)
    by_label = SelectiveClassifier(frozen, risk=0.05, loss=loss.iloc[::-1, [1, 2, 0]])
    assert by_label.fit(X, y).guarantee_ == by_position.guarantee_


def test_an_answer_to_a_row_of_no_class_costs_one(rows, frozen):
    X, y = (each[1::2] for each in rows)
    y = np.where(np.arange(len(y)) < 200, "unknown", y)
    selective = SelectiveClassifier(frozen, risk=0.3, loss=np.zeros((3, 3))).fit(X, y)
    promise = selective.guarantee_["loss"]
    assert promise.n_accepted == len(y)
    assert promise.n_errors == 200


def test_a_class_that_chance_left_untaught_costs_what_its_line_says():
    X, y = np.arange(401.0)[:, None], np.append(np.repeat([0, 2], 200), 1)
    loss = [[0, 1, 1], [0.25, 0, 0.25], [1, 1, 0]]
    for seed in range(20):
        selective = SelectiveClassifier(
            GaussianNB(), risk=0.5, loss=loss, calibration=0.5, random_state=seed
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            selective.fit(X, y)
        if caught:
            assert selective.classes_.tolist() == [0, 2]
            assert selective.guarantee_["loss"].n_errors % 1 == 0.25
            break
    else:
        pytest.fail("the only row of class 1 was never drawn")


def test_a_cost_balances_refusals_and_errors(rows, frozen):
    X, y = (each[1::2] for each in rows)
    cheap, dear = (SelectiveClassifier(frozen, cost=c).fit(X, y) for c in (0.05, 0.4))
    assert cheap.accept(X).mean() < dear.accept(X).mean()
    assert cheap.guarantee_ == {}
    wrong = cheap.answers(X) != y
    spent = [
        (wrong & selective.accept(X)).sum() + 0.05 * (~selective.accept(X)).sum()
        for selective in (cheap, dear)
    ]
    assert spent[0] <= spent[1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cost": 0.1, "risk": 0.1}, "cost=0.1 together with risk=0.1"),
        ({"cost": 1.0}, r"cost=1\.0"),
        ({"guarantee_for": "class", "coverage": 0.9}, "guarantee_for without risk"),
        ({"guarantee_for": "group", "risk": 0.1}, "guarantee_for='group'"),
        ({"loss": LOSS, "coverage": 0.9}, "loss without risk or cost"),
        ({"loss": LOSS[:2], "risk": 0.1}, r"loss of shape \(2, 3\) .* \(3, 3\).*'often'"),
        ({"loss": 2 * np.eye(3), "risk": 0.1}, r"numbers in \[0, 1\]"),
        ({"loss": [[0, 1], [1]], "risk": 0.1}, r"loss=\[\[0, 1\], \[1\]\], whose lines differ"),
        ({"risk": [[0.1], [0.1, 0.2]]}, r"risk=\[\[0.1\], .*, whose lines differ"),
    ],
)
def test_contradictory_or_impossible_parameters(rows, parameters, message):
    with pytest.raises(ValueError, match=message):
        SelectiveClassifier(LogisticRegression(), **parameters).fit(*rows)


def test_recalibrated_is_as_fitted_on_these_rows(rows, frozen, model):
    X, y = (each[1::3] for each in rows)
    assert model.recalibrate(X, y, risk=0.03) is model
    fitted = SelectiveClassifier(frozen, risk=0.03).fit(X, y)
    assert model.threshold_ == fitted.threshold_
    assert model.guarantee_ == fitted.guarantee_
    model.recalibrate(X, y, risk=None, coverage=0.7)
    assert model.guarantee_ == {}
    assert model.accept(X).mean() == pytest.approx(0.7, abs=0.01)
    model.recalibrate(X, y, coverage=None)
    assert model.accept(X).all()
    assert model.reject_label_ is None


def test_a_trained_model_is_recalibrated_without_training(rows):
    X, y = (each[::2] for each in rows)
    selective = SelectiveClassifier(GaussianNB(), risk=0.05, random_state=0).fit(X, y)
    inner = selective.estimator_
    selective.recalibrate(*(each[1::2] for each in rows))
    assert selective.estimator_ is inner
    assert selective.guarantee_["risk"].n_samples == len(rows[0]) // 2


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"risk": 1e-5}, ValueError), ({"coverage": 0.5}, ValueError), ({"C": 1}, TypeError)],
)
def test_where_recalibration_fails_the_model_is_as_it_was(rows, model, limits, error):
    before = model.predict(rows[0])
    with pytest.raises(error):
        model.recalibrate(*rows, **limits)
    np.testing.assert_array_equal(model.predict(rows[0]), before)
    assert model.risk == 0.05
    with pytest.raises(ValueError, match="the classes that were learned are .'often'"):
        model.recalibrate(rows[0], np.arange(len(rows[1])) % 3)
    with pytest.raises(NotFittedError):
        clone(model).recalibrate(*rows)


@pytest.mark.parametrize("verb", ["predict", "accept", "decide"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"risk": 0.01},
            "Got risk=0.01, but the threshold was chosen by risk=0.05; call recalibrate",
        ),
        ({"delta": 0.01}, "Got delta=0.01"),
        ({"loss": LOSS}, "Got loss="),
        ({"guarantee_for": "class"}, "Got guarantee_for=class"),
        ({"reject_label": "unknown"}, "Got reject_label=unknown"),
    ],
)
def test_a_limit_that_is_set_after_fit_does_not_do_nothing(rows, model, changed, message, verb):
    model.set_params(**changed)
    with pytest.raises(ValueError, match=message):
        getattr(model, verb)(rows[0])
    model.score_samples(rows[0])  # asks for no promise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(model.recalibrate(*rows), verb)(rows[0])


@pytest.mark.parametrize("detectors", [(None, NeighborDistance()), (NeighborDistance(), None)])
def test_a_detector_that_is_set_after_fit_waits_for_the_next(rows, detectors):
    X, y = rows
    fitted, then = detectors
    model = SelectiveClassifier(GaussianNB(), detector=fitted, coverage=0.8, random_state=0)
    anew = clone(model).fit(X, y).recalibrate(X[::2], y[::2]).threshold_
    before = model.fit(X, y).decide(X), model.predict(X)
    model.set_params(detector=then)
    pd.testing.assert_frame_equal(model.decide(X), before[0])
    np.testing.assert_array_equal(model.predict(X), before[1])
    np.testing.assert_array_equal(model.accept(X), before[0]["accepted"])
    assert model.recalibrate(X[::2], y[::2]).threshold_ == anew


def test_decisions_are_a_frame_with_the_index_of_the_rows(rows, model):
    X = pd.DataFrame(rows[0], index=np.arange(len(rows[0]))[::-1])
    frame = model.decide(X.to_numpy())
    assert frame.columns.tolist() == ["label", "confidence", "accepted", "reason"]
    np.testing.assert_array_equal(frame["accepted"], model.accept(rows[0]))
    assert set(frame["reason"][~frame["accepted"]]) == {"unsure"}
    assert (frame["reason"][frame["accepted"]] == "").all()
    known = np.where(frame["accepted"], frame["label"], "reject")
    np.testing.assert_array_equal(known, model.predict(rows[0]))
    fitted = SelectiveClassifier(GaussianNB(), coverage=0.9).fit(X, rows[1])
    assert fitted.decide(X).index.equals(X.index)
    with pytest.raises(ValueError, match="alpha=2"):
        model.decide(rows[0], alpha=2)


def test_reasons_of_refusals(rows):
    X, y = rows
    members = [("neighbors", NeighborDistance()), ("forest", IsolationForest(random_state=0))]
    combined = CombinedClassifier(GaussianNB(), members, random_state=0)
    selective = SelectiveClassifier(combined, coverage=0.9, random_state=0).fit(X, y)
    new = np.vstack([X[:300], [[30.0, 30.0]]])
    frame = selective.decide(new)
    answers, confidence, p_values, of_members = selective.estimator_.answers_and_p_values(new)
    np.testing.assert_array_equal(answers, selective.estimator_.predict(new))
    np.testing.assert_array_equal(confidence, selective.estimator_.confidence(new))
    np.testing.assert_array_equal(p_values, selective.estimator_.p_values(new))
    np.testing.assert_array_equal(of_members, selective.estimator_.member_score_samples(new))
    np.testing.assert_array_equal(frame["confidence"], selective.score_samples(new))
    refused = frame[~frame["accepted"]]
    np.testing.assert_array_equal(frame["p_value"], selective.estimator_.p_values(new))
    strange = refused["p_value"] <= 0.05
    np.testing.assert_array_equal(refused["reason"] == "strange", strange)
    assert frame["reason"].iloc[-1] == "strange"
    assert set(refused["member"][strange]) <= {"neighbors", "forest"}
    assert set(refused["member"][~strange]) <= {""}
    by_detector = SelectiveClassifier(
        GaussianNB(), detector=IsolationForest(random_state=0), coverage=0.8, random_state=0
    ).fit(X, y)
    assert set(by_detector.decide(new)["reason"]) == {"", "strange"}
    nothing = SelectiveClassifier(GaussianNB(), threshold=np.inf).fit(X, y)
    assert set(nothing.decide(new)["reason"]) == {"unsure"}  # for nothing was to be promised


@pytest.mark.filterwarnings("ignore:For the answers of 1 of 3 classes")
def test_what_is_promised_for_classes_is_reported_and_shown(rows, model):
    X, y = (each[1::2] for each in rows)
    assert "risk at most 5.00%, with probability 95%" in model._repr_mimebundle_()["text/html"]
    assert "Threshold" not in clone(model)._repr_mimebundle_()["text/html"]
    model.recalibrate(X, y, guarantee_for="class")
    text = str(selective_report(model, X, y))
    assert "Promised: risk at most 5.00% among the answers often, with probability 95%" in text
    assert "among the answers rare, which no answer keeps" in text
    assert ConfidenceHistogramDisplay.from_estimator(model, X, y).threshold is None
    assert set(model.decide(X)["reason"]) == {"", "unsure", "no promise"}
    assert json.dumps(model.chosen_by_["risk"]) == "0.05"
