import copy
import warnings
from collections.abc import Sequence
from dataclasses import field
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn
from torch.nn.functional import one_hot
from torch.utils.checkpoint import checkpoint

from sklearn_ood._parameters import Count, NonNegative
from sklearn_ood.generators._base import BaseGenerator, Core
from sklearn_ood.nets import _evaluation
from sklearn_ood.nets._evaluation import AlignedProducts, device_of, rows_per_batch
from sklearn_ood.nets._modules import ascending
from sklearn_ood.nets._stacked import StackedModule, StackedNetwork


class ConditionalCore(Core):
    """One network of all classes, told the class; of many it makes a few at once."""

    def __init__(self, n_classes, n_features, network, told, arguments):
        super().__init__(n_classes, n_features)
        self.network, self.told, self.arguments = network, told, arguments

    @property
    def floats_per_latent(self):
        return self.n_features + self.n_classes * (self.told == "one-hot")

    def generate(self, z, class_index):
        condition = conditions(self.network, self.told, class_index, self.n_classes)
        return self.network(z, condition, **self.arguments).flatten(1)

    def decode(self, z):
        # Once more for gradients, so that what layers hold does not grow with the classes.
        index = torch.arange(self.n_classes, device=z.device).repeat_interleave(z.shape[1])
        size = rows_per_batch(self.floats_per_latent, z.device)
        parts = zip(z.flatten(0, 1).split(size), index.split(size), strict=True)
        once_more = {"use_reentrant": False, "context_fn": alike}
        made = [checkpoint(self.generate, *part, **once_more) for part in parts]
        return torch.cat(made).view(*z.shape[:2], -1)


def alike():
    return AlignedProducts(), AlignedProducts()


def conditions(network, told, class_index, n_classes):
    """What a network is told of classes: their indices, one-hot rows, or its embeddings."""
    if told is True:
        return class_index
    if told == "one-hot":
        return one_hot(class_index, n_classes).float()
    return getattr(network, told)(class_index)


class PretrainedGenerator(BaseGenerator):
    """Generate with a network that is trained already.

    ``fit`` only notes the classes and checks the width of the network's output.

    Parameters
    ----------
    module : nn.Module or sequence of nn.Module
        Maps latents (n, latent_dim) to inputs (n, n_features) or (n, C, H, W), or, with
        ``conditional``, latents and their classes to inputs. A sequence holds one module a
        class, of equal architecture. X must be in the units of what it makes: many networks
        of images make [-1, 1].
    latent_dim : int >= 1
        Length of a latent vector.
    prior : {"normal", "truncated_normal", "uniform"}, default="normal"
        Standard normal, the same cut off at -2 and 2 (as for BigGAN), or uniform on [-1, 1].
    conditional : bool, "one-hot" or str, default=False
        Whether one module makes all classes, and what its second argument is: True for class
        indices (n,); "one-hot" for rows (n, n_classes) of 0 and 1, as for StyleGAN2-ADA and
        pytorch-pretrained-BigGAN; another name for what the module's part of this name makes
        of the indices: "shared" for BigGAN-PyTorch. Classes are numbered as they are sorted:
        y must have all that the module makes, or be of a frozen generator that names them.
    arguments : dict, default=None
        What else the module is called with, by name, such as ``{"truncation": 1.0}`` or
        ``{"noise_mode": "const"}``: its answer must not be random.
    noise_variance : float >= 0, default=0.01
        Expected variance of a feature around its generation: how much a search trusts the
        prior.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.generators import PretrainedGenerator
    >>> generator = PretrainedGenerator.from_module(torch.nn.Linear(2, 3), latent_dim=2)
    >>> generator.sample(4, random_state=0).shape
    (4, 3)
    """

    module: Any = field(kw_only=False)
    latent_dim: Count
    prior: Literal["normal", "truncated_normal", "uniform"] = "normal"
    conditional: bool | str = False
    arguments: dict | None = None
    noise_variance: NonNegative = 0.01
    device: Any = "auto"

    @classmethod
    def from_module(cls, module, latent_dim, *, classes=None, **parameters) -> Self:
        """A generator that is fitted at once.

        Parameters
        ----------
        module, latent_dim, **parameters
            As for the class.
        classes : array-like of shape (n_classes,), default=None
            Sorted labels, for a conditional module or one module a class.
        """
        generator = cls(module, latent_dim=latent_dim, **parameters)
        known = None if classes is None else ascending(classes, "module")
        generator.classes_, generator.n_classes_ = known, 1 if known is None else len(known)
        generator.latent_dim_ = latent_dim
        generator.core_ = generator.make_core().to(_evaluation.resolve_device(generator.device))
        generator.n_features_in_ = generator.core_.n_features
        return generator

    def make_core(self):
        self._validate_params()  # here, for ``from_module``
        modules = copy.deepcopy(self.module)
        if self.arguments and not self.conditional:
            raise ValueError(
                f"Got arguments={self.arguments!r}, but only a module with conditional takes "
                "any; set conditional, or leave arguments out."
            )
        is_one = self.conditional or not isinstance(modules, (Sequence, nn.ModuleList))
        modules = [_in_single(module) for module in ([modules] if is_one else modules)]
        if len(modules) != (1 if self.conditional else self.n_classes_):
            raise ValueError(
                f"Got {len(modules)} module(s) for {self.n_classes_} classes, but expected a "
                "sequence of one module a class, or a module of all classes with conditional."
            )
        size = self.n_classes_, self._width(modules[0])
        if self.conditional:
            arguments = self.arguments or {}
            core = ConditionalCore(*size, modules[0], self.conditional, arguments)
        else:
            core = Core(*size)
            core.decode = StackedNetwork(StackedModule(modules), (self.latent_dim,))
        core.prior = self.prior
        return core.eval().requires_grad_(False)

    @property
    def noise_variance_(self):
        return np.full(self.n_classes_, float(self.noise_variance))

    def _fit(self, rows, codes):
        core = self.make_core()
        if core.n_features != rows.shape[1]:
            raise ValueError(
                f"Got a module that generates {core.n_features} features, but X has "
                f"{rows.shape[1]}; use data of the kind that the module generates."
            )
        self.core_ = core.to(_evaluation.resolve_device(self.device))
        self.latent_dim_ = self.latent_dim

    @torch.no_grad()
    def _width(self, module):
        device, arguments = device_of(module), self.arguments or {}
        inputs = [torch.zeros(1, self.latent_dim, device=device)]
        try:
            if self.conditional:
                index = torch.tensor([self.n_classes_ - 1], device=device)
                inputs.append(conditions(module, self.conditional, index, self.n_classes_))
            made, again = (module(*inputs, **arguments).flatten(1) for _ in range(2))
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"Got a module that cannot take latents of shape (1, {self.latent_dim}), with "
                f"conditional={self.conditional!r} and arguments={self.arguments!r}: {error} "
                "Check latent_dim, the number of classes, and what the module's forward takes: "
                "latents of shape (n, latent_dim, 1, 1) come from an "
                "nn.Unflatten(1, (latent_dim, 1, 1)) before it."
            ) from error
        if not (made.is_meta or torch.allclose(made, again, equal_nan=True)):
            raise ValueError(
                "Got a module that makes something else of the same latents each time; turn "
                "its noise off, for instance by arguments={'noise_mode': 'const'}."
            )
        if self.conditional:
            self._warn_of_classes(module)
        return made.shape[1]

    def _warn_of_classes(self, module):
        tables = [each for each in module.modules() if isinstance(each, nn.Embedding)]
        n_known = min((each.num_embeddings for each in tables), default=0)
        if n_known > self.n_classes_:
            warnings.warn(
                f"Got {self.n_classes_} classes for a module of {n_known}: they are taken for "
                "its first, in ascending order. If they are others, name all that it makes: "
                "FrozenEstimator(PretrainedGenerator.from_module(module, ..., classes=...)).",
                stacklevel=5,
            )


def _in_single(module):
    """A module for evaluation, in float32 as latents are, out of what spreads it over GPUs."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"Got a module of type {type(module).__name__}, but expected nn.Module, or several."
        )
    is_spread = isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    return (module.module if is_spread else module).float().eval()
