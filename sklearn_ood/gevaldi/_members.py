"""The classifiers that are compared: fitting them, what they predict, climbing it."""

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from torch import nn

from sklearn_ood.base import OODClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.generators import BaseGenerator
from sklearn_ood.gevaldi._divergence import MIN_LOG_PROBA, resolve_divergence
from sklearn_ood.search._ascent import Objective, gradient_ascent, in_chunks
from sklearn_ood.search._evolution import evolve


def is_differentiable(classifier):
    """Whether the probabilities of a fitted classifier have a gradient."""
    return hasattr(classifier, "scored_network_")


def log_proba(classifiers, rows):
    """Predictions of fitted classifiers.

    Parameters
    ----------
    classifiers : sequence of estimators
        All with the same classes.
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes), float64
        A probability of zero is read as 2.2e-16.
    """
    return np.stack([_log_proba(classifier, rows) for classifier in classifiers])


def _log_proba(classifier, rows):
    if isinstance(classifier, OODClassifier):
        return classifier.predict_log_proba(rows)
    # In float32 a linear model would compute in float32, where probabilities sum to 1 by eye.
    proba = np.asarray(classifier.predict_proba(rows.astype(np.float64)), dtype=np.float64)
    proba /= proba.sum(axis=1, keepdims=True)
    return np.log(np.maximum(proba, np.exp(MIN_LOG_PROBA)))


def log_proba_tensor(classifiers, x):
    """Predictions for a tensor of rows: with gradients, where every member has them.

    Parameters
    ----------
    classifiers : sequence of estimators
    x : tensor of shape (n_samples, n_features)

    Returns
    -------
    tensor of shape (n_members, n_samples, n_classes), float64, on the device of `x`
    """
    if all(is_differentiable(classifier) for classifier in classifiers):
        outputs = [
            classifier.scored_network_(x.to(classifier.net_.device))[0]
            for classifier in classifiers
        ]
        return torch.stack([torch.log_softmax(each, dim=1).to(x.device) for each in outputs])
    predictions = log_proba(classifiers, x.detach().cpu().numpy())
    return torch.from_numpy(predictions).to(x.device)


def fit_clones(estimators, rows, labels, *, input_shape=None, random_state=None, n_jobs=None):
    """Clones of classifiers and generators, fitted to the same rows.

    Parameters
    ----------
    estimators : sequence of estimators
    rows : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,)
    input_shape : tuple of int, default=None
        Given to those, also inside of pipelines, that have such a parameter, still None,
        where the rows are images.
    random_state : RandomState, default=None
        Seeds those, also inside of pipelines, that have a ``random_state`` of None.
    n_jobs : int or None, default=None

    Returns
    -------
    list of estimators
    """
    clones = [clone(estimator) for estimator in estimators]
    for estimator in clones:
        for name, value in sorted(estimator.get_params(deep=True).items()):
            parameter = name.rpartition("__")[2]
            if value is None and parameter == "random_state" and random_state is not None:
                seed = random_state.randint(np.iinfo(np.int32).max)
                estimator.set_params(**{name: seed})
            if value is None and parameter == "input_shape" and len(input_shape or ()) == 3:
                estimator.set_params(**{name: input_shape})
    return Parallel(n_jobs=n_jobs)(delayed(_fit)(each, rows, labels) for each in clones)


def _fit(estimator, rows, labels):
    ours = isinstance(estimator, (OODClassifier, BaseGenerator))
    return estimator.fit(rows if ours else rows.astype(np.float64), labels)


def fitted_member(name, classifier, classes, input_shape):
    """A fitted classifier: as it is, or around a trained torch module.

    Parameters
    ----------
    name : str
    classifier : fitted estimator or nn.Module
    classes : ndarray or None
        Labels of a module's outputs.
    input_shape : tuple of int
        What a module takes.

    Returns
    -------
    estimator
    """
    if not isinstance(classifier, nn.Module):
        return classifier
    if classes is None:
        raise ValueError(
            f"Got the torch module {name!r}, but neither the generator nor y says which "
            "classes its outputs are; pass SoftmaxClassifier.from_module(module, classes, "
            "input_shape) instead."
        )
    return SoftmaxClassifier.from_module(classifier, classes, input_shape)


def climb(settings, members, start, codes, project, rng):
    """Let latents climb the divergence of some members.

    Parameters
    ----------
    settings : GeValDi
        Fitted: its generator and how to climb.
    members : list of fitted classifiers
    start : tensor of shape (n, m)
    codes : ndarray of shape (n,)
        Position of each one's class among those of the generator.
    project : callable
        Maps latents to the nearest ones that are allowed.
    rng : RandomState
        Seeds evolution's proposals.

    Returns
    -------
    Ascent
    """
    generator, by_evolution = settings.generator_, settings.optimizer_ == "evolution"
    proposals = torch.Generator(device=start.device)
    proposals.manual_seed(int(rng.randint(np.iinfo(np.int32).max)))

    def climb_chunk(z, labels):
        def predict(z):
            index = labels.repeat_interleave(len(z) // len(labels))
            return log_proba_tensor(members, generator.decode_tensor(z, index))

        objective = Objective(
            predict,
            resolve_divergence(settings.divergence),
            generator.log_prior_tensor,
            settings.prior_weight,
            project,
        )
        if not by_evolution:
            options = {"lr": settings.lr, "method": settings.optimizer_}
            return gradient_ascent(objective, z, n_steps=settings.n_steps, **options)
        return evolve(
            objective,
            z,
            n_steps=settings.n_steps,
            population_size=settings.population_size,
            step_size=settings.step_size,
            rng=proposals,
        )

    floats = generator.core_.floats_per_row * (settings.population_size if by_evolution else 1)
    return in_chunks(climb_chunk, start, floats_per_row=floats, codes=codes)


def class_means(data):
    """Mean row of every class, (n_classes, n_features)."""
    rows, codes = data.in_distribution
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    sums = np.add.reduceat(rows[order], np.cumsum(counts) - counts, axis=0, dtype=np.float64)
    return sums / counts[:, None]
