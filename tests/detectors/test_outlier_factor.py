"""The local outlier factor where rows are repeated."""

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

from sklearn_ood.detectors import DistinctLocalOutlierFactor


def test_repeated_rows_do_not_make_their_neighbours_outliers():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(300, 2)), np.zeros((60, 2))])
    near = rng.normal(scale=0.05, size=(20, 2))
    plain = LocalOutlierFactor(novelty=True).fit(X)
    distinct = DistinctLocalOutlierFactor(novelty=True).fit(X)
    assert np.median(plain.score_samples(near)) < -100
    assert np.median(distinct.score_samples(near)) > -1.5
