"""Somebody's trained network as a generator."""

import copy
from collections.abc import Sequence
from dataclasses import field
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from sklearn_ood._parameters import Count, NonNegative
from sklearn_ood.generators._base import BaseGenerator, Core
from sklearn_ood.nets._evaluation import device_of, resolve_device
from sklearn_ood.nets._stacked import StackedModule, StackedNetwork


class ConditionalCore(Core):
    """One network of all classes, which takes their indices: it makes what is asked alone."""

    floats_per_latent = property(attrgetter("n_features"))

    def generate(self, z, class_index):
        return self.network(z, class_index).flatten(1)

    def decode(self, z):
        index = torch.arange(self.n_classes, device=z.device).repeat_interleave(z.shape[1])
        return self.generate(z.flatten(0, 1), index).view(*z.shape[:2], -1)


class PretrainedGenerator(BaseGenerator):
    """Generate with a network that is trained already.

    ``fit`` only notes the classes and checks the width of the network's output.

    Parameters
    ----------
    module : nn.Module or sequence of nn.Module
        Maps latents (n, latent_dim) to inputs (n, n_features) or (n, C, H, W), or, with
        ``conditional=True``, latents and class indices (n,) to inputs. A sequence holds
        one module a class, of equal architecture.
    latent_dim : int >= 1
        Length of a latent vector.
    prior : {"normal", "truncated_normal", "uniform"}, default="normal"
        Standard normal, the same cut off at -2 and 2 (as for BigGAN), or uniform on [-1, 1].
    conditional : bool, default=False
        Whether the module is called with class indices as its second argument.
    noise_variance : float >= 0, default=0.01
        Expected variance of a feature around its generation: how much a search trusts the
        prior.
    device : str, default="auto"
        Where to run the network; "auto" is CUDA where there is one.

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
    conditional: bool = False
    noise_variance: NonNegative = 0.01
    device: Any = "auto"

    @classmethod
    def from_module(cls, module, latent_dim, *, classes=None, **parameters):
        """A generator that is fitted at once.

        Parameters
        ----------
        module, latent_dim, **parameters
            As for the class.
        classes : array-like of shape (n_classes,), default=None
            Sorted labels, for a conditional module or one module a class.

        Returns
        -------
        PretrainedGenerator
        """
        generator = cls(module, latent_dim=latent_dim, **parameters)
        generator.classes_ = None if classes is None else np.asarray(classes)
        generator.n_classes_ = 1 if classes is None else len(generator.classes_)
        generator.latent_dim_ = latent_dim
        generator.core_ = generator.make_core().to(resolve_device(generator.device))
        generator.n_features_in_ = generator.core_.n_features
        return generator

    def make_core(self):
        self._validate_params()  # here, for ``from_module``
        modules = copy.deepcopy(self.module)
        is_one = self.conditional or not isinstance(modules, (Sequence, nn.ModuleList))
        modules = [module.eval() for module in ([modules] if is_one else modules)]
        if len(modules) != (1 if self.conditional else self.n_classes_):
            raise ValueError(
                f"Got {len(modules)} module(s) for {self.n_classes_} classes, but expected a "
                "sequence of one module a class, or a module that takes class indices with "
                "conditional=True."
            )
        core = (ConditionalCore if self.conditional else Core)(
            self.n_classes_, self._width(modules[0])
        )
        if self.conditional:
            core.network = modules[0]
        else:
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
        self.core_, self.latent_dim_ = core.to(resolve_device(self.device)), self.latent_dim

    @torch.no_grad()
    def _width(self, module):
        """Length of a generation."""
        device = device_of(module)
        arguments = [torch.zeros(2, self.latent_dim, device=device)]
        if self.conditional:
            arguments.append(torch.zeros(2, dtype=torch.long, device=device))
        try:
            return module(*arguments).flatten(1).shape[1]
        except RuntimeError as error:
            raise ValueError(
                f"Got a module that cannot take latents of shape (2, {self.latent_dim}): "
                f"{error} Check latent_dim and the module's first layer."
            ) from error
