"""Search of latent vectors, for all rows and all classes together.

Classifying ``n`` rows with ``K`` generators asks for the nearest generation of every
class to every row: ``n * K`` small, independent minimisations over the same decoders.
One after the other, each of them pays the full cost of reading the decoder's weights; in
one batch the cost is that of a few matrix products. The functions here know nothing of
labels or estimators: they take torch tensors, modules and callables.
"""

from typing import NamedTuple

import torch

from sklearn_ood.search._lbfgs import minimize_batched

# Matrix products round alike for whole blocks of rows: a row's path must not depend on how
# many others are still searched.
ROW_BLOCK = 16
# The search moves freely; a uniform latent is the tanh of what moves.
EDGE = 1 - 1e-4


class Match(NamedTuple):
    """The nearest generation of every class to every row."""

    distance: torch.Tensor
    objective: torch.Tensor
    start_objective: torch.Tensor
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
    """Rows that have a class each, laid out as one block a class, all of one width.

    Parameters
    ----------
    class_index : long tensor of shape (n,)
    n_classes : int
    multiple_of : int, default=1
        The width is a multiple of it.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._latents import ClassBlocks
    >>> blocks = ClassBlocks(torch.tensor([1, 0, 1]), 2)
    >>> blocks.pad(torch.tensor([[1.0], [2.0], [3.0]]))[..., 0].tolist()
    [[2.0, 0.0], [1.0, 3.0]]
    """

    def __init__(self, class_index, n_classes, multiple_of=1):
        order = torch.argsort(class_index, stable=True)
        label = class_index[order]
        count = torch.bincount(class_index, minlength=n_classes)
        width = -(-int(count.max()) // multiple_of) * multiple_of
        rank = torch.arange(len(order), device=order.device)
        rank = rank - (torch.cumsum(count, 0) - count)[label]
        self.place = torch.empty_like(order)
        self.place[order] = label * width + rank
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
    """Apply a function of blocks (K, c, p) -> (K, c, q) to rows that have a class each.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.search._latents import by_class
    >>> scale = torch.tensor([1.0, 10.0]).view(2, 1, 1)
    >>> by_class(lambda x: scale * x, torch.ones(3, 1), torch.tensor([1, 0, 1]), 2)[:, 0]
    tensor([10.,  1., 10.])
    """
    blocks = ClassBlocks(class_index, n_classes)
    return blocks.rows(function(blocks.pad(rows)))


def nearest_in_bank(x, bank, *, max_elements=2**26):
    """Index of each row's nearest generation in L2, for every class.

    Parameters
    ----------
    x : tensor of shape (n, d)
    bank : tensor of shape (K, b, d)
        ``b`` generations of each class.
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
    parts = []
    for rows in x.split(max(1, max_elements // len(flat))):
        inner = torch.addmm(half_norm, rows, flat.T, beta=-1)
        best = inner.view(len(rows), n_classes, n_bank).max(2)
        squared = rows.square().sum(1) - 2 * best.values.T
        parts.append((best.indices.T, squared.clamp_min(0) / d))
    index, distance = (torch.cat(part, 1) for part in zip(*parts, strict=True))
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

    Minimises ``distance(x, decode(z)) + penalty(z)`` over z, from the best of ``starts``.

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
    penalty : callable, default=None
        Maps (K, c, m) to (K, c): minus the weighted log prior.
    max_iter : int >= 0, default=50
        L-BFGS steps; 0 takes the best start as it is.
    max_elements : int, default=2**24
        Largest number of generated values held at once; bounds the memory.
    **options : dict
        Passed to ``minimize_batched``.

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

    def objective(z, rows):
        value = distance(rows, decode(z))
        return value if penalty is None else value + penalty(z)

    chunk = max(1, max_elements // (starts[0].shape[0] * x.shape[1]))
    parts = []
    for rows, *begin in zip(x.split(chunk), *(s.split(chunk, 1) for s in starts), strict=True):
        found = _minimum_of_each_class(objective, rows, begin, max_iter=max_iter, **options)
        with torch.no_grad():
            reached = distance(rows, decode(found.z))
        parts.append((reached.T, found.value.T, found.start_value.T, found.z.transpose(0, 1)))
    return Match(*(torch.cat(entry) for entry in zip(*parts, strict=True)))


def _minimum_of_each_class(objective, x, starts, **options):
    """Minimise ``objective(z, x)`` over (K, n, m) latents; problem ``k * n + i`` is row i."""
    n_classes, n, m = starts[0].shape

    def bind(index):
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
    return found._replace(
        z=found.z.view(n_classes, n, m),
        value=found.value.view(n_classes, n),
        start_value=found.start_value.view(n_classes, n),
    )


def match(core, x, distance, *, guess=None, bank=None, penalty=0.0, max_iter=0):
    """The nearest generation of every class to every row.

    Parameters
    ----------
    core : Core
        Has ``decode``, from latents (K, c, m) to generations (K, c, d), and a ``prior``.
    x : tensor of shape (n, d)
    distance : callable
        ``distance(x, generated)`` reduces the last axis.
    guess : callable, default=None
        Maps ``x`` to latents (K, n, m): the answer itself where it is a closed form, or an
        encoder's; a start where there are L-BFGS steps.
    bank : tuple of arrays of shapes (K, b, m) and (K, b, d), default=None
        Further starts: latents and their generations, of which the nearest is taken.
    penalty : float or array of shape (K,), default=0.0
        Weight of the squared length of a latent beside the distance; a uniform prior has
        none.
    max_iter : int >= 0, default=0
        L-BFGS steps.

    Returns
    -------
    distance : tensor of shape (n, K)
    z : tensor of shape (n, K, m)
    """
    starts = [] if guess is None else [guess(x)]
    if bank is None and not max_iter:
        (z,) = starts
        return distance(x, core.decode(z)).T, z.transpose(0, 1)
    if bank is not None:
        latents, generations = (torch.as_tensor(part, device=x.device) for part in bank)
        index, _ = nearest_in_bank(x, generations)
        starts.append(torch.take_along_dim(latents, index[:, :, None], dim=1))
    in_box = core.prior == "uniform"
    weight = torch.as_tensor(penalty, dtype=x.dtype, device=x.device)[..., None]

    def inside(z):
        return torch.tanh(z) if in_box else z

    found = search_latents(
        lambda z: core.decode(inside(z)),
        x,
        [torch.atanh(z.clamp(-EDGE, EDGE)) if in_box else z for z in starts],
        distance=distance,
        penalty=None if in_box else lambda z: weight * z.square().sum(-1),
        max_iter=max_iter,
    )
    return found.distance, inside(found.z)
