"""Climbing without gradients: one evolution strategy a sample, all of them at once."""

import numpy as np
import torch

from sklearn_ood.search._ascent import Record

MAX_STEP = 10.0


def evolve(objective, start, *, n_steps=100, population_size=20, step_size=0.5, rng):
    """Maximise by the separable CMA evolution strategy, every latent with its own.

    One step draws `population_size` proposals around each latent, evaluates those of all
    latents together, and moves mean, step size and the spread of every coordinate towards
    the better half. The best proposal so far is what the step has reached, so that the
    objective never falls.

    Parameters
    ----------
    objective : Objective
        Need not be differentiable, nor continuous.
    start : tensor of shape (n, m)
    n_steps : int >= 0, default=100
    population_size : int >= 4, default=20
        Proposals in each step for each latent.
    step_size : float > 0, default=0.5
        Standard deviation of the first proposals.
    rng : torch.Generator
        Determines the proposals; on the device of `start`.

    Returns
    -------
    Ascent

    References
    ----------
    R. Ros and N. Hansen (2008), A simple modification in CMA-ES achieving linear time and
    space complexity, section 2.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._evolution import evolve
    >>> from sklearn_ood.search._ascent import Objective
    >>> peak = Objective(
    ...     log_proba=lambda z: z[None],
    ...     divergence=lambda z: -(z[0] - 3).square().sum(-1),
    ...     log_prior=lambda z: 0 * z.sum(-1),
    ...     prior_weight=0.0,
    ... )
    >>> rng = torch.Generator().manual_seed(0)
    >>> evolve(peak, torch.zeros(1, 2), rng=rng).z.round(decimals=3)
    tensor([[3., 3.]])
    """
    n, m = start.shape
    rates = Rates(population_size, m)
    weights = torch.as_tensor(rates.weights, dtype=start.dtype, device=start.device)
    record = Record(start, n_steps)
    with torch.no_grad():
        best_value, best_divergence, best_log_proba = objective(start)
        best = start.clone()
        record.note(best, best_divergence, best_log_proba)
        mean, variance = start.clone(), torch.ones_like(start)
        sigma = torch.full((n, 1), step_size, dtype=start.dtype, device=start.device)
        sigma_path, variance_path = torch.zeros_like(start), torch.zeros_like(start)
        for step in range(1, n_steps + 1):
            drawn = torch.randn(
                n, population_size, m, generator=rng, dtype=start.dtype, device=start.device
            )
            root = variance.sqrt()
            proposals = mean[:, None] + (sigma * root)[:, None] * drawn
            proposals = objective.project(proposals)
            value, divergence, log_proba = objective(proposals.flatten(0, 1))
            value = value.view(n, population_size)

            order = value.argsort(dim=1, descending=True)
            improved = value.gather(1, order[:, :1])[:, 0] > best_value
            flat = order[:, 0] + population_size * torch.arange(n, device=start.device)
            best[improved] = proposals.flatten(0, 1)[flat][improved]
            best_value = torch.where(improved, value.flatten()[flat], best_value)
            best_divergence = torch.where(improved, divergence[flat], best_divergence)
            best_log_proba = torch.where(improved[:, None], log_proba[:, flat], best_log_proba)
            record.note(best, best_divergence, best_log_proba)

            chosen = order[:, : len(weights), None].expand(-1, -1, m)
            # What was evaluated, not what was drawn: a bound may have cut it.
            steps = (proposals.gather(1, chosen) - mean[:, None]) / sigma[:, None]
            move = (weights[:, None] * steps).sum(1)
            mean = mean + sigma * move
            sigma_path = rates.keep_sigma * sigma_path + rates.add_sigma * move / root
            length = sigma_path.norm(dim=1, keepdim=True)
            warm = (1 - rates.keep_sigma ** (2 * step)) ** 0.5
            steady = (length / warm < (1.4 + 2 / (m + 1)) * rates.length).to(start.dtype)
            variance_path = rates.keep_path * variance_path + steady * rates.add_path * move
            lost = (1 - steady) * rates.rank_one * (1 - rates.keep_path**2)
            variance = (
                (1 - rates.rank_one - rates.rank_mu + lost) * variance
                + rates.rank_one * variance_path.square()
                + rates.rank_mu * (weights[:, None] * steps.square()).sum(1)
            )
            growth = rates.sigma_rate * (length / rates.length - 1)
            sigma = (sigma * growth.exp()).clamp_max(MAX_STEP)
    return record.ascent(best, best_value)


class Rates:
    """The strategy's weights and learning rates, from population size and dimension.

    Examples
    --------
    >>> from sklearn_ood.search._evolution import Rates
    >>> Rates(4, 10).weights.round(2).tolist()
    [0.8, 0.2]
    """

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
