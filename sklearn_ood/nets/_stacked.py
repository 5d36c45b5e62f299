"""Networks of all classes side by side: the class axis is a batch axis of the weights."""

import copy
from itertools import pairwise
from threading import Lock

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

# ``functional_call`` puts other weights into a module that all threads share.
SWAPPING = Lock()


class StackedLinear(nn.Module):
    """One dense layer a class: (K, c, n_in) to (K, c, n_out) by one batched product.

    Parameters
    ----------
    n_classes, n_in, n_out : int
    normalize : bool, default=False
        Learn the length of each unit's weights apart from their direction (Salimans and
        Kingma, 2016, eq. 2).
    """

    def __init__(self, n_classes, n_in, n_out, normalize=False):
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(n_classes, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_classes, 1, n_out).uniform_(-bound, bound))
        length = self.weight.detach().norm(dim=1, keepdim=True) if normalize else None
        self.length = None if length is None else nn.Parameter(length)

    def forward(self, x):
        weight = self.weight
        if self.length is not None:
            weight = weight * (self.length / weight.norm(dim=1, keepdim=True))
        return torch.baddbmm(self.bias, x, weight)


def stacked_mlp(n_classes, sizes, normalize=False):
    """Dense layers with ReLU between them, one network a class.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.nets._stacked import stacked_mlp
    >>> stacked_mlp(3, (2, 8, 5))(torch.zeros(3, 4, 2)).shape
    torch.Size([3, 4, 5])
    """
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [StackedLinear(n_classes, n_in, n_out, normalize), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class StackedModule(nn.Module):
    """Any modules of one architecture, evaluated together by vectorising over them.

    Dense layers become batched products, convolutions grouped ones.

    Parameters
    ----------
    modules : sequence of nn.Module
        One a class, equal but for the values of their parameters. Layers that update
        running statistics (batch normalisation in training) cannot be vectorised.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.nets._stacked import StackedModule
    >>> modules = [torch.nn.Linear(2, 1) for _ in range(3)]
    >>> x = torch.ones(3, 4, 2)
    >>> torch.allclose(StackedModule(modules)(x)[1], modules[1](x[1]))
    True
    """

    def __init__(self, modules):
        super().__init__()
        parameters, buffers = stack_module_state(list(modules))
        self._names = {name: name.replace(".", "/") for name in (*parameters, *buffers)}
        for name, value in parameters.items():
            self.register_parameter(self._names[name], nn.Parameter(value.detach()))
        for name, value in buffers.items():
            self.register_buffer(self._names[name], value)
        # In a list, so that the prototype's own parameters are not counted as ours.
        self._prototype = [copy.deepcopy(modules[0])]

    def forward(self, x):
        state = {name: getattr(self, own) for name, own in self._names.items()}
        prototype = self._prototype[0].train(self.training)

        def call(state, x):
            return functional_call(prototype, state, (x,))

        with SWAPPING:
            return vmap(call, randomness="different")(state, x)
