"""What classifiers say, and how far their predictions lie apart.

Predictions are log-probabilities of shape (n_members, n_samples, n_classes), in float64.
"""

from functools import partial

import numpy as np
import torch

from sklearn_ood import _response
from sklearn_ood._parameters import called
from sklearn_ood.search._ascent import Objective, gradient_moves
from sklearn_ood.search._evolution import evolution_moves

# A forest may give a class exactly zero: read as the smallest step that float64 can tell
# from one, it keeps every divergence finite.
MIN_LOG_PROBA = float(np.log(np.finfo(np.float64).eps))


def js_divergence(log_proba):
    """Jensen-Shannon divergence of the members (Lin, 1991), their order does not matter.

    ``mean_m KL(p_m || mean_m p_m)`` in nats, from 0 to log(n_members), one number a sample.

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
    """Kullback-Leibler divergence of the first from the second; of more, over all pairs.

    ``KL(p_1 || p_2)`` in nats, from 0 to 36, one number a sample; for more than two members
    the mean over all ordered pairs.

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
    """The function that a ``divergence`` parameter names, or is; what it says is checked."""
    function = DIVERGENCES.get(divergence, divergence)
    if callable(function):
        return partial(_diverging, function)
    raise ValueError(
        f"Got divergence={divergence!r}, but expected one of {sorted(DIVERGENCES)} or a "
        "function from log-probabilities (n_members, n_samples, n_classes) to (n_samples,)."
    )


def _diverging(divergence, log_proba):
    values, n_samples = called("divergence", divergence, log_proba), log_proba.shape[1]
    gave = type(values).__name__
    if torch.is_tensor(values):
        n_wrong = int((~values.isfinite()).sum())
        if values.shape == (n_samples,) and not n_wrong:
            return values
        gave = f"shape {tuple(values.shape)}, NaN or infinite {n_wrong} times"
    raise ValueError(
        f"Got divergence={divergence!r}, which gave {gave}, but expected a tensor of shape "
        f"({n_samples},), one finite number a sample; look at it, where it is a callable, and "
        "at the members' probabilities."
    )


def is_differentiable(classifier):
    """Whether the probabilities of a fitted classifier have a gradient."""
    return hasattr(classifier, "scored_network_")


def resolve_optimizer(optimizer, classifiers, generator):
    """What "auto" means for fitted members; an error where gradients are missing."""
    smooth = generator.core_.is_differentiable and all(map(is_differentiable, classifiers))
    if optimizer == "auto":
        return "adam" if smooth else "evolution"
    if optimizer != "evolution" and not smooth:
        raise ValueError(
            f"Got optimizer={optimizer!r}, but a member or the generator has no gradients; use "
            "'evolution' or 'auto'."
        )
    return optimizer


def make_moves(gevaldi, rng, device):
    """How latents move in a step, and how often each is evaluated in it."""
    if gevaldi.optimizer_ != "evolution":
        return partial(gradient_moves, lr=gevaldi.lr, method=gevaldi.optimizer_), 1
    size, seed = gevaldi.population_size, int(rng.randint(np.iinfo(np.int32).max))
    proposals = torch.Generator(device=device).manual_seed(seed)
    settings = {"population_size": size, "step_size": gevaldi.step_size, "rng": proposals}
    return partial(evolution_moves, **settings), size


def log_proba(classifiers, rows):
    """Predictions of fitted classifiers, all with the same classes, for an array of rows."""
    # In float32 a linear model would compute in float32, where probabilities sum to 1 by eye.
    rows = np.asarray(rows, dtype=np.float64)
    return np.stack([_response.log_proba(classifier, rows) for classifier in classifiers])


def log_proba_tensor(classifiers, x):
    """Predictions for a tensor of rows: with gradients, where every classifier has them."""
    if not all(map(is_differentiable, classifiers)):
        return torch.from_numpy(log_proba(classifiers, x.detach().cpu().numpy())).to(x.device)
    outputs = [each.scored_network_(x.to(each.net_.device))[0] for each in classifiers]
    return torch.stack([torch.log_softmax(each, dim=1).to(x.device) for each in outputs])


def latent_objective(classifiers, generator, keep, class_index, divergence, **options):
    """The divergence of what latents generate, each of a class of its own.

    ``keep`` maps what is generated to the nearest rows that are allowed.
    """

    def generate(z):
        """What latents (..., m) generate; the first axis is that of the classes' codes."""
        each = class_index.repeat_interleave(z[0, ..., 0].numel())
        return keep(generator.core_.generate(z.flatten(0, -2), each)).view(*z.shape[:-1], -1)

    predict, log_prior = partial(log_proba_tensor, classifiers), generator.log_prior_tensor
    return Objective(predict, divergence, log_prior, generate=generate, **options)
