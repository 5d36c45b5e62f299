import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_ood import SelectiveClassifier
from sklearn_ood.inspection import churn_report
from sklearn_ood.inspection._churn import holm, mcnemar


class Says(ClassifierMixin, BaseEstimator):
    """A classifier of another library: it has nothing but ``predict`` and ``classes_``."""

    def __init__(self, rule, classes=("no", "yes")):
        self.rule, self.classes = rule, classes

    def predict(self, X):
        return np.asarray(self.classes_)[np.asarray(self.rule(X)).astype(int)]

    @property
    def classes_(self):
        return np.array(self.classes)


def frame(n=2000, seed=0):
    rng = np.random.RandomState(seed)
    return pd.DataFrame(
        {
            "age": rng.uniform(0, 100, n),
            "colour": rng.choice(["red", "green", "blue"], n),
            "weight": np.where(rng.uniform(size=n) < 0.2, np.nan, rng.normal(size=n)),
        }
    )


NEVER = Says(lambda X: np.zeros(len(X)))


def test_counts_flips_and_tests_are_exact():
    X, y = frame(), np.where(np.arange(2000) % 3, "no", "yes")
    old, new = Says(lambda X: X["age"] > 50), Says(lambda X: X["age"] > 70)
    report = churn_report(old, new, X, y, random_state=0)
    said = [np.asarray(model.predict(X)) for model in (old, new)]
    different = said[0] != said[1]
    np.testing.assert_array_equal(report.different, different)
    only_old, only_new = ((a == y) & (b != y) for a, b in (said, said[::-1]))
    assert report.flips[0, 1] == only_old.sum()
    assert report.flips[1, 0] == only_new.sum()
    assert report.flips.sum() == different.sum()
    expected = binomtest(int(different.sum()), len(y)).proportion_ci(0.95)
    np.testing.assert_allclose(report.churn_interval, expected)
    either = int((only_old | only_new).sum())
    expected = binomtest(int(only_old.sum()), either, 0.5).pvalue
    np.testing.assert_allclose(report.p_value, expected)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (lambda X: X["age"] > 80, "age > "),
        (lambda X: X["colour"] == "red", "colour is red"),
        (lambda X: (X["colour"] == "red") & (X["age"] <= 30), "colour is red"),
        (lambda X: X["weight"].isna() | (X["weight"] > 1), "or missing"),
    ],
)
def test_rules_name_the_columns_where_the_models_differ(rule, wanted):
    X = frame()
    report = churn_report(NEVER, Says(rule), X, random_state=0)
    first = report.regions[0]
    assert wanted in first.rule or wanted == "or missing"
    assert first.n_different / first.n_rows > 0.9
    np.testing.assert_allclose(sum(each.share for each in report.regions), 1)
    found = pd.concat([X, pd.Series(report.different, name="d")], axis=1)
    assert found["d"].mean() == report.churn


def test_without_pandas_an_error_names_the_extra(monkeypatch):
    X = np.arange(40.0)[:, None]
    report = churn_report(NEVER, Says(lambda X: X[:, 0] > 20), X, random_state=0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for shown in (report.to_frame, report.__str__, report._repr_html_):
        with pytest.raises(ImportError, match=r"A report needs pandas.*sklearn-ood\[table\]"):
            shown()


def test_rules_hold_on_the_rows_that_they_count():
    X = frame()
    report = churn_report(NEVER, Says(lambda X: X["age"] > 80), X, random_state=0)
    first = report.regions[0]
    at = float(first.rule.split("> ")[1].split(" ")[0])
    assert abs((X["age"] > at).mean() - first.share) < 0.01


def test_shares_in_regions_are_honest():
    """Models that differ at random differ equally in all regions, whatever the tree saw."""
    outside = 0
    for seed in range(60):
        X, rng = frame(400, seed), np.random.RandomState(1000 + seed)
        coin = rng.uniform(size=len(X)) < 0.3
        report = churn_report(NEVER, Says(lambda _, coin=coin: coin), X, random_state=seed)
        outside += sum(not each.low <= 0.3 <= each.high for each in report.regions) / len(
            report.regions
        )
    assert outside / 60 < 0.08


def test_a_refusal_is_an_answer_of_its_own():
    X, y = frame(600), np.where(np.arange(600) % 2, "no", "yes")
    inner = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["colour"]), (StandardScaler(), ["age"])),
        LogisticRegression(),
    ).fit(X, y)
    refusing = SelectiveClassifier(inner, coverage=0.7, random_state=0).fit(X, y)
    report = churn_report(inner, refusing, X, y)
    refused = ~refusing.accept(X)
    assert (report.different >= refused).all()
    assert report.flips[:2, 2].sum() > 0
    assert "only the new one is wrong on" in str(report)
    assert "new refused" in str(report)
    both = churn_report(refusing, refusing, X, y)
    assert both.churn == 0


def test_without_labels_rows_of_an_array_and_texts():
    rows = frame()[["age", "weight"]].to_numpy()
    report = churn_report(NEVER, Says(lambda X: X[:, 0] > 90), rows, random_state=0)
    assert report.flips is None
    assert report.p_value is None
    assert report.regions[0].rule.startswith("x0 > ")
    assert "McNemar" not in str(report)
    assert "only old right" not in report._repr_html_()
    texts = np.array(["a", "bb", "ccc"])
    by_length = Says(lambda X: [len(each) > 1 for each in X])
    (region,) = churn_report(NEVER, by_length, texts).regions
    assert (region.rule, region.n_rows, region.n_different) == ("all rows", 3, 2)
    (region,) = churn_report(NEVER, NEVER, rows[:1], ["no"]).regions
    assert region.low == 0
    assert region.p_value == 1


def test_dates_are_left_to_the_models():
    X = frame().assign(day=pd.Timestamp("2024-01-01"))
    report = churn_report(NEVER, Says(lambda X: X["age"] > 90), X, random_state=0)
    assert report.unread == ["day"]
    assert "cannot use the columns day" in str(report)


def test_frame_html_and_text_say_the_same():
    X = frame().rename(columns={"age": "<age>"})
    y = np.full(len(X), "no")
    report = churn_report(NEVER, Says(lambda X: X["<age>"] > 80), X, y, random_state=0)
    html, text = report._repr_html_(), str(report)
    assert "&lt;age&gt; &gt;" in html
    assert "<age> >" in text
    table = report.to_frame()
    assert len(table) == len(report.regions)
    assert table["n_rows"].sum() <= len(X)
    assert "the old one is right more often" in text


def test_errors_say_what_is_wrong():
    X = frame(10)
    with pytest.raises(ValueError, match=r"old with classes \['no', 'yes'\] and new"):
        churn_report(NEVER, Says(lambda X: X["age"] > 5, classes=(0, 1)), X)
    with pytest.raises(ValueError, match="y with 3 rows, but the rows before it are 10"):
        churn_report(NEVER, NEVER, X, ["no"] * 3)
    with pytest.raises(ValueError, match="max_regions=0"):
        churn_report(NEVER, NEVER, X, max_regions=0)


def test_models_that_promise_for_groups_are_asked_with_them():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 2)), rng.integers(2, size=600)
    X[:, 0] += 3 * y
    groups = np.where(X[:, 1] > 0, "north", "south")
    plain = LogisticRegression().fit(X, y)
    each = SelectiveClassifier(LogisticRegression(), risk=0.1, guarantee_for="group")
    each.set_params(random_state=0).fit(X, y, groups=groups)
    report = churn_report(plain, each, X, y, groups=groups, random_state=0)
    refused = ~each.accept(X, groups=groups)
    assert report.flips[:, 2].sum() == refused.sum() > 0
    with pytest.raises(ValueError, match="pass groups="):
        churn_report(plain, each, X, y)


def test_polars():
    polars = pytest.importorskip("polars")
    X = polars.from_pandas(frame())
    report = churn_report(NEVER, Says(lambda X: X["age"] > 90), X, random_state=0)
    assert report.regions[0].rule.startswith("age > ")


def test_mcnemar_is_the_binomial_test():
    for b, c in ((0, 0), (5, 5), (1, 9), (12, 3)):
        expected = binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar(b, c) == pytest.approx(expected)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.02, 0.9]), [0.03, 0.04, 0.9])
    np.testing.assert_allclose(holm([0.5, 0.6]), [1.0, 1.0])


def test_many_rows_and_categories_are_told_in_blocks(monkeypatch):
    X = frame(3000).assign(city=lambda X: (X["age"] * 7).astype(int).astype(str))
    whole = churn_report(NEVER, Says(lambda X: X["age"] > 80), X, random_state=0)
    monkeypatch.setattr("sklearn_ood.inspection._churn.MAX_NUMBERS", 500)
    assert churn_report(NEVER, Says(lambda X: X["age"] > 80), X, random_state=0).regions == (
        whole.regions
    )
