"""How far the predictions of several classifiers lie apart, of tensors and of latents.

Predictions are log-probabilities of shape (n_members, n_samples, n_classes).
"""

from functools import partial

import numpy as np
import torch

from sklearn_ood.gevaldi._members import log_proba
from sklearn_ood.search._ascent import Objective, turns

# A forest may give a class exactly zero: read as the smallest step that float64 can tell
# from one, it keeps every divergence finite.
MIN_LOG_PROBA = float(np.log(np.finfo(np.float64).eps))


def js_divergence(log_proba):
    """Jensen-Shannon divergence of the members (Lin, 1991), their order does not matter.

    Parameters
    ----------
    log_proba : tensor of shape (n_members, n_samples, n_classes)

    Returns
    -------
    tensor of shape (n_samples,)
        ``mean_m KL(p_m || mean_m p_m)`` in nats, from 0 to log(n_members). Probabilities
        below 2.2e-16 are read as that.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.gevaldi._divergence import js_divergence
    >>> certain = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).log()
    >>> js_divergence(certain).round(decimals=4)
    tensor([0.6931])
    """
    log_proba = log_proba.clamp_min(MIN_LOG_PROBA)
    log_mean = torch.logsumexp(log_proba, 0) - float(np.log(len(log_proba)))
    return (log_proba.exp() * (log_proba - log_mean)).sum(-1).mean(0).clamp_min(0)


def kl_divergence(log_proba):
    """Kullback-Leibler divergence: of the first from the second, or of all ordered pairs.

    Parameters
    ----------
    log_proba : tensor of shape (n_members, n_samples, n_classes)

    Returns
    -------
    tensor of shape (n_samples,)
        ``KL(p_1 || p_2)`` for two members, for more the mean over all ordered pairs; in
        nats, from 0 to 36: probabilities below 2.2e-16 are read as that.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.gevaldi._divergence import kl_divergence
    >>> kl_divergence(torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]]).log()).round(decimals=4)
    tensor([0.1438])
    """
    log_proba = log_proba.clamp_min(MIN_LOG_PROBA)
    n_members = len(log_proba)
    proba = log_proba.exp()
    if n_members == 2:
        return (proba[0] * (log_proba[0] - log_proba[1])).sum(-1).clamp_min(0)
    # sum_{m != l} p_m (log p_m - log p_l), without the loop over pairs.
    own = n_members * (proba * log_proba).sum(0)
    crossed = proba.sum(0) * log_proba.sum(0)
    return ((own - crossed).sum(-1) / (n_members * (n_members - 1))).clamp_min(0)


DIVERGENCES = {"js": js_divergence, "kl": kl_divergence}


def resolve_divergence(divergence):
    """The function that a ``divergence`` parameter names.

    Raises
    ------
    ValueError
        If it is neither a known name nor a callable.
    """
    if isinstance(divergence, str) and divergence in DIVERGENCES:
        return DIVERGENCES[divergence]
    if callable(divergence):
        return divergence
    raise ValueError(
        f"Got divergence={divergence!r}, but expected one of {sorted(DIVERGENCES)} or a "
        "callable from log-probabilities, a tensor of shape (n_members, n_samples, "
        "n_classes), to one number a sample."
    )


def is_differentiable(classifier):
    """Whether the probabilities of a fitted classifier have a gradient."""
    return hasattr(classifier, "scored_network_")


def resolve_optimizer(optimizer, classifiers, generator):
    """What "auto" means for fitted members; an error where gradients are missing."""
    smooth = generator.is_differentiable and all(map(is_differentiable, classifiers))
    if optimizer in ("adam", "sgd") and not smooth:
        raise ValueError(
            f"Got optimizer={optimizer!r}, but a member or the generator has no gradients; use "
            "'evolution', or 'auto' to have it chosen."
        )
    automatic = "adam" if smooth else "evolution"
    return automatic if optimizer == "auto" else optimizer


def log_proba_tensor(classifiers, x):
    """Predictions for a tensor of rows: with gradients, where every member has them.

    Parameters
    ----------
    classifiers : sequence of estimators
    x : tensor of shape (n_samples, n_features)

    Returns
    -------
    tensor of shape (n_members, n_samples, n_classes), float64, on the device of ``x``
    """
    if not all(map(is_differentiable, classifiers)):
        predictions = log_proba(classifiers, x.detach().cpu().numpy())
        return torch.from_numpy(predictions).to(x.device)
    outputs = [
        classifier.scored_network_(x.to(classifier.net_.device))[0]
        for classifier in classifiers
    ]
    return torch.stack([torch.log_softmax(each, dim=1).to(x.device) for each in outputs])


def latent_objective(classifiers, generator, class_index, divergence, **options):
    """The divergence of what latents generate.

    Parameters
    ----------
    classifiers : sequence of estimators
    generator : generator
    class_index : long tensor of shape (n,)
        Position of each latent's class; of n * m latents, m in a row have the same.
    divergence : callable
    **options
        Further fields of the objective.

    Returns
    -------
    Objective
    """
    n_classes, turn = generator.n_classes_, torch.from_numpy(turns(class_index.cpu().numpy()))
    n_turns = int(turn.max()) + 1
    place = class_index * n_turns + turn.to(class_index.device)

    def generate(z):
        """All classes side by side, with zeros where one has fewer latents than another."""
        latents = z.view(len(place), -1)
        stack = z.new_zeros(n_classes * n_turns, latents.shape[1])
        stack = stack.index_copy(0, place, latents).view(n_classes, -1, z.shape[1])
        rows = generator.core_.decode(stack).reshape(n_classes * n_turns, -1)
        return rows[place].view(len(z), -1)

    return Objective(
        partial(log_proba_tensor, classifiers),
        divergence,
        generator.log_prior_tensor,
        generate=generate,
        **options,
    )
