import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_iris

from sklearn_ood import (
    GenerativeClassifier,
    NoveltyDetector,
    TableDensity,
    load,
    save,
)
from sklearn_ood.detectors._table_density import log_density_of_some
from sklearn_ood.generators import GaussianMixtureGenerator
from sklearn_ood.metrics import auroc

N_COLUMNS = 12


def mixed(n, seed=0):
    """Two classes of two numbers and a dozen columns of categories."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    common = np.where(
        rng.random((n, N_COLUMNS)) < 0.7, y[:, None], rng.integers(4, size=(n, 1))
    )
    frame = pd.DataFrame(np.array(list("abcd"))[common], columns=map(str, range(N_COLUMNS)))
    frame["size"], frame["weight"] = rng.normal(size=n) + 4 * y, rng.normal(size=n)
    return frame, np.array(["first", "second"])[y]


@pytest.fixture(scope="module")
def fitted():
    return TableDensity(1, random_state=0).fit(*mixed(600))


@pytest.fixture(scope="module")
def known(fitted):
    """New rows, and the score that 95 % of them reach."""
    frame, _ = mixed(1000, seed=1)
    return frame, np.quantile(fitted.score_samples(frame), 0.05)


def test_classes_and_kinds_of_frames(fitted):
    frame, y = mixed(300, seed=1)
    assert (fitted.predict(frame) == y).mean() > 0.95
    again = fitted.score_samples(pl.from_pandas(frame))
    np.testing.assert_array_equal(again, fitted.score_samples(frame))


def test_one_new_category_is_weak_evidence_and_many_are_strong(fitted, known):
    frame, threshold = known
    for column in map(str, range(N_COLUMNS)):
        accepted = fitted.score_samples(frame.assign(**{column: "new"})) >= threshold
        assert accepted.mean() > 0.9
    everywhere = frame.assign(**dict.fromkeys(map(str, range(N_COLUMNS)), "new"))
    assert (fitted.score_samples(everywhere) >= threshold).mean() < 0.1


def test_blank_cells_are_mild(fitted, known):
    frame, threshold = known
    blank = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.2)
    scores = fitted.score_samples(blank)
    assert (scores >= threshold).mean() > 0.8
    far = fitted.score_samples(blank.assign(size=30.0))
    assert auroc(np.arange(2000) < 1000, np.append(scores, far)) > 0.99
    assert np.isfinite(
        fitted.score_samples(pd.DataFrame(np.nan, range(2), frame.columns))
    ).all()


def test_a_category_of_another_class_is_told(fitted):
    frame, _ = mixed(200, seed=1)
    crossed = frame.assign(size=4 - frame["size"])
    truth = np.arange(400) < 200
    scores = np.append(fitted.score_samples(frame), fitted.score_samples(crossed))
    assert auroc(truth, scores) > 0.8


def test_numbers_alone_are_the_mixture():
    X, y = load_iris(return_X_y=True)
    density = TableDensity(2, random_state=0).fit(X, y)
    seed = np.random.RandomState(0)
    seed.permutation(len(X))
    mixture = GaussianMixtureGenerator(2, random_state=seed.randint(2**31 - 1))
    generative = GenerativeClassifier(mixture, validation_fraction=0).fit(X, y)
    expected = 4 * generative.score_samples(X)
    np.testing.assert_allclose(density.score_samples(X), expected, atol=1e-3)


def test_missing_numbers_count_as_on_average():
    X, y = load_iris(return_X_y=True)
    mixture = GaussianMixtureGenerator(1, random_state=0).fit(X, y)
    core, rows = mixture.core_, torch.tensor(X[:60])
    torch.testing.assert_close(log_density_of_some(core, rows), core.log_density(rows))
    rows[:, 1] = torch.nan
    found = log_density_of_some(core, rows)[:, 0].numpy()
    scale = core.scale.numpy()
    covariance = (core.covariance_root @ core.covariance_root.mT)[0, 0].numpy() * np.outer(
        scale, scale
    )
    seen, mean = [0, 2, 3], mixture.means_[0, 0]
    of_seen = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(
        X[:60, seen]
    )
    given = (
        np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(covariance[np.ix_(seen, seen)])[1]
    )
    np.testing.assert_allclose(
        found, of_seen - 0.5 * (given + np.log(2 * np.pi) + 1), rtol=1e-6
    )


def test_a_row_with_missing_numbers_has_the_same_bits_among_others():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 47)) @ rng.normal(size=(47, 47))
    density = TableDensity(1, random_state=0).fit(rows)
    rows[:, 5] = np.nan
    order = rng.permutation(120)
    found = density.score_samples(rows)
    np.testing.assert_array_equal(density.score_samples(rows[order]), found[order])


def test_wide_and_categories_only_and_numbers_missing_in_fit():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(200, 70))
    wide[rng.random(wide.shape) < 0.1] = np.nan
    scores = TableDensity(random_state=0).fit(wide).score_samples(np.vstack([wide, wide + 9]))
    assert auroc(np.arange(400) < 200, scores) > 0.95
    frame, y = mixed(200)
    only = TableDensity().fit(frame.drop(columns=["size", "weight"]), y)
    assert not only.densities_
    holes = frame.assign(size=frame["size"].where(rng.random(200) < 0.7), other=1.0)
    holes["other"] = np.where(y == "first", np.nan, rng.normal(size=200))
    assert (TableDensity(1, random_state=0).fit(holes, y).predict(holes) == y).mean() > 0.9


def test_the_density_of_numbers_is_the_mean_of_several():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.arange(300) % 2
    density = TableDensity(random_state=0).fit(X, y)
    assert len(density.densities_) == 3
    log_p = [
        each.class_log_density((X - density.centre_) / density.scale_)
        for each in density.densities_
    ]
    expected = np.log(np.exp(log_p).mean(axis=0)) - np.log(density.scale_).sum()
    np.testing.assert_allclose(density.decision_function(X), expected[:, 1] - expected[:, 0])
    np.testing.assert_allclose(density.score_samples(X), expected.max(axis=1))
    assert len(TableDensity(random_state=0).fit(X).densities_) == 1


def test_files_keep_the_bits_and_more_rows_than_are_used(tmp_path):
    frame, y = mixed(300)
    density = TableDensity(1, max_samples=100, random_state=0).fit(frame, y)
    save(density, tmp_path / "density.ood")
    again = load(tmp_path / "density.ood")
    np.testing.assert_array_equal(again.score_samples(frame), density.score_samples(frame))


def test_as_an_outlier_detector():
    frame, _ = mixed(300)
    detector = NoveltyDetector(TableDensity(1), contamination=0.1, random_state=0).fit(frame)
    assert 0.02 < (detector.predict(frame) == -1).mean() < 0.2


@pytest.mark.parametrize(
    "density",
    [TableDensity(2, random_state=0), GenerativeClassifier(GaussianMixtureGenerator(2))],
)
def test_probabilities_that_underflow_while_a_mixture_is_fitted_are_no_error(density):
    codes = np.arange(400) // 2 % 2
    rows = np.random.default_rng(0).normal(size=(400, 9)) + 1e3 * codes[:, None]
    with np.errstate(under="raise"):
        assert np.isfinite(density.fit(rows, np.arange(400) % 2).score_samples(rows)).all()
