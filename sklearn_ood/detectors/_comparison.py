"""Every score of one network beside every other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from sklearn_ood import detectors
from sklearn_ood._parameters import Count, RandomState, Share, check_arguments
from sklearn_ood._response import unwrap
from sklearn_ood.data._blocks import indexable_rows
from sklearn_ood.metrics import aurc_score, auroc, bootstrap_interval, tnr_at_tpr
from sklearn_ood.metrics._blocks import labels_for
from sklearn_ood.nets._heads import SCORE_FUNCTIONS

MAX_NEIGHBOR_ROWS = 10_000
UNKNOWN = "unknown"


def scores_of_network(linear, random_state=None):
    """All scores of features and logits by name, unfitted, with the settings of their papers.

    Parameters
    ----------
    linear : tuple (weight, bias)
        As :func:`last_linear` gives it.
    random_state : int, RandomState or None, default=None
        Chooses the training rows that the neighbours remember.
    """
    some = {"max_samples": MAX_NEIGHBOR_ROWS, "random_state": random_state}
    neighbors, made = detectors.NeighborDistance(5, **some), {"linear": linear}
    return {
        **{name: detectors.LogitScore(score_function=name, **made) for name in SCORE_FUNCTIONS},
        "Mahalanobis": detectors.MahalanobisDistance(normalize=False),
        "relative Mahalanobis": detectors.MahalanobisDistance(normalize=False, relative=True),
        "Mahalanobis++": detectors.MahalanobisDistance(),
        "relative Mahalanobis++": detectors.MahalanobisDistance(relative=True),
        "nearest neighbours": make_pipeline(Normalizer(), neighbors),
        "residual": detectors.Subspace(),
        "ViM": detectors.Subspace(**made),
        "NCI": detectors.NCI(**made),
        "fDBD": detectors.FDBD(**made),
        "NNGuide": detectors.NNGuide(**made, **some),
        "GradNorm": detectors.GradNorm(**made),
        "KL matching": detectors.KLMatching(**made),
        "react": detectors.ActivationShaping(method="react", **made),
        "ash": detectors.ActivationShaping(method="ash", **made),
        "scale": detectors.ActivationShaping(method="scale", **made),
    }


def compare_scores(
    classifier,
    X,
    y,
    outliers,
    *,
    scores=None,
    test_size: Share = 0.5,
    confidence_level: Share = 0.95,
    n_resamples: Count = 1000,
    random_state: RandomState = None,
):
    """How well every score of a network tells outliers, and its own errors.

    Known images and outliers run through the network once; all scores are made of the features
    that its last linear layer takes, and of the logits. They learn from a part of the known
    images, and nothing is chosen by the outliers.

    Parameters
    ----------
    classifier : fitted classifier around a network
        Such as :meth:`SoftmaxClassifier.from_module` makes; the network ends in a linear layer.
    X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        Known images; those that the network was trained on make the scores look better.
    y : array-like of shape (n_samples,)
        Their labels, of classes that the network knows; None takes those of a dataset.
    outliers : array-like as X, or dict of str to array-like
        Outliers, or several sets by name.
    scores : dict of str to estimator, default=None
        Unfitted detectors on features. None is :func:`scores_of_network`.
    test_size : float in (0, 1), default=0.5
        Share of the known images that judge.
    confidence_level : float in (0, 1), default=0.95
        Of the bootstrap intervals.
    n_resamples : int, default=1000
        Bootstrap samples of an interval.
    random_state : int, RandomState or None, default=None
        Draws the part that judges, and the bootstrap samples.

    Returns
    -------
    pandas.DataFrame
        A line for each score, set and metric: ``score``, ``outliers``, ``metric`` ("auroc" and
        "tnr95", higher is better; of the known images alone, ``outliers=""``, "aurc", lower is
        better), ``value``, ``low`` and ``high``.

    Raises
    ------
    ValueError
        If the network does not end in a linear layer, or was not taught some of ``y``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier
    >>> from sklearn_ood.detectors import compare_scores
    >>> X, y = load_iris(return_X_y=True)
    >>> net = SoftmaxClassifier(max_epochs=20, random_state=0).fit(X[:100], y[:100])
    >>> table = compare_scores(net, X[:100], y[:100], X[100:], n_resamples=100, random_state=0)
    >>> best = table[table.metric == "auroc"].sort_values("value").score.iloc[-1]
    """
    import pandas as pd  # only where a frame is asked for

    options: dict = {"confidence_level": confidence_level, "n_resamples": n_resamples}
    check_arguments(compare_scores, options | {"test_size": test_size})
    classifier, _ = unwrap(classifier)
    features = detectors.NetFeatures(FrozenEstimator(classifier)).fit(X)
    weight, bias = linear = detectors.last_linear(classifier)
    X, y = indexable_rows(X, y)
    labels = labels_for(classifier, y)
    if untaught := np.setdiff1d(labels, classifier.classes_).tolist():
        raise ValueError(
            f"Got y with the labels {untaught[:10]}, which {type(classifier).__name__} was not "
            "taught; leave these rows out, or pass them as outliers."
        )
    known = features.transform(X)
    sets = outliers if isinstance(outliers, Mapping) else {UNKNOWN: outliers}
    outside = {name: features.transform(each) for name, each in sets.items()}
    division = {"test_size": test_size, "random_state": random_state}
    learn, judge = train_test_split(np.arange(len(known)), **division)
    answers = classifier.classes_[(known[judge] @ weight.T + bias).argmax(axis=1)]
    inside = known[judge], labels[judge], answers
    lines: list[tuple[Any, ...]] = []
    for name, score in (scores or scores_of_network(linear, random_state)).items():
        score.fit(known[learn], labels[learn])
        for *keys, metric, rows in _judged(score, *inside, outside):
            interval = bootstrap_interval(metric, *rows, **options, random_state=random_state)
            lines.append((name, *keys, metric(*rows), *interval))
    columns = ["score", "outliers", "metric", "value", "low", "high"]
    return pd.DataFrame(lines, columns=columns)


def _judged(score, known, truth, answers, outside):
    """Of a fitted score: the set of outliers, a metric by name, the metric, and its rows."""
    inside = score.score_samples(known)
    yield "", "aurc", aurc_score, (truth, answers, inside)
    for name, rows in outside.items():
        values = np.append(inside, score.score_samples(rows))
        is_in = np.arange(len(values)) < len(inside)
        yield name, "auroc", auroc, (is_in, values)
        yield name, "tnr95", tnr_at_tpr, (is_in, values)
