"""The nearest generation of each class to each row, by whatever way the generator allows."""

import numpy as np
import torch

from sklearn_ood.search._latents import nearest_in_bank, search_latents, squared_distance

# The search moves freely; a uniform latent is the tanh of what moves.
EDGE = 1 - 1e-4


def candidate_bank(generator, n_candidates, random_state):
    """Random latents (K, b, m) and their generations (K, b, d), tensors on the CPU.

    Parameters
    ----------
    generator : generator
    n_candidates : int
    random_state : RandomState
    """
    n_classes, m = generator.n_classes_, generator.latent_dim_
    latents = generator._draw(random_state, n_classes * n_candidates)
    latents = torch.as_tensor(latents).view(n_classes, n_candidates, m)
    with torch.no_grad():
        generations = generator._decode_stack(latents.to(generator._device))
    return latents, generations.cpu()


def is_refined(generator, search):
    """Whether `match_rows` would use L-BFGS and a bank of candidates."""
    if not generator.is_differentiable:
        return False
    known = generator.has_nearest or generator.has_encoder
    return search in ("optimize", "both") or not known


def match_rows(generator, x, distance, *, search, bank, max_iter, prior_weight):
    """Search the latents of all classes for a batch of rows.

    Parameters
    ----------
    generator : generator
    x : tensor of shape (n, d)
    distance : callable
        Reduces the last axis of rows and generations.
    search : {"auto", "encoder", "optimize", "both"}
    bank : pair of tensors or None
        What `candidate_bank` returned.
    max_iter : int
    prior_weight : float

    Returns
    -------
    Match
        The latents are the generator's own.
    """
    refined = is_refined(generator, search)
    starts = []
    if generator.has_nearest:
        starts.append(generator._nearest_stack(x, prior_weight))
    elif generator.has_encoder and search != "optimize":
        starts.append(generator._encode_stack(x.expand(generator.n_classes_, -1, -1)))
    if refined and not generator.has_nearest:
        starts.append(_nearest_candidates(x, bank))
    finished = generator.has_nearest and distance is squared_distance
    if generator.prior == "uniform" and generator.is_differentiable:
        starts = [torch.atanh(start.clamp(-EDGE, EDGE)) for start in starts]
        inside = torch.tanh
    else:
        inside = _identity
    match = search_latents(
        lambda z: generator._decode_stack(inside(z)),
        x,
        starts,
        distance=distance,
        penalty=_penalty(generator, x, prior_weight),
        max_iter=max_iter if refined and not finished else 0,
    )
    return match._replace(z=inside(match.z))


def _identity(z):
    return z


def _nearest_candidates(x, bank):
    latents, generations = (part.to(x.device) for part in bank)
    index, _ = nearest_in_bank(x, generations)
    return torch.take_along_dim(latents, index[:, :, None], dim=1)


def _penalty(generator, x, prior_weight):
    """Minus the log prior in units of the mean squared error; none for a uniform prior."""
    weight = prior_weight * np.asarray(generator.noise_variance_) / x.shape[1]
    if generator.prior == "uniform" or not weight.any():
        return None
    weight = torch.as_tensor(weight, dtype=x.dtype, device=x.device)[:, None]
    return lambda z: weight * z.square().sum(-1)
