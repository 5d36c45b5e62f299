"""What classifiers say, how far their predictions lie apart, and how latents climb that.

Predictions are log-probabilities of shape (n_members, n_samples, n_classes), in float64.
"""

from functools import partial

import numpy as np
import torch

from sklearn_ood import _response
from sklearn_ood._parameters import called
from sklearn_ood.nets._evaluation import device_of
from sklearn_ood.search import _ascent

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
    if divergence in DIVERGENCES:
        return partial(_diverging, divergence, DIVERGENCES[divergence])
    if callable(divergence):
        return partial(_diverging, divergence, partial(called, "divergence", divergence))
    raise ValueError(
        f"Got divergence={divergence!r}, but expected one of {sorted(DIVERGENCES)} or a "
        "function from log-probabilities (n_members, n_samples, n_classes) to (n_samples,)."
    )


def _diverging(divergence, function, log_proba):
    values, n_samples = function(log_proba), log_proba.shape[1]
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


def climb(gevaldi, classifiers, divergence, keep, codes, rng):
    """How latents of the classes ``codes`` climb, each from the best of its starts: arrays.

    ``keep`` maps what is generated to the nearest rows that are allowed.
    """
    generator, core = gevaldi.generator_, gevaldi.generator_.core_
    repeated = np.repeat(codes, gevaldi.n_starts)
    project = _ascent.likeliest(core.prior, gevaldi.prior_mass, generator.latent_dim_)
    drawn = torch.from_numpy(generator.draw_latents(len(repeated), rng))
    start, evaluations = project(drawn.to(device_of(core))), 1
    moves = partial(_ascent.gradient_moves, lr=gevaldi.lr, method=gevaldi.optimizer_)
    if gevaldi.optimizer_ == "evolution":
        seed, evaluations = int(rng.randint(np.iinfo(np.int32).max)), gevaldi.population_size
        size = {"population_size": evaluations, "step_size": gevaldi.step_size}
        proposals = torch.Generator(device=start.device).manual_seed(seed)
        moves = partial(_ascent.evolution_moves, rng=proposals, **size)
    predict, log_prior = partial(log_proba_tensor, classifiers), generator.log_prior_tensor
    parts = predict, divergence, log_prior, gevaldi.prior_weight, project

    def of_chunk(z, labels):
        def generate(z):
            """What latents (..., m) generate; the first axis is that of ``labels``."""
            each = labels.repeat_interleave(z[0, ..., 0].numel())
            return keep(core.generate(z.flatten(0, -2), each)).view(*z.shape[:-1], -1)

        objective = _ascent.Objective(*parts, generate)
        return _ascent.ascend(moves, objective, z, n_steps=gevaldi.n_steps)

    floats = core.floats_per_latent * evaluations
    ascent = _ascent.in_chunks(of_chunk, start, floats_per_row=floats, codes=repeated)
    return ascent.best_of(gevaldi.n_starts).numpy()
