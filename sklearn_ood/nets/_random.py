"""Randomness of a fit's own: torch's global generators are neither used nor changed."""

from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.overrides import TorchFunctionMode

IN_PLACE = "uniform_ normal_ bernoulli_ exponential_ cauchy_ log_normal_ geometric_ random_"
INITIAL = "kaiming_uniform_ kaiming_normal_ xavier_uniform_ xavier_normal_ trunc_normal_"
DRAWN = "rand randn randint randperm normal bernoulli multinomial poisson"
TAKE_A_GENERATOR = frozenset(f"{IN_PLACE} {INITIAL} {DRAWN}".split())
OF_DROPOUT = frozenset(["dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d"])
OTHERS = "alpha_dropout feature_alpha_dropout rrelu gumbel_softmax randint_like"
OTHERS += " lstm gru rnn_tanh rnn_relu multi_head_attention_forward"
OTHERS += " scaled_dot_product_attention fractional_max_pool2d fractional_max_pool3d"
TAKE_NONE = frozenset(OTHERS.split())
LIKE = {"rand_like": torch.Tensor.uniform_, "randn_like": torch.Tensor.normal_}
FLOATS = frozenset(["empty", "zeros", "ones", "full", "rand", "randn", "eye", "linspace"])
# Held while the state of a global generator is another's, for one function of TAKE_NONE.
LENDING = Lock()


class Seeded(TorchFunctionMode):
    """A context, of one thread, in which torch draws from generators of its own.

    Whatever ``random_state`` makes, layers' weights, dropout, noise, also in networks of
    users, comes out the same beside other threads. Tensors made without a type or a device
    are float32 on the CPU, whatever torch's defaults are. Functions that take no generator
    (recurrent nets with dropout, attention with dropout, ``rrelu`` and the like) borrow the
    global one under a lock and put it back.
    """

    def __init__(self, random_state):
        super().__init__()
        self.seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        self._generators = {}

    def generator(self, device="cpu"):
        """The generator of a device; on a CPU it draws what ``torch.manual_seed`` would."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.__name__, dict(kwargs or {})
        if name in FLOATS and kwargs.get("dtype") is None and "out" not in kwargs:
            is_float = name != "full" or isinstance(args[1], float)
            kwargs["dtype"] = torch.float32 if is_float else None
        takes, drops = name in TAKE_A_GENERATOR, name in OF_DROPOUT
        if not (takes or drops or name in TAKE_NONE or name in LIKE):
            return func(*args, **kwargs)
        device = _device(args, kwargs)
        if device.type == "meta" or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        generator = self.generator(device)
        if takes:
            return func(*args, **kwargs | {"generator": generator})
        if drops:
            return _dropout(generator, name, *args, **kwargs)
        if name in LIKE:
            return LIKE[name](torch.empty_like(*args, **kwargs), generator=generator)
        with _lent(generator):
            return func(*args, **kwargs)


def _device(args, kwargs):
    """Where a function draws: where its first tensor is, or as it is told."""
    tensors = (each.device for each in (*args, *kwargs.values()) if torch.is_tensor(each))
    return next(tensors, torch.device(kwargs.get("device") or "cpu"))


def _dropout(generator, name, inputs, p=0.5, training=True, inplace=False, *, train=None):
    """torch's dropout, to the bit on a CPU; of whole channels by the number in its name."""
    if not (training if train is None else train) or p == 0:
        return inputs
    channels = name[-2:] in ("1d", "2d", "3d")
    shape = (*inputs.shape[:2], *(1,) * (inputs.dim() - 2)) if channels else inputs.shape
    kept = torch.empty(shape, dtype=inputs.dtype, device=inputs.device)
    kept.bernoulli_(1 - p, generator=generator).div_(1 - p if p < 1 else 1)
    return inputs.mul_(kept) if inplace or name == "dropout_" else inputs * kept


@contextmanager
def _lent(generator):
    """Have torch's global generator of a device draw what this one would."""
    torch_of = torch.cuda if generator.device.type == "cuda" else torch
    place = (generator.device,) if torch_of is torch.cuda else ()
    with LENDING:
        found = torch_of.get_rng_state(*place)
        torch_of.set_rng_state(generator.get_state(), *place)
        try:
            yield
        finally:
            generator.set_state(torch_of.get_rng_state(*place))
            torch_of.set_rng_state(found, *place)
