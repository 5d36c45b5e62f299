"""Matrix products of many rows that compute each alike, whatever is beside it."""

import torch
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

# Matrix products take another path for fewer rows than a register block, and for rows that
# begin elsewhere in a cache line, which changes the last bits: batches and layers are padded to
# a multiple of this, so that a row's outputs do not depend on the rows beside it.
ROW_BLOCK = 16


class Mode(TorchFunctionMode):
    """A mode of torch's functions that may be left though an interrupt has removed it."""

    def __exit__(self, *error):
        if self in _get_current_function_mode_stack():
            super().__exit__(*error)


class AlignedProducts(Mode):
    """A context in which matrix products compute each row alike, whatever is beside it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        by_name = kwargs and func is not linear
        return (func if by_name else ALIGNED.get(func, func))(*args, **(kwargs or {}))


def _aligned_linear(inputs, weight, bias=None):
    """``inputs @ weight.T + bias``, its matrices padded with zeros to whole blocks."""
    (n_outputs, n_inputs), rows = weight.shape, inputs.reshape(-1, weight.shape[1])
    more_rows, more, wider = (-size % ROW_BLOCK for size in (len(rows), n_outputs, n_inputs))
    if more or wider:
        weight = pad(weight, (0, wider, 0, more))
        bias = None if bias is None else pad(bias, (0, more))
    if more_rows or wider:
        rows = pad(rows, (0, wider, 0, more_rows))
    outputs = linear(rows, weight, bias)
    return outputs[: len(rows) - more_rows, :n_outputs].reshape(*inputs.shape[:-1], n_outputs)


def _aligned_bmm(left, right):
    """Products of two batches of matrices, padded so."""
    (n_rows, n_inputs), n_outputs = left.shape[1:], right.shape[2]
    more_rows, wider, more = (-size % ROW_BLOCK for size in (n_rows, n_inputs, n_outputs))
    if wider or more:
        right = pad(right, (0, more, 0, wider))
    if more_rows or wider:
        left = pad(left, (0, wider, 0, more_rows))
    return torch.bmm(left, right)[:, :n_rows, :n_outputs]


def _aligned_matmul(left, right):
    is_plain = right.dim() == 2 <= left.dim()
    return _aligned_linear(left, right.T) if is_plain else torch.matmul(left, right)


ALIGNED = {
    linear: _aligned_linear,
    torch.bmm: _aligned_bmm,
    **dict.fromkeys(
        (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__), _aligned_matmul
    ),
}
