"""Samples on which classifiers differ: all latents climb the divergence at once."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2

from sklearn_ood.search._latents import BOUNDS, ClassBlocks

FLOATS_PER_CHUNK = 2**22
N_CHECKPOINTS = 11


class Ascent(NamedTuple):
    """How n latents climbed: their start and end, what these generate, and the way.

    ``objective`` is the value at the end; ``divergence`` and ``drift``, (n, n_steps + 1), are
    those at the start and after every step; ``log_proba``, (n, n_checkpoints, n_members,
    n_classes), are the predictions at `checkpoints`. Tensors, or arrays at last.
    """

    start: torch.Tensor
    z: torch.Tensor
    start_x: torch.Tensor
    x: torch.Tensor
    objective: torch.Tensor
    divergence: torch.Tensor
    drift: torch.Tensor
    log_proba: torch.Tensor

    def best_of(self, n_starts):
        """Of every ``n_starts`` latents in a row the one with the highest objective."""
        best = self.objective.view(-1, n_starts).argmax(1)
        return self.take(best + n_starts * torch.arange(len(best), device=best.device))

    def take(self, index):
        """Some of the latents."""
        return Ascent(*(part[index.to(part.device)] for part in self))

    def numpy(self):
        """Arrays in place of the tensors."""
        return Ascent(*(part.cpu().numpy() for part in self))


def identity(z):
    """Latents as they are."""
    return z


def likeliest(prior, prior_mass, latent_dim):
    """Projection, along the last axis, onto the smallest set that holds the prior's mass.

    Where all latents are equally likely (``prior="uniform"``), that is the whole box; of a
    truncated normal prior it is the part of the normal one's ball in its box.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._ascent import likeliest
    >>> project = likeliest("normal", 0.9, 2)
    >>> project(torch.tensor([[3.0, 4.0], [0.3, 0.4]])).round(decimals=3)
    tensor([[1.2880, 1.7170],
            [0.3000, 0.4000]])
    """
    bound = BOUNDS.get(prior)
    if prior_mass == 1 and bound is None:
        return identity
    radius = np.inf if prior == "uniform" else float(chi2.ppf(prior_mass, latent_dim)) ** 0.5

    def into_ball(z):
        z = z if bound is None else z.clamp(-bound, bound)
        length = z.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
        return z * (radius / length).clamp_max(1.0)

    return into_ball


class Objective(NamedTuple):
    """What climbs: ``D(p(y | g(z))) + prior_weight * log p(z)`` (Palaniappan et al., eq. 2).

    Attributes
    ----------
    log_proba : callable
        Maps what is generated (n, d) to predictions (n_members, n, n_classes).
    divergence : callable
        Maps predictions to (n,).
    log_prior : callable
        Maps latents to (n,).
    prior_weight : float
    project : callable
        Maps latents to the nearest ones that are allowed.
    generate : callable
        Maps latents (n, m) to what they generate, g(z).
    """

    log_proba: Callable
    divergence: Callable
    log_prior: Callable
    prior_weight: float
    project: Callable = identity
    generate: Callable = identity

    def __call__(self, z):
        """Value, divergence and predictions of latents, (..., m) taken as one batch."""
        log_proba = self.log_proba(self.generate(z).flatten(0, -2))
        divergence = self.divergence(log_proba)
        value = divergence + self.prior_weight * self.log_prior(z).flatten()
        return value, divergence, log_proba.transpose(0, 1)


def checkpoints(n_steps):
    """Steps at which the predictions are kept: the start and the end of every tenth."""
    return np.unique(np.linspace(0, n_steps, N_CHECKPOINTS).round().astype(int))


def ascend(moves, objective, start, *, n_steps=100, **options):
    """Let latents climb for some steps, every one on its own: an :class:`Ascent`.

    Parameters
    ----------
    moves : callable
        ``gradient_moves`` or ``evolution_moves``: makes an iterator over the latents, their
        value, divergence and predictions, at the start and after every step.
    objective : Objective
    start : tensor of shape (n, m)
    n_steps : int >= 0, default=100
    **options
        For ``moves``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._ascent import Objective, ascend, gradient_moves
    >>> objective = Objective(
    ...     log_proba=lambda z: torch.log_softmax(torch.stack([z, -z]), -1),
    ...     divergence=lambda log_proba: (log_proba[0] - log_proba[1]).square().sum(-1),
    ...     log_prior=lambda z: -0.5 * z.square().sum(-1),
    ...     prior_weight=0.1,
    ... )
    >>> start = torch.tensor([[0.1, -0.1]])
    >>> ascent = ascend(gradient_moves, objective, start, n_steps=20, lr=0.05)
    >>> bool(ascent.divergence[0, -1] > 10 * ascent.divergence[0, 0])
    True
    """
    states = islice(moves(objective, start, **options), n_steps + 1)
    kept = checkpoints(n_steps)
    divergences, drifts, predictions = [], [], []
    for step, state in enumerate(states):
        z, value, divergence, log_proba = state
        divergences.append(divergence.detach().double())
        length = z.norm(dim=1).clamp_min(torch.finfo(z.dtype).tiny)
        drifts.append(((z - start).norm(dim=1) / length).double())
        if step in kept:
            predictions.append(log_proba.detach())
    with torch.no_grad():
        x = objective.generate(start), objective.generate(z)
    paths = (torch.stack(path, 1) for path in (divergences, drifts, predictions))
    return Ascent(start, z, *x, value.detach(), *paths)


def gradient_moves(objective, start, *, lr=0.05, method="adam"):
    """Steps along the gradient.

    "sgd" is the plain step ``z + lr * gradient`` of Algorithm 1 (Palaniappan et al., 2023).
    "adam" scales each coordinate's step to about ``lr``, whatever the gradient's size: where
    the classifiers agree almost surely, it is tiny.
    """
    z = start.detach().clone().requires_grad_()
    adam = partial(torch.optim.Adam, eps=torch.finfo(z.dtype).tiny)
    optimizer = (adam if method == "adam" else torch.optim.SGD)([z], lr=lr, maximize=True)
    while True:
        with torch.enable_grad():
            value, divergence, log_proba = objective(z)
        yield z.detach().clone(), value, divergence, log_proba
        (z.grad,) = torch.autograd.grad(value.sum(), z)
        optimizer.step()
        z.data = objective.project(z.detach())


def in_chunks(climb, start, *, floats_per_row, codes):
    """Let latents of the classes ``codes`` climb in chunks of bounded memory, in their order.

    ``climb`` maps the latents and classes of one chunk to an :class:`Ascent`. The chunks have
    every class in equal shares: what is generated side by side wastes nothing then.
    """
    labels = torch.as_tensor(codes, device=start.device)
    order = torch.argsort(ClassBlocks(labels, int(labels.max()) + 1).turn, stable=True)
    size = max(1, FLOATS_PER_CHUNK // floats_per_row)
    parts = [climb(start[index], labels[index]) for index in order.split(size)]
    return Ascent(*map(torch.cat, zip(*parts, strict=True))).take(torch.argsort(order))
