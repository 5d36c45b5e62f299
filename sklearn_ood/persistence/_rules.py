"""The rules of ``rules.txt``, applied to plain data: arrays, literals, shadows of objects."""

import json
from collections import defaultdict
from importlib import resources
from operator import itemgetter
from string import Formatter

import numpy as np


def table(name):
    """The lines of a table beside the code."""
    lines = resources.files(__package__).joinpath(name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def inner(nodes):
    """The nodes of a tree that are no leaves."""
    is_boosted = "is_leaf" in nodes.dtype.names
    return nodes[nodes["is_leaf"] == 0 if is_boosted else nodes["left_child"] != -1]


def depth(nodes):
    """The longest way from the first node; infinite if not one way leads to each other."""
    children = [name for name in nodes.dtype.names if name.startswith(("left", "right"))]
    level, n_seen, n_levels = nodes[:1], 0, 0
    while len(level) and n_seen < len(nodes):
        n_seen, n_levels, parents = n_seen + len(level), n_levels + 1, inner(level)
        level = nodes[np.concatenate([parents[name] for name in children])]
    return n_levels - 1 if n_seen == len(nodes) and not len(level) else np.inf


def has_columns_for_codes(encoder):
    """Whether the columns of one-hot codes are as many as the codes of each feature need."""
    nothing, is_grouped = [None] * len(encoder["categories_"]), encoder["_infrequent_enabled"]
    groups = encoder["_default_to_infrequent_mappings"] if is_grouped else nothing
    rare = encoder["_infrequent_indices"] if is_grouped else nothing
    drops = encoder["_drop_idx_after_grouping"]
    lists = groups, rare, nothing if drops is None else drops, encoder["_n_features_outs"]
    return all(
        inside(range(len(known)) if group is None else group, n + (drop is not None)).all()
        and inside(0 if drop is None else drop, n + 1)
        and (group is None) == (few is None)
        for known, group, few, drop, n in zip(encoder["categories_"], *lists, strict=True)
    )


def inside(indices, stop):
    """Which indices are at least 0 and below ``stop``."""
    return np.less_equal(0, indices) & np.less(indices, stop)


FUNCTIONS = {
    "len": len,
    "codes": lambda words: list(words.values()),
    "ends": lambda merges: len(merges) + 1 + np.arange(len(merges)),
    "n_pairs": lambda items: len(items) * (len(items) - 1) // 2,
    "n_layers": lambda net: (np.size(net["hidden_layer_sizes"]) + 1) * net.get("n_classes_", 1),
    "n_in_stages": lambda stages: [len(stage) for stage in stages],
    "n_features": lambda trees: [tree.n_features_in_ for tree in np.hstack(trees)],
    "all_nodes": lambda trees: np.concatenate([tree.nodes for tree in np.hstack(trees)]),
    "by_set": lambda nodes: nodes[nodes["is_categorical"] != 0],
    "by_number": lambda nodes: nodes[nodes["is_categorical"] == 0],
    "inner": inner,
    "depth": depth,
    "has_columns_for_codes": has_columns_for_codes,
}
COMPARISONS = {
    " == ": np.array_equal,
    " != ": np.not_equal,
    " <= ": np.less_equal,
    " inside ": inside,
    " in ": np.isin,
}
RULES: dict[str, list[str]] = defaultdict(list)
for line in table("rules.txt"):
    key, rule = line.split(": ")
    RULES[key].append(rule)


def side(text, state):
    """What one side of a comparison says of an object's state."""
    try:
        return json.loads(text)
    except ValueError:
        path, *steps = text.split()
        value, _ = Formatter().get_field(path, (), state)
        for name in steps:
            value = (FUNCTIONS.get(name) or getattr(np, name, itemgetter(name)))(value)
        return value


def holds(comparison, state):
    """Whether two sides compare as they must, each item of them."""
    sign = next(sign for sign in COMPARISONS if sign in comparison)
    left, right = (side(text, state) for text in comparison.split(sign))
    return np.all(COMPARISONS[sign](left, right))


def broken_rule(kind, state):
    """The first rule that a state breaks; None if it keeps all."""
    known = defaultdict(lambda: None, state | {"self": state})
    given = [f"{name}?" for name, value in state.items() if value is not None]
    for key in (kind, *state, *given):
        for rule in RULES.get(key, ()):
            if not any(holds(comparison, known) for comparison in rule.split(" or ")):
                return rule
    return None
