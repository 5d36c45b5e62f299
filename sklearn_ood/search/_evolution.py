"""Climbing without gradients: one evolution strategy a problem, all of them at once."""

import numpy as np
import torch

MAX_STEP = 10.0


@torch.no_grad()
def evolution_moves(objective, start, **options):
    """Steps of evolution: the best proposal so far is what one has reached.

    The objective, which need not be differentiable nor continuous, never falls. The options
    are those of :class:`Evolution`.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._evolution import evolution_moves
    >>> from sklearn_ood.search._ascent import Objective, ascend
    >>> peak = Objective(
    ...     log_proba=lambda z: z[None],
    ...     divergence=lambda z: -(z[0] - 3).square().sum(-1),
    ...     log_prior=lambda z: 0 * z.sum(-1),
    ...     prior_weight=0.0,
    ... )
    >>> rng = torch.Generator().manual_seed(0)
    >>> ascend(evolution_moves, peak, torch.zeros(1, 2), rng=rng).z.round(decimals=3)
    tensor([[3., 3.]])
    """
    strategy = Evolution(start, *objective(start), **options)
    while True:
        yield strategy.best, *strategy.found
        proposals = objective.project(strategy.ask())
        strategy.tell(proposals, *objective(proposals))


class Evolution:
    """The separable CMA evolution strategy, for n maximisations side by side.

    ``ask`` draws proposals around every mean; ``tell`` moves mean, step size and the spread
    of every coordinate towards the better half of them.

    Parameters
    ----------
    start : tensor of shape (n, m)
    *found : tensors of shape (n, ...)
        What is maximised, at the start, and what else is to be known of the best.
    population_size : int >= 2, default=20
        Proposals in each step for each problem.
    step_size : float > 0, default=0.5
        Standard deviation of the first proposals.
    rng : torch.Generator
        Determines the proposals; on the device of ``start``.

    Attributes
    ----------
    best : tensor of shape (n, m)
        The best proposal of each problem so far.
    found : list of tensors of shape (n, ...)
        Its value, and what else was said of it.

    References
    ----------
    R. Ros and N. Hansen (2008), A simple modification in CMA-ES achieving linear time and
    space complexity, section 2.
    """

    def __init__(self, start, *found, population_size=20, step_size=0.5, rng):
        self.rates, self.rng = Rates(population_size, start.shape[1]), rng
        self.population_size, self.n_steps = population_size, 0
        self.best, self.found, self.mean = start, found, start
        self.variance = torch.ones_like(start)
        self.sigma = torch.full_like(start[:, :1], step_size)
        self.sigma_path, self.variance_path = torch.zeros_like(start), torch.zeros_like(start)

    def ask(self):
        """Proposals, (n, population_size, m); they may be moved before they are told."""
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
        """Drop the problems where ``mask`` is False."""
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
        self.variance_path = (
            rates.keep_path * self.variance_path + steady * rates.add_path * move
        )
        lost = (1 - steady) * rates.rank_one * (1 - rates.keep_path**2)
        self.variance = (
            (1 - rates.rank_one - rates.rank_mu + lost) * self.variance
            + rates.rank_one * self.variance_path.square()
            + rates.rank_mu * (weights * steps.square()).sum(1)
        )
        growth = rates.sigma_rate * (length / rates.length - 1)
        self.sigma = (self.sigma * growth.exp()).clamp_max(MAX_STEP)


class Rates:
    """The strategy's weights and learning rates, from population size and dimension."""

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
