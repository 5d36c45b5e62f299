"""A graph that grows part by part, in which what is equal is kept once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_ood.export._comparison import package

# The newest operators that both torch's and scikit-learn's converters write.
OPSETS = {"": 18, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Flow:
    """Rows somewhere in a graph.

    Attributes
    ----------
    tensor : str or dict
        Their name there, of shape (n, n_features); of a table with text one for each column.
    rows : ndarray or frame
        Rows to try parts on, as Python has them there.
    """

    tensor: str
    rows: Any


class GraphBuilder:
    """Parts that read each other's outputs, from the inputs on.

    Attributes
    ----------
    refusals : list of str
        Tensors (n,) that are NaN where Python refuses the row, else 0.
    """

    def __init__(self):
        self.onnx = package("onnx")
        self.proto, self._n_parts = self.onnx.GraphProto(name="sklearn_ood"), 0
        self._outputs, self.refusals = {}, []

    def append(self, model, *sources):
        """Add a part that reads tensors, of whatever type, and return its outputs' names."""
        part = self.onnx.compose.add_prefix(model, f"part{self._n_parts}/").graph
        self._n_parts += 1
        for source, wanted in zip(sources, part.input, strict=True):
            to = wanted.type.tensor_type.elem_type
            cast = self.onnx.helper.make_node("Cast", [source], [wanted.name], to=to)
            self.proto.node.append(cast)
        self.proto.node.extend(part.node)
        self.proto.initializer.extend(part.initializer)
        return [each.name for each in part.output]

    def append_text(self, text, *sources, **arrays):
        """Add a part in ONNX's own text, whose constants are arrays."""
        return self.append(written(text, **arrays), *sources)

    def append_joined(self, parts):
        """Tensors (n, d), side by side."""
        names = [f"part{k}" for k in range(len(parts))]
        given = ", ".join(f"double[n, d{k}] {name}" for k, name in enumerate(names))
        joined = f"out = Concat<axis = 1>({', '.join(names)})"
        text = f"part ({given}) => (double[n, d] out) {{ {joined} }}"
        return self.append_text(text, *parts)[0]

    def append_columns(self, columns):
        """Tensors (n,), side by side."""
        names = [f"column{k}" for k in range(len(columns))]
        given = ", ".join(f"double[n] {name}" for name in names)
        wide = [f"{name}_ = Unsqueeze({name}, axis)" for name in names]
        joined = f"out = Concat<axis = 1>({', '.join(f'{name}_' for name in names)})"
        text = f"part ({given}) => (double[n, m] out) {{ {' '.join([*wide, joined])} }}"
        return self.append_text(text, *columns, axis=np.array([1]))[0]

    def add_input(self, name, kind, shape):
        """Add an input of the graph."""
        value = self.onnx.helper.make_tensor_value_info(name, kind, shape)
        self.proto.input.append(value)

    def add_output(self, name, tensor, kind, shape):
        """Give a tensor out by a name."""
        value = self.onnx.helper.make_tensor_value_info(name, kind, shape)
        self.proto.output.append(value)
        self._outputs[name] = tensor

    def model(self, **properties):
        """The graph, checked."""
        helper, names = self.onnx.helper, merge(self.proto)
        for name, tensor in self._outputs.items():
            given = names.get(tensor, tensor)
            self.proto.node.append(helper.make_node("Identity", [given], [name]))
        model = helper.make_model(
            self.proto,
            opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS.items()],
            ir_version=8,
            **properties,
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model


def written(text, **arrays):
    """A model in ONNX's own text, beside its constants."""
    onnx = package("onnx")
    opsets = ", ".join(f'"{domain}": {version}' for domain, version in OPSETS.items())
    header = f"<ir_version: 8, opset_import: [{opsets}]>\n"
    model = onnx.parser.parse_model(header + text)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(values), name)
        for name, values in arrays.items()
    )
    return model


def merge(graph):
    """Keep one of equal constants and of equal nodes: parts share a network, or a reading.

    Returns what each tensor that is left out is called now.
    """
    kept, names = {}, {}
    for tensor in graph.initializer:
        content = tensor.data_type, tuple(tensor.dims), _content(tensor)
        names[tensor.name] = kept.setdefault(content, tensor).name
    first = list(kept.values())
    nodes, made = [], {}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        attributes = sorted(each.SerializeToString() for each in node.attribute)
        content = node.op_type, node.domain, tuple(node.input), tuple(attributes)
        # An output that is not asked for has no name.
        content = *content, tuple(bool(name) for name in node.output)
        same = made.setdefault(content, node)
        if same is node:
            nodes.append(node)
        names.update(zip(node.output, same.output, strict=True))
    used = {name for node in nodes for name in node.input}
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensor for tensor in first if tensor.name in used)
    graph.node.extend(nodes)
    return names


def _content(tensor):
    return package("onnx").numpy_helper.to_array(tensor).tobytes()
