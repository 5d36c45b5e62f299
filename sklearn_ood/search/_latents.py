"""Search of latents, for all rows and classes at once, by a batched L-BFGS; no labels."""

from typing import NamedTuple

import torch

# Matrix products round alike for whole blocks of rows: a row's path must not depend on how
# many others are still searched.
ROW_BLOCK = 16
# Where latents of these priors end. The search moves freely: they are the tanh of what moves.
BOUNDS = {"uniform": 1.0, "truncated_normal": 2.0}
EDGE = 1 - 1e-4
# Held at once.
MAX_DISTANCES = 2**25
# Of the line search: decrease, curvature, and how often the length of one step is tried.
ARMIJO, WOLFE, MAX_TRIALS = 1e-4, 0.9, 12
# Below this share of running problems the batch is gathered again without the others.
FULL = 0.85


class Match(NamedTuple):
    """The nearest generation of every class to every row."""

    distance: torch.Tensor
    objective: torch.Tensor
    z: torch.Tensor


def squared_distance(x, generated):
    """Mean squared difference a feature: the paper's L2 distance."""
    return (x - generated).square().mean(-1)


def absolute_distance(x, generated):
    """Mean absolute difference a feature: L1."""
    return (x - generated).abs().mean(-1)


def cubic_distance(x, generated):
    """Mean cubed absolute difference a feature: L3."""
    difference = (x - generated).abs()
    return (difference * difference.square()).mean(-1)


DISTANCES = {"l2": squared_distance, "l1": absolute_distance, "l3": cubic_distance}


class ClassBlocks:
    """Rows that have a class each, laid out as one block a class, all of one width."""

    def __init__(self, class_index, n_classes, multiple_of=1):
        order = torch.argsort(class_index, stable=True)
        count = torch.bincount(class_index, minlength=n_classes)
        width = -(-int(count.max()) // multiple_of) * multiple_of  # rounded up
        first = torch.cumsum(count, 0) - count
        # In which turn each row comes where the classes take turns.
        self.turn = torch.argsort(order) - first[class_index]
        self.place = class_index * width + self.turn
        self.shape = n_classes, width

    def pad(self, rows):
        """Rows (n, p) as blocks (K, width, p), with zeros where a class has fewer."""
        n_classes, width = self.shape
        padded = rows.new_zeros(n_classes * width, rows.shape[1])
        return padded.index_copy(0, self.place, rows).view(n_classes, width, -1)

    def rows(self, blocks):
        """What belongs to the rows (n, ...), out of blocks (K, width, ...)."""
        return blocks.flatten(0, 1)[self.place]


def by_class(function, rows, class_index, n_classes):
    """Apply a function of blocks (K, c, p) -> (K, c, q) to rows that have a class each."""
    blocks = ClassBlocks(class_index, n_classes)
    return blocks.rows(function(blocks.pad(rows)))


def nearest_of_classes(x, rows, half_norm, sizes, *, max_elements=MAX_DISTANCES):
    """Which of each class's rows, in blocks of ``sizes``, is nearest to each input: (K, n)."""
    # In L2, by half of the squared length of rows.
    parts = x.split(max(1, max_elements // len(rows)))
    inner = (torch.addmm(half_norm, part, rows.T, beta=-1) for part in parts)
    of_classes = (part.split(sizes, 1) for part in inner)
    return torch.cat([torch.stack([own.argmax(1) for own in part]) for part in of_classes], 1)


def search_latents(decode, x, starts, *, distance=squared_distance, penalty=None, **options):
    """Find the latent vector of every class whose generation is nearest to every row."""
    # decode maps latents (K, c, m) to generations (K, c, d), penalty to (K, c). Each problem
    # begins at the one of starts, (K, n, m), with the smallest objective.
    n_classes, n, m = starts[0].shape

    def objective(z, rows):
        value = distance(rows, decode(z))
        return value if penalty is None else value + penalty(z)

    def bind(index):
        """Of the problems ``index``; number ``k * n + i`` is row i in class k."""
        if len(index) == n_classes * n:
            return lambda z: objective(z.view(n_classes, n, m), x).flatten()
        blocks = ClassBlocks(index // n, n_classes, ROW_BLOCK)
        rows = blocks.pad(x[index % n])
        return lambda z: blocks.rows(objective(blocks.pad(z), rows))

    best = starts[0]
    if len(starts) > 1:
        with torch.no_grad():
            choice = torch.stack([objective(start, x) for start in starts]).argmin(0)
        best = torch.take_along_dim(torch.stack(starts), choice[None, :, :, None], 0)[0]
    found = minimize_batched(bind, best.reshape(-1, m), **options)
    z, lowest = (entry.unflatten(0, (n_classes, n)) for entry in found)
    with torch.no_grad():
        reached = distance(x, decode(z))
    return Match(*(entry.transpose(0, 1) for entry in (reached, lowest, z)))


def match(core, x, distance, *, guess=None, bank=None, penalty=0.0, max_iter=0):
    """Distances (n, K) and latents (n, K, m) of the nearest generations to rows (n, d)."""
    # The guess, latents (K, n, m), is the answer without L-BFGS steps. Further starts are the
    # nearest of a bank, latents (K, b, m) and their generations (K, b, d). The penalty (K,) is
    # the weight of a latent's squared length; a uniform prior has none.
    starts = [] if guess is None else [guess(x)]
    if bank is None and not max_iter:
        (z,) = starts
        return distance(x, core.decode(z)).T, z.transpose(0, 1)
    if bank is not None:
        latents, generations = (torch.as_tensor(part, device=x.device) for part in bank)
        flat, sizes = generations.flatten(0, 1), len(generations) * [generations.shape[1]]
        index = nearest_of_classes(x, flat, 0.5 * flat.square().sum(1), sizes)
        starts.append(torch.take_along_dim(latents, index[:, :, None], dim=1))
    bound = BOUNDS.get(core.prior)
    weight = torch.as_tensor(penalty, dtype=x.dtype, device=x.device)[..., None]

    def inside(z):
        return z if bound is None else bound * torch.tanh(z)

    options = {"distance": distance, "max_iter": max_iter}
    if core.prior != "uniform":
        options["penalty"] = lambda z: weight * inside(z).square().sum(-1)
    if bound is not None:
        starts = [torch.atanh((z / bound).clamp(-EDGE, EDGE)) for z in starts]
    found = search_latents(lambda z: core.decode(inside(z)), x, starts, **options)
    return found.distance, inside(found.z)


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
