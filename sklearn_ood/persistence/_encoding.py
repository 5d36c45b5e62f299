"""Nodes: the one form in which a value is written and read.

A node is a JSON literal, or ``{"kind": ..., "id": ..., ...}`` with one of the given kinds. A
value that occurs twice is written once, and afterwards as ``{"kind": "same", "id": ...}``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sklearn_ood.persistence._names import Names, not_allowed, refusal

LITERALS = (type(None), bool, int, str, float)


class Kind(NamedTuple):
    """One kind of node: which values it holds, and how they are written and read."""

    holds: Callable[[Any], bool]
    write: Callable
    read: Callable


class Writer:
    """Turns values into nodes; the arrays gather in ``arrays``."""

    def __init__(self, kinds, own=()):
        self.kinds = kinds
        self.names = Names(own)
        self.arrays = {}
        self._seen = {}
        self._open = set()

    def node(self, value, where):
        """The node of a value; ``where`` is what errors call it."""
        if type(value) in LITERALS and not (type(value) is float and not math.isfinite(value)):
            return value
        key = _identity(value)
        if key in self._open:
            raise TypeError(f"Got {where}, which contains itself, but save needs a tree.")
        if key in self._seen:
            return {"kind": "same", "id": self._seen[key][0]}
        name = next((name for name, kind in self.kinds.items() if kind.holds(value)), None)
        if name is None:
            raise TypeError(refusal(value, where))
        number = len(self._seen)
        self._seen[key] = number, value
        self._open.add(key)
        fields = self.kinds[name].write(self, value, where)
        self._open.remove(key)
        return {"kind": name, "id": number, **fields}

    def nodes(self, values, where):
        return [self.node(value, f"{where}.{i}") for i, value in enumerate(values)]

    def state(self, attributes, where):
        return {name: self.node(value, f"{where}.{name}") for name, value in attributes.items()}

    def store(self, array, where):
        name = where if where not in self.arrays else f"{where} ({len(self.arrays)})"
        self.arrays[name] = array
        return name


class Reader:
    """Turns nodes into values; ``unread`` are the arrays not used so far."""

    def __init__(self, kinds, arrays, own=(), device="cpu"):
        self.kinds = kinds
        self.names = Names(own)
        self.device = device
        self.unread = dict(arrays)
        self._made = {}

    def value(self, node):
        if type(node) in LITERALS:
            return node
        kind = field(node, "kind", str)
        if kind == "same":
            if node.get("id") not in self._made:
                raise ValueError("Got a file that refers to a part that it does not hold.")
            return self._made[node["id"]]
        if kind not in self.kinds:
            raise ValueError(
                f"Got a file with a part of kind {kind!r}, but expected one of {[*self.kinds]}."
            )
        value = self._made[field(node, "id", int)] = self.kinds[kind].read(self, node)
        return value

    def instance(self, node, kind):
        value = self.value(node)
        if not isinstance(value, kind):
            raise ValueError(
                f"Got a file with a {type(value).__name__} where a {kind.__name__} should be."
            )
        return value

    def values(self, nodes):
        return [self.value(node) for node in nodes]

    def state(self, node):
        return {name: self.value(part) for name, part in field(node, "state", dict).items()}

    def of_class(self, node, base):
        """The class that a node names: an instance is made without a call of its own code."""
        found = self.names.find(field(node, "class", str))
        if not isinstance(found, type) or not issubclass(found, base):
            raise ValueError(not_allowed(node["class"]))
        return found


def field(node, name, kind):
    """A field of a node, of the right type, or an error."""
    value = node.get(name) if isinstance(node, dict) else None
    if not isinstance(value, kind):
        raise ValueError(
            f"Got a file whose part {str(node)[:80]} has no {name!r} of type {kind.__name__}."
        )
    return value


def _identity(value):
    if type(value) is np.ndarray and value.size:
        interface = value.__array_interface__
        return interface["data"], value.shape, value.strides, str(interface["descr"])
    return id(value)
