"""What made rows must keep to: whole numbers, ranges, one-hot groups, fixed columns."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
import torch

KINDS: dict[str, Any] = {"integer": (), "range": {}, "one_hot": (), "fixed": {}}


class ColumnConstraints:
    """Moves rows to the nearest ones that keep to constraints, as :class:`GeValDi` has them."""

    def __init__(self, constraints, n_features, names=None):
        given = _given(constraints)
        self._places = {name: j for j, name in enumerate(() if names is None else names)}
        self._n_features = n_features
        ranges, fixed = (self._columns(given[kind]) for kind in ("range", "fixed"))
        whole = [self._place(column) for column in given["integer"]]
        self.groups = [list(map(self._place, group)) for group in given["one_hot"]]
        taken = Counter([*chain(*self.groups), *fixed, *{*ranges, *whole}])
        twice = [self._name(column) for column, count in taken.items() if count > 1]
        if twice:
            raise ValueError(
                f"Got constraints that say several things of the columns {twice}, but expected "
                "each in one group, fixed, or whole or in a range."
            )
        self.low, self.high = np.full((2, n_features), [[-np.inf], [np.inf]])
        ranges |= {column: (value, value) for column, value in fixed.items()}
        for column, (low, high) in ranges.items():
            self.low[column], self.high[column] = low, high
        self.integer = np.isin(np.arange(n_features), whole)
        self.low[whole] = np.ceil(self.low[whole])
        self.high[whole] = np.floor(self.high[whole])
        for column in np.flatnonzero(~(self.low <= self.high)):
            raise ValueError(
                f"Got constraints that leave no number to the column {self._name(column)!r}; "
                "expected low <= high, with a whole number between them where it is 'integer'."
            )

    def __call__(self, x):
        """The nearest rows (..., n_features); gradients pass as if nothing were moved."""
        if isinstance(x, np.ndarray):
            return self(torch.from_numpy(x)).numpy()
        low, high = self.low, self.high
        low, high = _inwards(low, high, x), _inwards(high, low, x)
        whole = torch.as_tensor(self.integer, device=x.device)
        moved = torch.where(whole, x.detach().round(), x.detach()).clamp(low, high)
        for group in self.groups:
            largest = x[..., group].detach().argmax(-1)
            moved[..., group] = torch.nn.functional.one_hot(largest, len(group)).to(x)
        # Not x + (moved - x), which rounds.
        return moved + (x - x.detach())

    def _columns(self, by_column):
        return {self._place(column): value for column, value in by_column.items()}

    def _name(self, column):
        return next((name for name, j in self._places.items() if j == column), int(column))

    def _place(self, column):
        if isinstance(column, Integral) and -1 < column < self._n_features:
            return int(column)
        if column in self._places:
            return self._places[column]
        raise ValueError(
            f"Got constraints of the column {column!r}, but expected one of "
            f"{[*self._places][:20] or f'0 to {self._n_features - 1}'}."
        )


def _inwards(bound, other, x):
    """A bound in the type of ``x``; the next number to the other where it is rounded away."""
    bound, other = torch.from_numpy(bound), torch.from_numpy(other)
    rounded = bound.to(x.dtype)
    is_outside = (rounded - bound) * (other - bound) < 0
    return torch.where(is_outside, rounded.nextafter(other.to(x.dtype)), rounded).to(x)


def _given(constraints):
    """All kinds of constraints; an error where these are no such dict."""
    given = KINDS | dict(constraints or {})
    if given.keys() - KINDS.keys():
        raise ValueError(
            f"Got constraints {sorted(map(str, given.keys() - KINDS.keys()))}, but expected "
            f"some of {sorted(KINDS)}."
        )
    for kind, default in KINDS.items():
        wanted = Mapping if isinstance(default, dict) else Iterable
        if not isinstance(given[kind], wanted) or isinstance(given[kind], str):
            said = "a dict by column" if wanted is Mapping else "a list of columns"
            said = "a list of groups of columns" if kind == "one_hot" else said
            raise ValueError(f"Got {kind}={given[kind]!r} in constraints, but expected {said}.")
    return given
