"""Batches of rows, on the device that a network is on; its outputs and gradients on them."""

from contextlib import ExitStack, nullcontext, suppress
from copy import deepcopy
from functools import wraps
from itertools import chain
from threading import RLock
from traceback import clear_frames

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, pad
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)
from torch.utils.data import Dataset

from sklearn_ood._parameters import called
from sklearn_ood._threads import one_loop_if
from sklearn_ood.data._blocks import PagedRows, is_mapped, take_rows

# Matrix products take another path for fewer rows than a register block, and for rows that
# begin elsewhere in a cache line, which changes the last bits: batches and layers are padded to
# a multiple of this, so that a row's outputs do not depend on the rows beside it.
ROW_BLOCK = 16
FLOATS_PER_BATCH, MAX_ROWS_PER_BATCH = 2**21, 4096
# On a GPU a number of a row takes so many bytes with what the layers make of it, and more rows
# at once are faster; what is no wider stays there until all is copied back at once.
BYTES_OF_A_FLOAT, MAX_ROWS_ON_A_GPU, NARROW = 1024, 2**16, 1024


# Held while the state of torch's global generator is another's, for one function.
LENDING = RLock()


def undisturbed(function):
    """A function without torch's modes, which it leaves as they were, also on interrupts."""

    @wraps(function)
    def runs(*args, **kwargs):
        found, with_gradients = _get_current_function_mode_stack(), torch.is_grad_enabled()
        try:
            on_cpu = torch.get_default_device().type == "cpu"
            with ExitStack() as stack:
                stack.enter_context(one_loop_if(False))
                stack.enter_context(torch.inference_mode(False))
                if not on_cpu:
                    stack.enter_context(torch.device("cpu"))
                for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
                    stack.enter_context(torch.autocast(kind, enabled=False))
                return function(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            clear_frames(interrupt.__traceback__)  # what is half left ends now, not later
            raise
        finally:
            if _get_current_function_mode_stack() != found:
                while _get_current_function_mode_stack():
                    _pop_mode()
                for mode in found:
                    _push_mode(mode)
            with suppress(RuntimeError):  # where it is not held, as it should be
                LENDING.release()
            torch.set_grad_enabled(with_gradients)

    return runs


@undisturbed
@torch.no_grad()
def map_batches(function, rows, *, device="cpu", max_rows=None, is_aligned=False):
    """Join what ``function`` makes of batches, tensors on ``device``, without gradients."""
    device = torch.device(device)
    size = max_rows or rows_per_batch(rows.shape[1], device)
    size = max(ROW_BLOCK, size // ROW_BLOCK * ROW_BLOCK)
    rows = PagedRows(rows) if is_mapped(rows) else rows
    parts, start = [], 0
    while start < len(rows):
        stop = min(start + size, len(rows))
        batch = take_batch(rows, slice(start, stop), device)
        try:
            batch = _pad(batch)
            with nullcontext() if is_aligned else AlignedProducts():
                results = function(batch)
        except torch.OutOfMemoryError:
            if size == ROW_BLOCK:
                raise
            size = max(ROW_BLOCK, size // 2 // ROW_BLOCK * ROW_BLOCK)
            continue
        results = results if isinstance(results, tuple) else (results,)
        parts.append([_kept(result[: stop - start].detach()) for result in results])
        start = stop
    joined = tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return joined if len(joined) > 1 else joined[0]


def _kept(result):
    """Where it was computed, if it is narrow, else in host memory."""
    return result if result[0].numel() <= NARROW else result.cpu()


def forward(net, rows):
    """Outputs of the trained net for flat rows: float64, of shape (n_samples, n_outputs)."""
    return evaluate(net, lambda module, batch: module(batch), rows).astype(np.float64)


def evaluate(net, read, rows, max_rows=None):
    """What ``read(module, batch)`` gives for all rows; again in float64 where it overflows."""

    def by(module, rows, dtype):
        where = {"device": net.device, "max_rows": max_rows}
        return map_batches(lambda batch: read(module, batch.to(dtype)), rows, **where)

    outputs = by(net.module_, rows, torch.float32)
    overflown = ~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    if not overflown.any():
        return outputs
    outputs = outputs.astype(np.float64)
    try:
        double = deepcopy(net.module_).double()
        outputs[overflown] = by(double, take_rows(rows, overflown), torch.float64)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of a network that makes numbers in float32 itself
        pass
    if np.isfinite(outputs).all():
        return outputs
    raise ValueError(
        f"Got NaN or infinite outputs from the network for some of {overflown.sum()} rows; "
        "scale them as the rows that it was trained on, or look for NaN among its weights."
    )


def class_gradients(net, rows, class_logits, *, guided=False):
    """Gradient of the largest class's logit, for each row: float64, of the rows' shape."""
    module = guided_copy(net.module_) if guided else net.module_

    @torch.enable_grad()
    def gradients(batch):
        batch = batch.detach().requires_grad_()
        top = class_logits(module(batch)).max(dim=1).values
        return torch.autograd.grad(top.sum(), batch)[0]

    return map_batches(gradients, rows, device=net.device).astype(np.float64)


def guided_copy(module):
    """A copy of the module in which only positive gradients pass every ``nn.ReLU``."""
    module = deepcopy(module)
    relus = [layer for layer in module.modules() if isinstance(layer, nn.ReLU)]
    if not relus:
        raise ValueError("Got guided=True for a net without nn.ReLU modules; use guided=False.")
    for relu in relus:
        relu.inplace = False  # hooks see copies
        relu.register_full_backward_hook(lambda _, passed, __: (passed[0].clamp(min=0),))
    return module


def odin_rows(net, rows, score, epsilon):
    """Rows moved a step towards a higher score (Liang et al., 2018, eq. 2)."""
    epsilon = torch.as_tensor(epsilon, dtype=torch.float32, device=net.device)

    @torch.enable_grad()
    def shifted(batch):
        batch = batch.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(net.module_(batch).double()).sum(), batch)
        return batch.detach() + epsilon * gradient.nan_to_num(nan=0.0).sign()

    return map_batches(shifted, rows, device=net.device)


def rows_per_batch(n_features, device="cpu"):
    """How many rows of this width are evaluated at once, by the free memory of a GPU."""
    floats, most = FLOATS_PER_BATCH, MAX_ROWS_PER_BATCH
    if torch.device(device).type == "cuda":
        floats = torch.cuda.mem_get_info(device)[0] // BYTES_OF_A_FLOAT
        most = MAX_ROWS_ON_A_GPU
    return max(ROW_BLOCK, min(most, floats // n_features))


def device_of(module):
    """Where the tensors of a module are; the CPU where it has none."""
    tensors = chain(module.parameters(), module.buffers())
    return next(tensors, torch.empty(0, device="cpu")).device


def some_rows(n_features, device="cpu"):
    """Two rows of numbers between 0 and 1, the same ones every time."""
    random = torch.Generator().manual_seed(0)
    return torch.rand(2, n_features, generator=random, device="cpu").to(device)


def keeps_inputs(function, rows):
    """Whether it does not write into rows: torch refuses to where they share memory."""
    try:
        function(rows)
    except RuntimeError as error:
        return "memory location" not in str(error)
    return True


def number_type(network, default):
    """The type that a network computes in: of weights, some are codes or complex."""
    tensors = chain(network.parameters(), network.buffers())
    return next((each.dtype for each in tensors if each.is_floating_point()), default)


def with_leaves(network):
    """A copied network, whose weights are no results: a copy of a scripted one's are."""
    for weights in network.parameters():
        if not weights.is_leaf:
            weights.detach_().requires_grad_()
    return network


def copied(network):
    return with_leaves(deepcopy(network))


def made_by(name, function, *arguments):
    """What a user's function gives, copied where it can be: parts may be those of others."""
    network = called(name, function, *arguments)
    with suppress(RuntimeError):
        return copied(network) if isinstance(network, nn.Module) else network
    return network


def resolve_device(device):
    """``torch.device`` for a name; "auto" is CUDA where there is one."""
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"Got device={device!r}, but expected 'auto', 'cpu', 'cuda' or another torch "
            f"device: {error}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"Got device={device!r}, but torch sees no CUDA device here; use device='auto'."
        )
    return resolved


def take_batch(array, index, device):
    """Rows ``index`` (slice or index tensor) of an array, a tensor or a mapped file."""
    is_tensor = isinstance(index, torch.Tensor)
    if isinstance(array, torch.Tensor):
        part = array.index_select(0, index.to(array.device)) if is_tensor else array[index]
        return part.to(device)
    index = index.numpy() if is_tensor else index
    rows = array.read(index) if isinstance(array, PagedRows) else array[index]
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy()).to(device)


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


def _in_blocks(matrix):
    more = [(0, -size % ROW_BLOCK) for size in reversed(matrix.shape[-2:])]
    return pad(matrix, tuple(chain(*more))) if any(map(any, more)) else matrix


def aligned_linear(inputs, weight, bias=None):
    """``inputs @ weight.T + bias``, its matrices padded with zeros to whole blocks."""
    rows = inputs.reshape(-1, weight.shape[1])
    bias = None if bias is None else _in_blocks(bias)
    outputs = linear(_in_blocks(rows), _in_blocks(weight), bias)
    return outputs[: len(rows), : len(weight)].reshape(*inputs.shape[:-1], len(weight))


def _aligned_matmul(left, right):
    if right.dim() == 2 <= left.dim():
        return aligned_linear(left, right.T)
    if min(left.dim(), right.dim()) < 2:
        return torch.matmul(left, right)
    product = torch.matmul(_in_blocks(left), _in_blocks(right))
    return product[..., : left.shape[-2], : right.shape[-1]]


PRODUCTS = torch.bmm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__
ALIGNED = {linear: aligned_linear} | dict.fromkeys(PRODUCTS, _aligned_matmul)


def _pad(batch):
    missing = -len(batch) % ROW_BLOCK
    if not missing:
        return batch
    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])])


class BatchedDataset(Dataset):
    """A dataset whose ``batch(index)`` gives many rows; ``weight`` says how often each."""

    weight = None

    def batches(self, indices):
        return map(self.batch, indices)


class Arrays(BatchedDataset):
    """Arrays of equal length, sliced together; those that fit on the device move there."""

    def __init__(self, *arrays, weight=None, device="cpu"):
        self.device, self.weight = torch.device(device), weight
        self.arrays = [_on_device(array, self.device) for array in arrays]

    def __len__(self):
        return len(self.arrays[0])

    def batch(self, index):
        return tuple(take_batch(array, index, self.device) for array in self.arrays)

    def batches(self, indices):
        """The same for one index after the other; a dataset is read ahead."""
        rows, *others = self.arrays
        if not hasattr(rows, "batches"):
            yield from super().batches(indices)
            return
        indices = [np.asarray(each) if torch.is_tensor(each) else each for each in indices]
        for index, read in zip(indices, rows.batches(indices), strict=True):
            beside = (take_batch(each, index, self.device) for each in others)
            yield torch.from_numpy(read).to(self.device), *beside


def _on_device(array, device):
    """The array as a tensor on the device if it fits there, else as it is."""
    if isinstance(array, torch.Tensor):
        return array.to(device)
    if isinstance(array, PagedRows):
        return array
    if is_mapped(array):
        return PagedRows(array)
    if not array.flags.writeable:
        return array
    tensor = torch.from_numpy(array)
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return tensor
    return tensor.to(device)
