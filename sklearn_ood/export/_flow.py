"""Rows on their way through a graph: tensors, and what ONNX alone can make of them."""

import copy
from dataclasses import dataclass, field, replace
from importlib import resources

import numpy as np
import torch
from torch.nn.modules.conv import _ConvNd

from sklearn_ood.export._comparison import LARGE, package, run

# Operators of this domain stand for models that are put in their place.
DOMAIN = "sklearn"
LARGEST = torch.finfo(torch.float32).max


@dataclass
class Parts:
    """What a graph is made of beside tensor operations; found when rows first pass."""

    # Of numbers (n, d) to numbers (n, m), in the order of their names.
    models: dict = field(default_factory=dict)
    # What was made once for each key.
    kept: dict = field(default_factory=dict)
    copies: dict = field(default_factory=dict)
    doubles: dict = field(default_factory=dict)
    # The classes of those that are copied; computed in float32, as in Python.
    networks: set = field(default_factory=set)
    is_single: bool = True

    def once(self, key, make):
        """What ``make`` gives for a key at first: nothing is made while a graph is traced."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def on_cpu(self, estimator, name):
        """A copy of a module that an estimator holds; of a network that several share one."""

        def copied():
            return copy.deepcopy(getattr(estimator, name), self.copies).cpu().eval()

        return self.once((id(estimator), name), copied)

    def in_double(self, network):
        key = id(network), "double"
        return self.once(key, lambda: copy.deepcopy(network, self.doubles)).double()


@dataclass(frozen=True)
class Flow:
    """Rows in a graph, in float64: NaN is a missing cell, infinite a row that is refused."""

    values: torch.Tensor
    parts: Parts
    # Of each column of text those known, whose places are its values, -1 of others; or None.
    texts: list

    def to(self, values):
        return replace(self, values=values, texts=[None] * values.shape[1])

    def refused(self, *, allow_nan):
        """Which rows are infinite, or have NaN where that is not allowed."""
        values = self.values
        refused = values.abs() == torch.inf  # of what is beyond float32 graphs say isinf
        return (refused if allow_nan else refused | values.isnan()).any(dim=1)

    def guarded(self, values, *, allow_nan=False):
        """What is made of these rows, infinite where they are refused."""
        refused = self.refused(allow_nan=allow_nan)
        return self.to(torch.where(refused[:, None], torch.inf, values))

    def select(self, places):
        texts = [self.texts[place] for place in places]
        return replace(self, values=self.values[:, torch.as_tensor(places)], texts=texts)

    def places(self, column, categories):
        """Values of a column that stand for categories, as an array."""
        texts = self.texts[column]
        if texts is None:
            try:
                return np.asarray(categories, dtype=np.float64)
            except ValueError as error:
                raise TypeError(
                    f"Got text in fit, such as {categories[0]!r}, but no rows with text to try "
                    "the graph on; pass some rows of the table as X, a frame of pandas."
                ) from error
        place = {text: code for code, text in enumerate(texts)}
        found = [place.setdefault(str(each), len(place)) for each in categories]
        texts += [*place][len(texts) :]
        return np.array(found, dtype=np.float64)

    def by_model(self, key, make):
        """What a model makes of these rows: an array of doubles, (n, m)."""
        models, kept = self.parts.models, self.parts.kept
        if torch.compiler.is_exporting():
            name, shape = f"part{list(models).index(key)}", (self.values.shape[0], kept[key])
            about = {"dtype": torch.float64, "shape": shape, "version": 1}
            return torch.onnx.ops.symbolic(f"{DOMAIN}::{name}", [self.values], **about)
        if key not in models:
            models[key] = make()
        (made,) = run(models[key], {"rows": self.values.numpy()})
        kept[key] = made.shape[1]
        return tensor(made)

    def by_network(self, network):
        """Outputs of a network, in double if ONNX can; NaN where Python refuses the row."""
        parts, rows = self.parts, self.values
        is_scaled = isinstance(network, torch.nn.Sequential) and hasattr(network[0], "center")
        inner = network[1] if is_scaled else network
        parts.networks.add(type(getattr(inner, "network", inner)).__name__)
        single = network[0](rows) if is_scaled else clipped(rows, LARGEST).float()
        is_valid = (single.isfinite() & rows.isfinite()).all(dim=1)[:, None]
        # onnxruntime has convolutions in float32 only.
        if parts.is_single or any(isinstance(each, _ConvNd) for each in inner.modules()):
            # Layers that normalise square what they get.
            outputs, largest = inner(single), single.abs().amax(dim=1, keepdim=True)
            is_valid = is_valid & (largest <= LARGE)
        else:
            outputs = parts.in_double(inner)(single.double())
        return torch.where(is_valid, outputs.double(), torch.nan)


def tensor(values):
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def clipped(values, most):
    """Numbers of at most a size, and what is NaN."""
    values = torch.where(values > most, most, values)
    return torch.where(values < -most, -most, values)


def places_in(known, cells):
    """Place of each cell (n,) among some numbers; of others, and of NaN, how many there are."""
    found, last = cells[:, None] == tensor(known), len(known)
    place = found.double() @ torch.arange(last).double()
    return torch.where(found.any(dim=1), place.long(), last)


def onnx_of(name, **arrays):
    """A model in ONNX's own text, a file beside the code, with its constants."""
    onnx = package("onnx")
    text = resources.files(__package__).joinpath(f"{name}.txt").read_text()
    model = onnx.parser.parse_model(text)
    for key, value in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), key))
    return model
