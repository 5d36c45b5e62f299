"""The density of a table's numbers, of which some may be missing."""

import numpy as np
import torch

from sklearn_ood.detectors._table_density import from_squares
from sklearn_ood.export._flow import with_constants
from sklearn_ood.generators import PCAGenerator

# Row by row, or memory would be their number times that of the covariances. Those of what is
# seen are bordered by the differences; eliminated, the corner is minus the square.
SQUARES = """
squares (double[n, d] rows) => (double[n, m] out) {
    out = Scan <num_scan_inputs = 1, body = one (double[d] row) => (double[m] square) {
        missing = IsNaN(row)
        seen = Not(missing)
        down = Unsqueeze(seen, last)
        both = And(down, seen)
        known = Where(both, covariances, eye)
        away = Sub(row, means)
        filled = Where(missing, zero, away)
        column = Unsqueeze(filled, last)
        wide = Concat <axis = 2> (known, column)
        longer = Concat <axis = 1> (filled, corner)
        border = Unsqueeze(longer, middle)
        bordered = Concat <axis = 1> (wide, border)
        lost = Cast <to = 6> (missing)
        n_lost = ReduceMax <keepdims = 0> (lost)
        is_needed = Cast <to = 9> (n_lost)
        eliminated = Loop <body = step (int64 place, bool go, double[m, e, e] before)
            => (bool goes, double[m, e, e] after) {
            goes = Identity(go)
            places = Unsqueeze(place, first)
            line = Gather <axis = 1> (before, places)
            side = Gather <axis = 2> (before, places)
            pivot = Gather <axis = 2> (line, places)
            scaled = Div(line, pivot)
            change = Mul(side, scaled)
            after = Sub(before, change)
        }> (n_columns, is_needed, bordered)
        at_end = Gather <axis = 1> (eliminated, n_columns)
        corners = Gather <axis = 1> (at_end, n_columns)
        square = Neg(corners)
    }> (rows)
}
"""


def log_density(generator, flow):
    """Log densities (n, K) under a fitted generator, as :class:`TableDensity` has them."""
    rows, core = (
        flow.values,
        flow.parts.once(id(generator), lambda: flow.parts.on_cpu(generator.core_)),
    )
    complete = core.log_density(rows.nan_to_num(0.0))
    if isinstance(generator, PCAGenerator):
        return complete
    centred = flow.to((rows - core.centre) / core.scale)
    squares = centred.by_model((id(generator), "squares"), lambda: _squares(core))
    squares = squares.reshape(-1, *core.weights.shape)
    missing = rows.isnan()
    some = from_squares(core, ~missing, squares)
    return torch.where(missing.any(dim=1, keepdim=True), some, complete)


def _squares(core):
    """Squared lengths (n, K W) of what is seen, in the units of each component."""
    d, eye = core.n_features, torch.eye(core.n_features).double()
    covariances = core.covariance_root @ core.covariance_root.mT
    is_used = (core.weights > 0)[..., None, None]  # the others are padding
    covariances = torch.where(is_used, covariances, eye).reshape(-1, d, d)
    return with_constants(
        SQUARES,
        covariances=covariances.numpy(),
        means=core.means.reshape(-1, d).numpy(),
        eye=eye.numpy(),
        corner=np.zeros((len(covariances), 1)),
        zero=0.0,
        n_columns=d,
        first=[0],
        middle=[1],
        last=[-1],
    )
