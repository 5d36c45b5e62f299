"""Search of latent vectors, for all rows and all classes together.

Classifying ``n`` rows with ``K`` generators asks for the nearest generation of every
class to every row: ``n * K`` small, independent minimisations over the same decoders.
One after the other, each of them pays the full cost of reading the decoder's weights; in
one batch the cost is that of a few matrix products. The functions here know nothing of
labels or estimators: they take torch tensors and callables.
"""

from typing import NamedTuple

import torch

ARMIJO, WOLFE = 1e-4, 0.9
# Matrix products round alike for whole blocks of rows: a row's path must not depend on how
# many others are still searched.
ROW_BLOCK = 16


class Minimum(NamedTuple):
    """What `minimize_batched` found, one entry a problem."""

    z: torch.Tensor
    value: torch.Tensor
    start_value: torch.Tensor
    n_iter: torch.Tensor
    n_evaluations: int


class Match(NamedTuple):
    """The nearest generation of every class to every row."""

    distance: torch.Tensor
    objective: torch.Tensor
    start_objective: torch.Tensor
    z: torch.Tensor


def minimize_batched(
    bind,
    start,
    *,
    max_iter=50,
    history_size=8,
    gtol=1e-5,
    ftol=1e-6,
    max_line_search=12,
):
    """Minimise many independent functions at once with L-BFGS.

    Every problem keeps its own history, step length and line search, so that one
    evaluation of the batch moves every problem on by one trial step, whatever phase it is
    in. Problems that have converged leave the batch.

    Parameters
    ----------
    bind : callable
        ``bind(index)`` returns the function to minimise for the problems `index`
        (long tensor of shape (b,)): it maps points of shape (b, m) to values of shape
        (b,), differentiably. It is called again whenever enough problems have left.
    start : tensor of shape (n_problems, m)
        Where each problem starts.
    max_iter : int >= 0, default=50
        Largest number of accepted steps of a problem.
    history_size : int >= 1, default=8
        Number of past steps that the curvature is estimated from.
    gtol : float >= 0, default=1e-5
        A problem has converged when no entry of its gradient is larger than this.
    ftol : float >= 0, default=1e-6
        It has also converged when a step lowers its value by a smaller share than this.
    max_line_search : int >= 1, default=12
        Largest number of trial steps along one direction.

    Returns
    -------
    Minimum
        The points, their values (never above those at `start`), the values at `start`,
        accepted steps of each problem, and how often one problem's function was evaluated.

    References
    ----------
    J. Nocedal (1980), Updating quasi-Newton matrices with limited storage, the two-loop
    recursion. A. Lewis and M. Overton (2013), Nonsmooth optimization via quasi-Newton
    methods, section 4: the bracketing line search for the weak Wolfe conditions.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._latents import minimize_batched
    >>> centre = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> found = minimize_batched(
    ...     lambda index: lambda z: ((z - centre[index]) ** 2).sum(1), torch.zeros(2, 2)
    ... )
    >>> found.z.round(decimals=3)
    tensor([[1., 2.],
            [3., 4.]])
    """
    z = start.detach().clone()
    index = torch.arange(len(z), device=z.device)
    function = bind(index)
    n_iter = torch.zeros(len(z), dtype=torch.long, device=z.device)
    if max_iter == 0:
        with torch.no_grad():
            value = function(z)
        return Minimum(z, value, value, n_iter, len(z))
    value, gradient = _value_and_gradient(function, z)
    n_evaluations = len(z)
    result_z, result_value, start_value = z.clone(), value.clone(), value.clone()
    result_iter = n_iter

    state = _first_state(z, value, gradient, history_size)
    running = (gradient.abs().amax(1) > gtol) & torch.isfinite(value)
    while True:
        if running.sum() < 0.85 * len(running) or not running.any():
            left = ~running
            result_z[index[left]] = state["z"][left]
            result_value[index[left]] = state["value"][left]
            result_iter[index[left]] = state["n_iter"][left]
            if not running.any():
                break
            index = index[running]
            state = {name: entry[running] for name, entry in state.items()}
            running = running[running]
            function = bind(index)
        trial = torch.addcmul(state["z"], state["step"][:, None], state["direction"])
        value, gradient = _value_and_gradient(function, trial)
        n_evaluations += len(trial)
        running &= _advance(
            state, running, trial, value, gradient, max_iter, gtol, ftol, max_line_search
        )
    return Minimum(result_z, result_value, start_value, result_iter, n_evaluations)


def _value_and_gradient(function, z):
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def _first_state(z, value, gradient, history_size):
    """Steepest descent with a first step of unit length."""
    n, m = z.shape
    return {
        "z": z,
        "value": value,
        "gradient": gradient,
        "direction": -gradient,
        "slope": -gradient.square().sum(1),
        "step": 1.0 / gradient.norm(dim=1).clamp_min(1e-12),
        "low": z.new_zeros(n),
        "high": z.new_full((n,), torch.inf),
        "n_trials": torch.zeros(n, dtype=torch.long, device=z.device),
        "n_iter": torch.zeros(n, dtype=torch.long, device=z.device),
        "s": z.new_zeros(n, history_size, m),
        "y": z.new_zeros(n, history_size, m),
        "rho": z.new_zeros(n, history_size),
        "scale": z.new_ones(n),
    }


def _advance(state, running, trial, value, gradient, max_iter, gtol, ftol, max_line_search):
    """Judge one trial step of every problem; return which problems go on."""
    step, slope = state["step"], state["slope"]
    finite = torch.isfinite(value) & torch.isfinite(gradient).all(1)
    lower = finite & (value <= state["value"] + ARMIJO * step * slope)
    flat = (gradient * state["direction"]).sum(1) >= WOLFE * slope
    state["n_trials"] += 1
    exhausted = state["n_trials"] >= max_line_search
    accepted = running & lower & (flat | exhausted)
    # Below the rounding of the value a lower point cannot be recognised any more.
    negligible = -step * slope <= 0.5 * ftol * state["value"].abs()
    going_on = accepted | ~(exhausted | (~lower & negligible))

    _change_step(state, lower, value)
    chosen = accepted.nonzero(as_tuple=True)[0]
    if len(chosen):
        going_on[chosen] = _accept(
            state, chosen, trial[chosen], value[chosen], gradient[chosen], max_iter, gtol, ftol
        )
    return going_on


def _change_step(state, lower, value):
    """Bracket and bisect; a rejected first trial is interpolated by a parabola."""
    step, low, high = state["step"], state["low"], state["high"]
    state["low"] = low = torch.where(lower, step, low)
    state["high"] = high = torch.where(lower, high, step)
    parabola = 0.5 * state["slope"] * step.square()
    parabola = parabola / (state["value"] + state["slope"] * step - value)
    shrunk = torch.where(torch.isfinite(parabola), parabola, 0.5 * step)
    shrunk = torch.minimum(torch.maximum(shrunk, 0.1 * step), 0.5 * step)
    inside = torch.where(low > 0, 0.5 * (low + high), shrunk)
    state["step"] = torch.where(torch.isinf(high), 2.0 * step, inside)


def _accept(state, chosen, z, value, gradient, max_iter, gtol, ftol):
    """Move the chosen problems, learn their curvature, point them downhill again."""
    s, y = z - state["z"][chosen], gradient - state["gradient"][chosen]
    sy, yy = (s * y).sum(1), y.square().sum(1)
    useful = sy > 1e-10 * yy
    rows = chosen[useful]
    for name, entry in (("s", s), ("y", y), ("rho", 1.0 / sy)):
        past = state[name][rows]
        state[name][rows] = torch.cat([past[:, 1:], entry[useful][:, None]], 1)
    state["scale"][rows] = (sy / yy)[useful]

    old = state["value"][chosen]
    state["z"][chosen], state["value"][chosen], state["gradient"][chosen] = z, value, gradient
    state["n_iter"][chosen] += 1
    state["n_trials"][chosen] = 0
    state["low"][chosen], state["high"][chosen] = 0.0, torch.inf
    state["step"][chosen] = 1.0

    direction = _two_loop(
        gradient, *(state[name][chosen] for name in ("s", "y", "rho", "scale"))
    )
    slope = (direction * gradient).sum(1)
    uphill = ~(slope < 0)
    direction = torch.where(uphill[:, None], -gradient, direction)
    state["direction"][chosen] = direction
    state["slope"][chosen] = torch.where(uphill, -gradient.square().sum(1), slope)

    moved = old - value > ftol * torch.maximum(old.abs(), value.abs())
    steep = gradient.abs().amax(1) > gtol
    return moved & steep & (state["n_iter"][chosen] < max_iter)


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


def nearest_in_bank(x, bank, *, max_elements=2**26):
    """Index of each row's nearest generation in L2, for every class.

    Parameters
    ----------
    x : tensor of shape (n, d)
    bank : tensor of shape (K, b, d)
        `b` generations of each class.
    max_elements : int, default=2**26
        Largest number of distances held at once.

    Returns
    -------
    index : long tensor of shape (K, n)
    distance : tensor of shape (K, n)
        Mean squared difference a feature to that generation.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._latents import nearest_in_bank
    >>> bank = torch.tensor([[[0.0], [1.0]], [[5.0], [9.0]]])
    >>> nearest_in_bank(torch.tensor([[0.8]]), bank)[0].tolist()
    [[1], [0]]
    """
    n_classes, n_bank, d = bank.shape
    flat = bank.reshape(-1, d)
    half_norm = 0.5 * flat.square().sum(1)
    index = torch.empty(n_classes, len(x), dtype=torch.long, device=x.device)
    distance = torch.empty(n_classes, len(x), dtype=x.dtype, device=x.device)
    start = 0
    for rows in x.split(max(1, max_elements // len(flat))):
        inner = torch.addmm(half_norm, rows, flat.T, beta=-1)
        best = inner.view(len(rows), n_classes, n_bank).max(2)
        stop = start + len(rows)
        index[:, start:stop] = best.indices.T
        squared = rows.square().sum(1) - 2 * best.values.T
        distance[:, start:stop] = squared.clamp_min(0) / d
        start = stop
    return index, distance


def search_latents(
    decode,
    x,
    starts,
    *,
    distance=squared_distance,
    penalty=None,
    max_iter=50,
    max_elements=2**24,
    **options,
):
    """Find the latent vector of every class whose generation is nearest to every row.

    Minimises ``distance(x, decode(z)) + penalty(z)`` over z, from the best of `starts`.

    Parameters
    ----------
    decode : callable
        Maps latents of shape (K, c, m) to generations of shape (K, c, d), class by class.
    x : tensor of shape (n, d)
        The rows.
    starts : sequence of tensors of shape (K, n, m)
        Starting points; each problem begins at the one with the smallest objective.
    distance : callable, default=squared_distance
        ``distance(x, generated)`` reduces the last axis.
    penalty : callable, optional
        Maps (K, c, m) to (K, c): minus the weighted log prior.
    max_iter : int >= 0, default=50
        L-BFGS steps; 0 takes the best start as it is.
    max_elements : int, default=2**24
        Largest number of generated values held at once; bounds the memory.
    **options : dict
        Passed to `minimize_batched`.

    Returns
    -------
    Match
        Distances, final objectives and objectives at the start, each (n, K), and latents
        (n, K, m).

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._latents import search_latents
    >>> axes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> match = search_latents(
    ...     lambda z: z @ axes, torch.tensor([[3.0, 4.0]]), [torch.zeros(2, 1, 1)]
    ... )
    >>> match.distance.round(decimals=3)
    tensor([[8.0000, 4.5000]])
    """
    chunk = max(1, max_elements // (starts[0].shape[0] * x.shape[1]))
    parts = [
        _search_chunk(
            decode,
            x[i : i + chunk],
            [start[:, i : i + chunk] for start in starts],
            distance,
            penalty,
            max_iter,
            options,
        )
        for i in range(0, len(x), chunk)
    ]
    return Match(*(torch.cat(entry) for entry in zip(*parts, strict=True)))


def _search_chunk(decode, x, starts, distance, penalty, max_iter, options):
    n_classes, n, m = starts[0].shape

    def objective(z, rows):
        value = distance(rows, decode(z))
        return value if penalty is None else value + penalty(z)

    def bind(index):
        """Problem ``k * n + i`` is class k, row i; classes are padded to equal size."""
        if len(index) == n_classes * n:
            return lambda z: objective(z.view(n_classes, n, m), x).flatten()
        label = index // n
        count = torch.bincount(label, minlength=n_classes)
        width = -(-int(count.max()) // ROW_BLOCK) * ROW_BLOCK
        offset = torch.cumsum(count, 0) - count
        place = label * width + torch.arange(len(index), device=x.device) - offset[label]
        rows = x.new_zeros(n_classes * width, x.shape[1])
        rows[place] = x[index % n]
        rows = rows.view(n_classes, width, -1)

        def function(z):
            padded = z.new_zeros(n_classes * width, m).index_copy(0, place, z)
            return objective(padded.view(n_classes, width, m), rows).flatten()[place]

        return function

    with torch.no_grad():
        best = starts[0]
        if len(starts) > 1:
            values = torch.stack([objective(start, x) for start in starts])
            choice = values.argmin(0)
            best = torch.stack(list(starts))[
                choice,
                torch.arange(n_classes, device=x.device)[:, None],
                torch.arange(n, device=x.device),
            ]
    found = minimize_batched(bind, best.reshape(-1, m), max_iter=max_iter, **options)
    z = found.z.view(n_classes, n, m)
    with torch.no_grad():
        final = distance(x, decode(z))
    return (
        final.T,
        found.value.view(n_classes, n).T,
        found.start_value.view(n_classes, n).T,
        z.transpose(0, 1),
    )
