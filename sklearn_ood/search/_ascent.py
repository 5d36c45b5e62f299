"""Samples on which classifiers differ: all latents climb the divergence at once."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import chi2

FLOATS_PER_CHUNK = 2**22
N_CHECKPOINTS = 11


class Ascent(NamedTuple):
    """How n latents climbed.

    Attributes
    ----------
    start, z : tensor of shape (n, m)
        Where they started and ended.
    start_x, x : tensor of shape (n, d)
        What these generate.
    objective : tensor of shape (n,)
        Divergence and weighted log prior there.
    divergence : tensor of shape (n_steps + 1, n)
        At the start and after every step.
    drift : tensor of shape (n_steps + 1, n)
        ``||z - z_start|| / ||z||``.
    log_proba : tensor of shape (n_checkpoints, n_members, n, n_classes)
        Predictions at `checkpoints`.
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
        parts = zip(self, SAMPLE_AXES, strict=True)
        return Ascent(*(part.index_select(at, index.to(part.device)) for part, at in parts))


# Along which axis of each of these fields the latents lie.
SAMPLE_AXES = (0, 0, 0, 0, 0, 1, 1, 2)


def identity(z):
    """Latents as they are."""
    return z


def likeliest(prior, prior_mass, latent_dim):
    """Projection onto the smallest set that holds a share of the prior's mass.

    Parameters
    ----------
    prior : {"normal", "uniform"}
        Where all latents are equally likely, the set is the whole box.
    prior_mass : float in (0, 1]
    latent_dim : int

    Returns
    -------
    callable
        Maps latents, along their last axis, to the nearest ones of the set.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._ascent import likeliest
    >>> project = likeliest("normal", 0.9, 2)
    >>> project(torch.tensor([[3.0, 4.0], [0.3, 0.4]])).round(decimals=3)
    tensor([[1.2880, 1.7170],
            [0.3000, 0.4000]])
    """
    if prior == "uniform":
        return lambda z: z.clamp(-1.0, 1.0)
    if prior_mass == 1:
        return identity
    radius = float(chi2.ppf(prior_mass, latent_dim)) ** 0.5

    def into_ball(z):
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
        Maps latents (n, m) to what they generate, g(z); by default themselves.
    """

    log_proba: object
    divergence: object
    log_prior: object
    prior_weight: float
    project: object = identity
    generate: object = identity

    def __call__(self, z):
        """Value, divergence and predictions of latents."""
        log_proba = self.log_proba(self.generate(z))
        divergence = self.divergence(log_proba)
        if divergence.shape != z.shape[:1]:
            raise ValueError(
                f"Got a divergence of shape {tuple(divergence.shape)} for {len(z)} samples, "
                f"but expected ({len(z)},): one number a sample."
            )
        if not torch.isfinite(divergence).all():
            raise ValueError(
                "Got a divergence that is NaN or infinite; the members' probabilities, or the "
                "divergence given as a callable, must be finite."
            )
        return divergence + self.prior_weight * self.log_prior(z), divergence, log_proba


def checkpoints(n_steps):
    """Steps at which the predictions are kept: the start and the end of every tenth.

    Examples
    --------
    >>> from sklearn_ood.search._ascent import checkpoints
    >>> checkpoints(20).tolist()
    [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    """
    return np.unique(np.linspace(0, n_steps, N_CHECKPOINTS).round().astype(int))


class Record:
    """Collects an ascent while it runs."""

    def __init__(self, start, n_steps):
        self.start, self.steps = start, set(checkpoints(n_steps).tolist())
        self.divergence, self.drift, self.log_proba = [], [], []

    def note(self, z, divergence, log_proba):
        """Keep the state after the next step."""
        if len(self.divergence) in self.steps:
            self.log_proba.append(log_proba.detach())
        self.divergence.append(divergence.detach())
        length = z.norm(dim=1).clamp_min(torch.finfo(z.dtype).tiny)
        self.drift.append((z - self.start).norm(dim=1) / length)

    @torch.no_grad()
    def ascent(self, z, objective, value):
        """The whole, once it has ended."""
        x = objective.generate(self.start), objective.generate(z)
        paths = (torch.stack(part) for part in (self.divergence, self.drift, self.log_proba))
        return Ascent(self.start, z, *x, value.detach(), *paths)


def gradient_ascent(objective, start, *, n_steps=100, lr=0.05, method="adam"):
    """Climb along the gradient, every latent on its own.

    Parameters
    ----------
    objective : Objective
        Differentiable.
    start : tensor of shape (n, m)
    n_steps : int >= 0, default=100
    lr : float > 0, default=0.05
        Learning rate.
    method : {"adam", "sgd"}, default="adam"
        "sgd" is the plain step ``z + lr * gradient`` of Algorithm 1. "adam" scales each
        coordinate's step to about ``lr``, whatever the gradient's size: where the classifiers
        agree almost surely, it is tiny.

    Returns
    -------
    Ascent

    References
    ----------
    V. Palaniappan et al. (2023), GeValDi, Algorithm 1 and eq. 2.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._ascent import Objective, gradient_ascent
    >>> objective = Objective(
    ...     log_proba=lambda z: torch.log_softmax(torch.stack([z, -z]), -1),
    ...     divergence=lambda log_proba: (log_proba[0] - log_proba[1]).square().sum(-1),
    ...     log_prior=lambda z: -0.5 * z.square().sum(-1),
    ...     prior_weight=0.1,
    ... )
    >>> ascent = gradient_ascent(objective, torch.tensor([[0.1, -0.1]]), n_steps=20)
    >>> bool(ascent.divergence[-1] > 10 * ascent.divergence[0])
    True
    """
    z, record = start.detach().clone(), Record(start, n_steps)
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for step in range(1, n_steps + 1):
        z.requires_grad_()
        with torch.enable_grad():
            value, divergence, log_proba = objective(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        z = z.detach()
        record.note(z, divergence, log_proba)
        if method == "adam":
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            scale = (second / (1 - 0.999**step)).sqrt().clamp_min(torch.finfo(z.dtype).tiny)
            gradient = first / (1 - 0.9**step) / scale
        z = objective.project(z + lr * gradient)
    with torch.no_grad():
        value, divergence, log_proba = objective(z)
    record.note(z, divergence, log_proba)
    return record.ascent(z, objective, value)


def in_chunks(climb, start, *, floats_per_row, codes):
    """Let latents climb in chunks of bounded memory.

    The chunks have every class in equal shares: what is generated for all classes side by
    side wastes nothing then.

    Parameters
    ----------
    climb : callable
        Maps the latents and classes of one chunk to an :class:`Ascent`.
    start : tensor of shape (n, m)
    floats_per_row : int
        Numbers held for each row.
    codes : ndarray of shape (n,)
        Class of each latent.

    Returns
    -------
    Ascent
        In the order of ``start``.
    """
    order = torch.as_tensor(np.argsort(turns(codes), kind="stable"), device=start.device)
    labels = torch.as_tensor(codes, device=start.device)
    size = max(1, FLOATS_PER_CHUNK // floats_per_row)
    parts = [climb(start[index], labels[index]) for index in order.split(size)]
    joined = zip(zip(*parts, strict=True), SAMPLE_AXES, strict=True)
    return Ascent(*(torch.cat(part, dim=at) for part, at in joined)).take(torch.argsort(order))


def turns(codes):
    """In which turn each latent comes where the classes take turns.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.search._ascent import turns
    >>> turns(np.array([0, 0, 0, 1, 1])).tolist()
    [0, 1, 2, 0, 1]
    """
    order = np.argsort(codes, kind="stable")
    turn = np.empty(len(codes), dtype=np.int64)
    turn[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    return turn
