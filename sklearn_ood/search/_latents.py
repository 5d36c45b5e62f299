"""Search of latent vectors, for all rows and all classes together: tensors and callables."""

from typing import NamedTuple

import torch

from sklearn_ood.search._lbfgs import minimize_batched

# Matrix products round alike for whole blocks of rows: a row's path must not depend on how
# many others are still searched.
ROW_BLOCK = 16
# Where latents of these priors end. The search moves freely: they are the tanh of what moves.
BOUNDS = {"uniform": 1.0, "truncated_normal": 2.0}
EDGE = 1 - 1e-4
# Held at once.
MAX_DISTANCES = 2**25


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
