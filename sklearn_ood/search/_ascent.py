"""Many points climb at once, every one on its own: along gradients, or by evolution."""

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
MAX_STEP = 10.0


class Ascent(NamedTuple):
    """How n latents climbed: their start and end, what these generate, and the way."""

    start: torch.Tensor
    z: torch.Tensor
    start_x: torch.Tensor
    x: torch.Tensor
    objective: torch.Tensor  # at the end
    divergence: torch.Tensor  # as drift (n, n_steps + 1), at the start and after every step
    drift: torch.Tensor
    log_proba: torch.Tensor  # (n, n_checkpoints, n_members, n_classes), at checkpoints

    def best_of(self, n_starts):
        """Of every ``n_starts`` latents in a row the one with the highest objective."""
        best = self.objective.view(-1, n_starts).argmax(1)
        return self.take(best + n_starts * torch.arange(len(best), device=best.device))

    def take(self, index):
        return Ascent(*(part[index.to(part.device)] for part in self))

    def numpy(self):
        return Ascent(*(part.cpu().numpy() for part in self))


def identity(z):
    return z


def likeliest(prior, prior_mass, latent_dim):
    """Projection, along the last axis, onto the smallest set that holds the prior's mass."""
    # Of a uniform prior that is the whole box, of a truncated normal one the normal one's ball
    # in its box.
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
    """What climbs: ``D(p(y | g(z))) + prior_weight * log p(z)`` (Palaniappan et al., eq. 2)."""

    log_proba: Callable  # of g(z), (n_members, n, n_classes)
    divergence: Callable  # of these, (n,)
    log_prior: Callable
    prior_weight: float
    project: Callable = identity  # latents to the nearest ones that are allowed
    generate: Callable = identity  # latents (n, m) to g(z), (n, d)

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
    """Let latents (n, m) climb for some steps, every one on its own: an :class:`Ascent`.

    ``moves``, ``gradient_moves`` or ``evolution_moves`` with the options, makes an iterator
    over the latents, their value, divergence and predictions, at the start and after each step.
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
    """Steps along the gradient, by "adam" or the plain ones of "sgd" (Algorithm 1)."""
    z = start.detach().clone().requires_grad_()
    # Adam's steps are of about lr, whatever the gradient's size: where the classifiers agree
    # almost surely, it is tiny.
    adam = partial(torch.optim.Adam, eps=torch.finfo(z.dtype).tiny)
    optimizer = (adam if method == "adam" else torch.optim.SGD)([z], lr=lr, maximize=True)
    while True:
        with torch.enable_grad():
            value, divergence, log_proba = objective(z)
        yield z.detach().clone(), value, divergence, log_proba
        (z.grad,) = torch.autograd.grad(value.sum(), z)
        optimizer.step()
        z.data = objective.project(z.detach())


@torch.no_grad()
def evolution_moves(objective, start, **options):
    """Steps of :class:`Evolution`: the best proposal so far is what one has reached."""
    strategy = Evolution(start, *objective(start), **options)
    while True:
        yield strategy.best, *strategy.found
        proposals = objective.project(strategy.ask())
        strategy.tell(proposals, *objective(proposals))


class Evolution:
    """The separable CMA evolution strategy, for n maximisations side by side, from (n, m)."""

    def __init__(self, start, *found, population_size=20, step_size=0.5, rng):
        self.rates, self.rng = Rates(population_size, start.shape[1]), rng
        self.population_size, self.n_steps = population_size, 0
        # R. Ros and N. Hansen (2008), A simple modification in CMA-ES achieving linear time and
        # space complexity, section 2. found is the value of best, and what else is known of it.
        self.best, self.found, self.mean = start, found, start
        self.variance = torch.ones_like(start)
        self.sigma = torch.full_like(start[:, :1], step_size)
        self.sigma_path, self.variance_path = torch.zeros_like(start), torch.zeros_like(start)

    def ask(self):
        """Proposals (n, population_size, m), which may be moved before they are told."""
        n, m = self.mean.shape
        drawn = self.mean.new_empty(n, self.population_size, m).normal_(generator=self.rng)
        return self.mean[:, None] + (self.sigma * self.variance.sqrt())[:, None] * drawn

    def tell(self, proposals, value, *others):
        """Learn from proposals and what was found of each: its value first."""
        order = value.view(len(proposals), -1).argsort(dim=1, descending=True)
        first = self.population_size * torch.arange(len(order), device=order.device)
        place = first + order[:, 0]
        improved = value[place] > self.found[0]
        new = (proposals.flatten(0, 1), value, *others)
        self.best, *self.found = (
            torch.where(improved.view(-1, *[1] * (old.dim() - 1)), each[place], old)
            for old, each in zip((self.best, *self.found), new, strict=True)
        )
        self._move(proposals, order)

    def keep(self, mask):
        self.found = [each[mask] for each in self.found]
        for name, state in vars(self).items():
            if isinstance(state, torch.Tensor):
                setattr(self, name, state[mask])

    def _move(self, proposals, order):
        """Mean, step size and spread after a step, from the better half of its proposals."""
        self.n_steps += 1
        rates, m = self.rates, self.mean.shape[1]
        weights = torch.as_tensor(rates.weights).to(self.mean)[:, None]
        chosen = order[:, : len(weights), None].expand(-1, -1, m)
        # What was evaluated, not what was drawn: a bound may have cut it.
        steps = (proposals.gather(1, chosen) - self.mean[:, None]) / self.sigma[:, None]
        move = (weights * steps).sum(1)
        self.mean = self.mean + self.sigma * move
        whitened = rates.add_sigma * move / self.variance.sqrt()
        self.sigma_path = rates.keep_sigma * self.sigma_path + whitened
        length = self.sigma_path.norm(dim=1, keepdim=True)
        warm = (1 - rates.keep_sigma ** (2 * self.n_steps)) ** 0.5
        steady = (length / warm < (1.4 + 2 / (m + 1)) * rates.length).to(steps.dtype)
        added = steady * rates.add_path * move
        self.variance_path = rates.keep_path * self.variance_path + added
        lost = (1 - steady) * rates.rank_one * (1 - rates.keep_path**2)
        self.variance = (
            (1 - rates.rank_one - rates.rank_mu + lost) * self.variance
            + rates.rank_one * self.variance_path.square()
            + rates.rank_mu * (weights * steps.square()).sum(1)
        )
        growth = rates.sigma_rate * (length / rates.length - 1)
        self.sigma = (self.sigma * growth.exp()).clamp_max(MAX_STEP)


class Rates:
    def __init__(self, population_size, m):
        n_parents = population_size // 2
        weights = np.log((population_size + 1) / 2) - np.log(np.arange(1, n_parents + 1))
        self.weights = weights / weights.sum()
        mass = 1 / np.square(self.weights).sum()
        sigma = (mass + 2) / (m + mass + 5)
        path = (4 + mass / m) / (m + 4 + 2 * mass / m)
        self.keep_sigma, self.add_sigma = 1 - sigma, (sigma * (2 - sigma) * mass) ** 0.5
        self.keep_path, self.add_path = 1 - path, (path * (2 - path) * mass) ** 0.5
        damping = 1 + 2 * max(0.0, ((mass - 1) / (m + 1)) ** 0.5 - 1) + sigma
        self.sigma_rate = sigma / damping
        # Of a standard normal vector.
        self.length = m**0.5 * (1 - 1 / (4 * m) + 1 / (21 * m**2))
        faster = (m + 2) / 3
        self.rank_one = min(1.0, faster * 2 / ((m + 1.3) ** 2 + mass))
        rank_mu = faster * 2 * (mass - 2 + 1 / mass) / ((m + 2) ** 2 + mass)
        self.rank_mu = min(1 - self.rank_one, rank_mu)


def in_chunks(climb, start, *, floats_per_row, codes):
    """Let latents of the classes ``codes`` climb in chunks of bounded memory."""
    # Every class in equal shares: what is generated side by side wastes nothing then.
    labels = torch.as_tensor(codes, device=start.device)
    order = torch.argsort(ClassBlocks(labels, int(labels.max()) + 1).turn, stable=True)
    size = max(1, FLOATS_PER_CHUNK // floats_per_row)
    parts = [climb(start[index], labels[index]) for index in order.split(size)]
    return Ascent(*map(torch.cat, zip(*parts, strict=True))).take(torch.argsort(order))
