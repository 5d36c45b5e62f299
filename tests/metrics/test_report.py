import sys

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import RiskMonitor, SelectiveClassifier
from sklearn_ood.inspection import churn_report
from sklearn_ood.metrics import (
    ConfidenceHistogramDisplay,
    RejectConfusionDisplay,
    RiskCoverageDisplay,
    SelectiveReport,
    reject_confusion_matrix,
    selective_report,
    selective_scorer,
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    known = y < 8
    inner = LogisticRegression(C=0.01, max_iter=500)
    model = make_pipeline(
        StandardScaler(), SelectiveClassifier(inner, risk=0.05, random_state=0)
    )
    taught = known & (np.arange(len(y)) < 1200)
    model.fit(X[taught], y[taught])
    return model, X[1200:], y[1200:]


def test_the_matrix_is_scikit_learns_with_refusals_as_a_class(digits):
    model, X, y = digits
    answers = model[-1].answers(model[0].transform(X))
    accepted = model.predict(X) != -1
    found = reject_confusion_matrix(y, answers, accepted, classes=model.classes_)
    truth = np.where(y < 8, y, 8)
    expected = confusion_matrix(truth, np.where(accepted, answers, 8), labels=range(9))
    assert (found == expected).all()


def test_classes_with_the_names_of_our_lines_have_lines_of_their_own():
    classes = np.array(["all", "refused", "unknown"])
    answered = [True, False, True, True]
    matrix = reject_confusion_matrix(
        ["all", "all", "unknown", "x"], classes[[0, 1, 2, 0]], answered, classes=classes
    )
    frame = SelectiveReport(matrix, classes).to_frame()
    assert frame["rows"].to_dict() == {
        "all": 2,
        "refused": 0,
        "unknown": 1,
        "(unknown)": 1,
        "(all)": 4,
    }
    axes = RejectConfusionDisplay(matrix, classes).plot().ax_
    assert [each.get_text() for each in axes.get_xticklabels()][-1] == "(refused)"
    assert [each.get_text() for each in axes.get_yticklabels()][-1] == "(unknown)"


def test_the_report_adds_up(digits):
    model, X, y = digits
    report = selective_report(model, X, y)
    frame = report.to_frame()
    answered = model.predict(X) != -1
    wrong = answered & (model.predict(X) != y)
    assert frame.loc["all", ["rows", "answered", "wrong"]].tolist() == [
        len(y),
        answered.sum(),
        wrong.sum(),
    ]
    assert frame.loc["unknown", "refused"] == (~answered & (y >= 8)).sum()
    assert (frame["answered"] + frame["refused"] == frame["rows"]).all()
    assert (frame["right"] + frame["wrong"] == frame["answered"]).all()
    named = answered & (model.predict(X) == 3)
    assert frame.loc["3", "risk of answers"] == pytest.approx(
        (named & (y != 3)).sum() / named.sum()
    )
    low, high = report.risk_interval
    assert low < wrong.sum() / answered.sum() < high


@pytest.mark.parametrize("show", [str, lambda report: report._repr_html_()])
def test_the_report_says_what_was_promised_and_what_was_measured(digits, show):
    model, X, y = digits
    text = show(selective_report(model, X, y))
    assert "Promised: risk at most 5.00%" in text
    assert "here" in text
    assert "unknown" in text
    assert "risk of answers" in text


def test_html_shows_names_as_they_are():
    X, y = np.arange(20.0)[:, None], np.repeat(["<b>", "c"], 10)
    report = selective_report(LogisticRegression().fit(X, y), X, y)
    assert "&lt;b&gt;" in report._repr_html_()
    assert "unknown" not in report.to_frame().index


def test_nothing_answered_is_no_nan(digits):
    _model, X, y = digits
    silent = SelectiveClassifier(LogisticRegression(max_iter=500), threshold=2.0).fit(X, y)
    text = str(selective_report(silent, X, y))
    assert "nothing was answered" in text
    assert "nan" not in text.lower()
    model = SelectiveClassifier(LogisticRegression(max_iter=500), risk=0.5, random_state=0)
    for labels in (y, np.full(len(y), 77)):  # of taught classes, and of none
        silent = model.fit(X[y != -1], y[y != -1])
        silent.threshold_ = np.inf
        assert "Promised: risk at most 50.00%" in str(selective_report(silent, X, labels))
        assert "nan" not in str(selective_report(silent, X, labels)).lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], [True, True]), "y_pred with 1 rows"),
        (([0, 1], [0, 5], [True, True]), r"answers \[5\]"),
        (([0, 1], [0, 1], ["yes", "no"]), r"accepted with the values \['yes', 'no'\]"),
        (([0, 1], [0, 1], [0.9, 0.1]), r"accepted with the values \[0.9, 0.1\]"),
        (([0, np.nan], [0, 1], [True, True]), "y_true with 1 missing labels"),
    ],
)
def test_errors_say_what_came(arguments, message):
    with pytest.raises(ValueError, match=message):
        reject_confusion_matrix(*arguments, classes=[0, 1])


def test_missing_flags_and_classes_given_twice_are_errors():
    pd = pytest.importorskip("pandas")
    rows = [0, 1], [0, 1]
    with pytest.raises(ValueError, match=r"accepted with the values \[<NA>, True\]"):
        reject_confusion_matrix(*rows, pd.array([None, True], dtype="boolean"), classes=[0, 1])
    mixed = np.array([2, "x"], dtype=object)
    with pytest.raises(ValueError, match=r"the answers \[2, 'x'\] in y_pred"):
        reject_confusion_matrix([0, 1], mixed, [True, True], classes=[0, 1])
    with pytest.raises(ValueError, match="each of them once"):
        reject_confusion_matrix(*rows, [True, True], classes=[0, 1, 1])


def test_without_pandas_an_error_names_the_extra(digits, monkeypatch):
    report = selective_report(*digits)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for shown in (report.to_frame, report.__str__, report._repr_html_):
        with pytest.raises(ImportError, match=r"A report needs pandas.*sklearn-ood\[table\]"):
            shown()


@pytest.mark.parametrize("n_rows", [100, 600])
def test_the_picture_has_a_column_of_refusals(digits, n_rows):
    pytest.importorskip("matplotlib").use("Agg")
    model, X, y = digits
    display = RejectConfusionDisplay.from_estimator(model, X[:n_rows], y[:n_rows])
    labels = [each.get_text() for each in display.ax_.get_xticklabels()]
    assert labels == [*map(str, range(8)), "refused"]
    assert display.ax_.get_yticklabels()[-1].get_text() == "unknown"
    assert sum(int(t.get_text()) for t in display.ax_.texts) == len(y[:n_rows])


def test_weights_are_as_many_rows(digits):
    model, X, y = digits
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    often = np.repeat(np.arange(len(y)), weight)
    weighted = selective_report(model, X, y, sample_weight=weight)
    repeated = selective_report(model, X[often], y[often])
    np.testing.assert_array_equal(weighted.matrix, repeated.matrix)
    np.testing.assert_allclose(weighted.to_frame(), repeated.to_frame())
    answered = weight * (model.predict(X) != -1)
    assert weighted.n_effective == pytest.approx(answered.sum() ** 2 / (answered**2).sum())
    widths = [np.ptp(each.risk_interval) for each in (repeated, weighted)]
    assert widths[0] < widths[1]
    assert f"{weight.sum():,}" in str(weighted).splitlines()[-4]
    display = RejectConfusionDisplay.from_estimator(model, X, y, sample_weight=weight)
    np.testing.assert_array_equal(display.matrix, repeated.matrix)
    with pytest.raises(ValueError, match="sample_weight"):
        selective_report(model, X, y, sample_weight=-np.ones(len(y)))


@pytest.mark.parametrize("scale", [1e-3, 0.1, 7.3])
def test_the_scale_of_weights_tells_nothing(scale):
    pytest.importorskip("matplotlib").use("Agg")
    rows = [0, 0, 0, 1, 7], [0, 0, 0, 0, 1], [True, True, False, True, True]
    settings = {"classes": [0, 1], "sample_weight": scale * np.array([1, 2, 3, 1, 1])}
    display = RejectConfusionDisplay.from_predictions(*rows, **settings)
    np.testing.assert_allclose(display.im_.get_array(), [[0.5, 0, 0.5], [1, 0, 0], [0, 1, 0]])
    matrix = reject_confusion_matrix(*rows, **settings)
    frame = SelectiveReport(matrix, np.arange(2)).to_frame()
    assert frame["wrong"].iloc[0] == frame["risk"].iloc[0] == 0  # and not a rounding error


@pytest.mark.parametrize(("wrong", "answered"), [(0, 30), (7, 40), (12, 12)])
def test_the_interval_is_clopper_and_pearsons(wrong, answered):
    matrix = np.array([[answered - wrong, wrong, 3], [0, 0, 0], [0, 0, 0]])
    expected = binomtest(wrong, answered).proportion_ci(0.95)
    found = SelectiveReport(matrix, np.array([0, 1])).risk_interval
    assert found == pytest.approx((expected.low, expected.high))


JUDGES = {
    "report": selective_report,
    "matrix": RejectConfusionDisplay.from_estimator,
    "curve": RiskCoverageDisplay.from_estimator,
    "histogram": ConfidenceHistogramDisplay.from_estimator,
    "churn": lambda model, X, y: churn_report(model, model, X, y),
    "monitor": lambda model, X, y: (
        RiskMonitor(FrozenEstimator(model)).fit(X, y).partial_fit(X, y)
    ),
} | {name: selective_scorer(name) for name in ("aurc", "auroc", "oscr", "selective_risk")}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_labels_in_another_kind_than_the_classes_are_no_errors_of_the_classifier(digits, judge):
    model, X, y = digits
    names = np.array([f"digit {k}" for k in range(10)])
    named = clone(model).fit(X, names[y % 8])
    for fitted, labels in [(model, y.astype(str)), (model, names[y]), (named, y)]:
        with pytest.raises(ValueError, match="in their kind, such as"):
            judge(fitted, X, labels)
    with pytest.raises(ValueError, match="in their kind, such as"):
        judge(model, X[:2], ["3", "3"])  # one class, written otherwise


@pytest.mark.parametrize("unknown", ["unknown", np.str_("other")])
def test_one_label_alone_may_be_of_what_is_no_class(digits, unknown):
    model, X, _ = digits
    report = selective_report(model, X, [unknown] * len(X))
    assert report.matrix[-1].sum() == len(X)
    assert selective_scorer("selective_risk")(model, X, [unknown] * len(X)) == -1
