"""L-BFGS for many small, independent problems at once: tensors and callables, no labels."""

from typing import NamedTuple

import torch

ARMIJO, WOLFE = 1e-4, 0.9
MAX_TRIALS = 12  # of the length of one step
# Below this share of running problems the batch is gathered again without the others.
FULL = 0.85


class Minimum(NamedTuple):
    """What ``minimize_batched`` found, one entry a problem."""

    z: torch.Tensor
    value: torch.Tensor


def minimize_batched(bind, start, *, max_iter=50, history_size=8, gtol=1e-5, ftol=1e-6):
    """Minimise the functions of ``bind(index)``, from ``start`` (n, m), at once with L-BFGS."""
    # Every problem keeps its own history, step length and line search, so that one evaluation
    # of the batch moves every problem on by one trial step, whatever phase it is in. It has
    # converged when no entry of its gradient is larger than gtol, or a step lowers its value by
    # a smaller share than ftol. J. Nocedal (1980), Updating quasi-Newton matrices with limited
    # storage. A. Lewis and M. Overton (2013), Nonsmooth optimization via quasi-Newton methods,
    # section 4: the bracketing line search for the weak Wolfe conditions.
    stopping = max_iter, gtol, ftol
    index = torch.arange(len(start), device=start.device)
    function = bind(index)
    state = Lbfgs(start, *_value_and_gradient(function, start), history_size)
    result = Minimum(state.z.clone(), state.value.clone())
    running = (state.gradient.abs().amax(1) > gtol) & torch.isfinite(state.value)
    running &= max_iter > 0
    while running.any():
        if running.sum() < FULL * len(running):
            result.z[index], result.value[index] = state.z, state.value
            state.keep(running)
            index, running = index[running], running[running]
            function = bind(index)
        trial = state.trial()
        running &= state.judge(trial, *_value_and_gradient(function, trial), running, *stopping)
    result.z[index], result.value[index] = state.z, state.value
    return result


class Lbfgs:
    """Where the running problems are: every attribute is a tensor with one entry a problem."""

    def __init__(self, z, value, gradient, history_size):
        n, m = z.shape
        self.z, self.value, self.gradient = z.detach().clone(), value, gradient
        self.direction = -gradient  # at first, with a step of unit length
        self.slope = -gradient.square().sum(1)
        self.step = 1.0 / gradient.norm(dim=1).clamp_min(1e-12)
        self.low, self.high = z.new_zeros(n), z.new_full((n,), torch.inf)
        self.n_trials, self.n_iter = torch.zeros(2, n, dtype=torch.long, device=z.device)
        self.s, self.y = z.new_zeros(2, n, history_size, m)
        self.rho = z.new_zeros(n, history_size)
        self.scale = z.new_ones(n)

    def keep(self, running):
        vars(self).update({name: entry[running] for name, entry in vars(self).items()})

    def trial(self):
        return torch.addcmul(self.z, self.step[:, None], self.direction)

    def judge(self, trial, value, gradient, running, max_iter, gtol, ftol):
        """Accept trial steps or change their lengths; return which problems go on."""
        finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
        lower = finite & (value <= self.value + ARMIJO * self.step * self.slope)
        flat = (gradient * self.direction).sum(1) >= WOLFE * self.slope
        self.n_trials += 1
        exhausted = self.n_trials >= MAX_TRIALS
        accepted = running & lower & (flat | exhausted)
        # Below the rounding of the value a lower point cannot be recognised any more.
        negligible = -self.step * self.slope <= 0.5 * ftol * self.value.abs()
        going_on = accepted | ~(exhausted | (~lower & negligible))
        self._change_step(lower, value)
        chosen = accepted.nonzero(as_tuple=True)[0]
        if len(chosen):
            before, after = self.value[chosen], value[chosen]
            self._accept(chosen, trial[chosen], after, gradient[chosen])
            size = torch.maximum(before.abs(), after.abs())
            falls = before - after > ftol * size
            is_steep = gradient[chosen].abs().amax(1) > gtol
            going_on[chosen] = falls & is_steep & (self.n_iter[chosen] < max_iter)
        return going_on

    def _change_step(self, lower, value):
        """Bracket and bisect; a rejected first trial is interpolated by a parabola."""
        step = self.step
        self.low = torch.where(lower, step, self.low)
        self.high = torch.where(lower, self.high, step)
        parabola = 0.5 * self.slope * step.square()
        parabola = parabola / (self.value + self.slope * step - value)
        shrunk = torch.where(torch.isfinite(parabola), parabola, 0.5 * step)
        shrunk = torch.minimum(torch.maximum(shrunk, 0.1 * step), 0.5 * step)
        inside = torch.where(self.low > 0, 0.5 * (self.low + self.high), shrunk)
        self.step = torch.where(torch.isinf(self.high), 2.0 * step, inside)

    def _accept(self, chosen, z, value, gradient):
        """Move the chosen problems and point them downhill again."""
        self._learn_curvature(chosen, z - self.z[chosen], gradient - self.gradient[chosen])
        self.z[chosen], self.value[chosen], self.gradient[chosen] = z, value, gradient
        self.n_iter[chosen] += 1
        self.n_trials[chosen] = 0
        self.low[chosen], self.high[chosen], self.step[chosen] = 0.0, torch.inf, 1.0
        past = (part[chosen] for part in (self.s, self.y, self.rho, self.scale))
        direction = _two_loop(gradient, *past)
        slope = (direction * gradient).sum(1)
        uphill = ~(slope < 0)
        self.direction[chosen] = torch.where(uphill[:, None], -gradient, direction)
        self.slope[chosen] = torch.where(uphill, -gradient.square().sum(1), slope)

    def _learn_curvature(self, chosen, s, y):
        """Put the last step and change of gradient at the end of the history."""
        sy, yy = (s * y).sum(1), y.square().sum(1)
        useful = sy > 1e-10 * yy
        rows = chosen[useful]
        for past, entry in ((self.s, s), (self.y, y), (self.rho, 1.0 / sy)):
            past[rows] = torch.cat([past[rows][:, 1:], entry[useful][:, None]], 1)
        self.scale[rows] = (sy / yy)[useful]


def _value_and_gradient(function, z):
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def _two_loop(gradient, s, y, rho, scale):
    """Minus the inverse Hessian times the gradient; an empty place has ``rho = 0``."""
    q = -gradient
    alphas = []
    for i in range(s.shape[1] - 1, -1, -1):
        alpha = rho[:, i] * (s[:, i] * q).sum(1)
        q = torch.addcmul(q, alpha[:, None], y[:, i], value=-1)
        alphas.append(alpha)
    q = q * scale[:, None]
    for i, alpha in enumerate(reversed(alphas)):
        beta = rho[:, i] * (y[:, i] * q).sum(1)
        q = torch.addcmul(q, (alpha - beta)[:, None], s[:, i])
    return q
