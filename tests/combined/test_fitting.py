from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ood import CombinedClassifier, GenerativeClassifier, TableDensity
from sklearn_ood._parameters import as_chosen
from sklearn_ood.generators import GaussianMixtureGenerator, _mixture

ROWS = np.random.default_rng(0).normal(size=(400, 2))
KNOWN, NEW = np.split(ROWS, 2)


def level(member, at=0.5):
    """Share of new rows up to a p-value, where all rows calibrate by folds."""
    model = CombinedClassifier(members=[("one", member)], calibration="cross", random_state=0)
    return (model.fit(KNOWN).p_values(NEW) <= at).mean()


class Shifted(BaseEstimator):
    """A score that lies elsewhere where many rows were at hand, unless it is told where."""

    def __init__(self, shift=None):
        self.shift = shift

    def fit(self, X, y=None):
        self.shift_ = 9.0 * (len(X) == len(KNOWN)) if self.shift is None else self.shift
        return self

    def score_samples(self, X):
        return X[:, 0] + self.shift_

    def chosen_params(self):
        return {"shift": self.shift_}


@pytest.mark.parametrize("steps", [(), (StandardScaler(),)])
def test_what_the_model_in_use_has_chosen_is_what_calibrates(steps):
    assert 0.4 < level(make_pipeline(*steps, Shifted())) < 0.6


def test_form_of_a_density_is_chosen_once(monkeypatch):
    forms, n_rows = iter(_mixture.FORMS[3:]), []  # another one each time

    def best(self, rows, codes, seed):
        n_rows.append(len(rows))
        return next(forms)

    monkeypatch.setattr(GaussianMixtureGenerator, "_best_form", best)
    assert 0.4 < level(TableDensity()) < 0.6
    assert n_rows == [len(KNOWN)]


class Recorded(KernelDensity):
    tried: ClassVar[list] = []

    def fit(self, X, y=None):
        self.tried.append(self.bandwidth)
        return super().fit(X)


def test_a_search_in_a_member_searches_once(monkeypatch):
    monkeypatch.setattr(Recorded, "tried", [])
    level(GridSearchCV(Recorded(), {"bandwidth": [0.01, 0.5]}, cv=2))
    assert Recorded.tried == [0.01, 0.01, 0.5, 0.5, 0.5, *[0.5] * 5]


def test_what_has_chosen_nothing_or_is_frozen_stays_as_it_is():
    fitted = GaussianMixtureGenerator(1).fit(KNOWN)
    assert fitted.chosen_params() == {}
    for each in (fitted, FrozenEstimator(fitted), GenerativeClassifier("pca").fit(KNOWN)):
        assert as_chosen(each, each) is each


def test_a_generative_classifier_keeps_its_form():
    y = (KNOWN[:, 0] > 0).astype(int)
    fitted = GenerativeClassifier("gmm", random_state=0).fit(KNOWN, y)
    again = as_chosen(GenerativeClassifier("gmm", random_state=0), fitted).fit(KNOWN, y)
    np.testing.assert_array_equal(again.score_samples(NEW), fitted.score_samples(NEW))
    assert again.generator.n_components.n_components == fitted.generator_.n_components_


def test_a_column_that_counts_the_rows_is_told_of_once():
    X = np.column_stack([KNOWN, np.arange(len(KNOWN))])
    density = TableDensity(1)
    model = CombinedClassifier(GaussianNB(), [("density", density)], random_state=0)
    for each in (density, model):
        with pytest.warns(UserWarning, match="^Got X whose column '2' counts") as told:
            each.fit(X, KNOWN[:, 0] > 0)
        assert len(told) == 1
