"""What is a torch module, as a part of a graph: networks, their features, scores of rows."""

import copy
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from sklearn_ood.detectors._linear import RowFunction
from sklearn_ood.export._builder import OPSETS
from sklearn_ood.export._comparison import TOLERANCE, package, run

# onnxruntime has them in float32 only.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)
LARGEST = torch.finfo(torch.float32).max


@contextmanager
def usual_torch():
    """torch's global state as it is by default, and afterwards as it was found."""
    dtype, on_cpu = torch.get_default_dtype(), torch.get_default_device().type == "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        # A device as a context slows everything down.
        with torch.inference_mode(False), nullcontext() if on_cpu else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


class InSingle(nn.Module):
    """A network's outputs for rows in double, which it takes in float32, as Python does.

    NaN where Python would refuse the row, whatever a network makes of it.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.type = copy.deepcopy(network), torch.float32

    def forward(self, rows):
        """Outputs in double."""
        scaling, network = _scaling_and_network(self.network)
        single = rows.clamp(-LARGEST, LARGEST).float() if scaling is None else scaling(rows)
        outputs = network(single.to(self.type)).double()
        return outputs + ((rows * 0).sum(dim=1) + (single * 0).sum(dim=1).double())[:, None]


class Answering(nn.Module):
    """Log-probabilities and score of rows, by a network and its head."""

    def __init__(self, scored):
        super().__init__()
        self.is_plain = isinstance(scored.network, RowFunction)
        self.network = scored.network if self.is_plain else InSingle(scored.network)
        self.head = scored.head

    def forward(self, rows):
        """Log-probabilities (n, n_classes), score (n,) and evidence (n, n_classes)."""
        outputs = self.network(rows)
        evidence, score = self.head(outputs)
        # A maximum over classes passes by what is NaN.
        return self.head.log_proba(outputs), score + (rows * 0).sum(dim=1), evidence


def _scaling_and_network(network):
    """What makes float32 rows of float64 ones, if it is there, and what takes these."""
    scales = isinstance(network, nn.Sequential) and hasattr(network[0], "center")
    return (network[0], network[1]) if scales else (None, network)


def convert(module, *widths, name):
    """A module of rows of these widths as a model, in double where onnxruntime can.

    Parameters
    ----------
    module : nn.Module
        Takes tensors in float64.
    *widths : int
    name : str
        What it is, for errors.

    Returns
    -------
    onnx.ModelProto
    """
    package("onnxscript")  # torch.onnx needs it
    module = copy.deepcopy(module).cpu().eval()
    rows = [torch.randn(5, width, generator=torch.Generator()).double() for width in widths]
    has_convolutions = any(isinstance(each, CONVOLUTIONS) for each in module.modules())
    try:
        if has_convolutions:
            return _exported(module, rows)
        double = copy.deepcopy(module).double()
        for each in double.modules():
            if isinstance(each, InSingle):
                each.type = torch.float64
        try:
            return _in_short(_exported(double, rows))
        except Exception:  # of torch.onnx or of onnxruntime: another operator of float32 only
            return _exported(module, rows)
    except Exception as error:
        raise TypeError(
            f"Got {name}, which torch.onnx cannot export for any number of rows; write its "
            "forward with tensor operations alone, and with x.shape[0] in place of len(x): "
            f"{error}"
        ) from error


def _exported(module, rows):
    """torch's own export, which must take another number of rows than its trace."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            module,
            tuple(part[:2] for part in rows),
            opset_version=OPSETS[""],
            dynamic_shapes=tuple({0: torch.export.Dim("n")} for _ in rows),
            verbose=False,
        )
    model = program.model_proto
    names = [each.name for each in model.graph.input]
    given = run(model, dict(zip(names, (part.numpy() for part in rows), strict=True)))
    with torch.no_grad():
        expected = module(*rows)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for values, wanted in zip(given, expected, strict=True):
        np.testing.assert_allclose(values, wanted.numpy(), rtol=TOLERANCE, atol=TOLERANCE)
    return model


def _in_short(model):
    """A graph in double with its weights in float32, which holds them as they are."""
    onnx, kept = package("onnx"), []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            short = values.astype(np.float32) if values.dtype == np.float64 else values
        if values.dtype == np.float64 and values.size > 1 and (short == values).all():
            kept.append(onnx.numpy_helper.from_array(short, f"{tensor.name}/float"))
            wide = {"to": onnx.TensorProto.DOUBLE}
            cast = onnx.helper.make_node("Cast", [kept[-1].name], [tensor.name], **wide)
            model.graph.node.insert(0, cast)
        else:
            kept.append(tensor)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
