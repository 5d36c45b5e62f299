"""Which inputs move the answer: gradients of a trained net."""

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from sklearn_ood.nets._evaluation import map_batches


def class_gradients(net, rows, class_logits, *, guided=False):
    """Gradient of the largest class's logit, for each row: float64, of the rows' shape.

    ``class_logits`` takes the net's outputs; ``guided`` is guided backpropagation (Springenberg
    et al., 2015).
    """
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
        raise ValueError(
            "Got guided=True for a net without nn.ReLU modules, but guided backpropagation "
            "changes how gradients pass them; use guided=False."
        )
    for relu in relus:
        relu.register_full_backward_hook(_positive_part)
    return module


def _positive_part(_module, gradients, _output_gradients):
    return tuple(gradient.clamp(min=0) for gradient in gradients)


def odin_rows(net, rows, score, epsilon):
    """Rows moved a step towards a higher score (Liang et al., 2018, eq. 2).

    ``score`` is of the net's outputs, in float64: for ODIN the logarithm of the largest
    probability. ``epsilon`` is the step in every feature, or in each, in the features' units.
    """
    epsilon = torch.as_tensor(epsilon, dtype=torch.float32, device=net.device)

    @torch.enable_grad()
    def shifted(batch):
        batch = batch.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(net.module_(batch).double()).sum(), batch)
        return batch.detach() + epsilon * gradient.nan_to_num(nan=0.0).sign()

    return map_batches(shifted, rows, device=net.device)
