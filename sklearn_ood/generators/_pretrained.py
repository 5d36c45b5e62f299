"""Somebody's trained network as a generator."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sklearn_ood.generators._base import PRIORS, BaseGenerator
from sklearn_ood.nets._evaluation import resolve_device
from sklearn_ood.nets._stacked import StackedModule


class PretrainedGenerator(BaseGenerator):
    """Generate with a network that is trained already.

    `fit` trains nothing: it notes the classes and checks that the network's output has the
    width of the data.

    Parameters
    ----------
    module : nn.Module or sequence of nn.Module
        Maps latents (n, latent_dim) to inputs (n, n_features) or (n, C, H, W), or, with
        ``conditional=True``, latents and class indices (n,) to inputs. A sequence holds
        one module a class, of equal architecture.
    latent_dim : int >= 1
        Length of a latent vector.
    prior : {"normal", "uniform"}, default="normal"
        Standard normal, or uniform on [-1, 1].
    conditional : bool, default=False
        Whether the module is called with class indices as its second argument.
    noise_variance : float >= 0, default=0.01
        Expected variance of a feature around its generation: how much a search trusts the
        prior.
    device : str, default="auto"
        Where to run the network; "auto" is CUDA where there is one.

    Attributes
    ----------
    module_ : nn.Module
        A copy in evaluation mode.
    classes_ : ndarray of shape (n_classes,) or None
    latent_dim_ : int
    noise_variance_ : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.generators import PretrainedGenerator
    >>> generator = PretrainedGenerator.from_module(torch.nn.Linear(2, 3), latent_dim=2)
    >>> generator.sample(4, random_state=0).shape
    (4, 3)
    """

    def __init__(
        self,
        module,
        latent_dim,
        prior="normal",
        conditional=False,
        noise_variance=0.01,
        device="auto",
    ):
        self.module = module
        self.latent_dim = latent_dim
        self.prior = prior
        self.conditional = conditional
        self.noise_variance = noise_variance
        self.device = device

    @classmethod
    def from_module(cls, module, latent_dim, *, classes=None, **parameters):
        """A generator that is fitted at once.

        Parameters
        ----------
        module : nn.Module or sequence of nn.Module
            As for the class.
        latent_dim : int >= 1
            Length of a latent vector.
        classes : array-like of shape (n_classes,), optional
            Sorted labels, for a conditional module or one module a class.
        **parameters
            The other parameters of the class.

        Returns
        -------
        PretrainedGenerator
            Fitted.
        """
        generator = cls(module, latent_dim, **parameters)
        generator.classes_ = None if classes is None else np.asarray(classes)
        generator.n_classes_ = 1 if classes is None else len(generator.classes_)
        generator._prepare()
        generator.n_features_in_ = generator._output_width()
        generator.latent_dim_ = generator.latent_dim
        return generator

    def _fit(self, rows, codes):
        self._prepare()
        width = self._output_width()
        if width != rows.shape[1]:
            raise ValueError(
                f"Got a module that generates {width} features, but X has {rows.shape[1]}; "
                "use data of the kind that the module generates."
            )
        self.latent_dim_ = self.latent_dim

    def _prepare(self):
        if self.prior not in PRIORS:
            raise ValueError(f"Got prior={self.prior!r}, but expected one of {PRIORS}.")
        if not self.noise_variance >= 0:
            raise ValueError(
                f"Got noise_variance={self.noise_variance!r}, but expected a number >= 0."
            )
        module = copy.deepcopy(self.module)
        several = isinstance(module, (Sequence, nn.ModuleList))
        n_modules = len(module) if several else 1
        if not self.conditional and n_modules != self.n_classes_:
            raise ValueError(
                f"Got {n_modules} module(s) for {self.n_classes_} classes, but expected a "
                "sequence of one module a class, or a module that takes class indices with "
                "conditional=True."
            )
        if not self.conditional:
            module = StackedModule([part.eval() for part in (module if several else [module])])
        device = resolve_device(self.device)
        self.module_ = module.eval().requires_grad_(False).to(device)
        self.noise_variance_ = np.full(self.n_classes_, float(self.noise_variance))

    def _output_width(self):
        z = torch.zeros(self.n_classes_, 2, self.latent_dim, device=self._device)
        try:
            with torch.no_grad():
                return self._decode_stack(z).shape[2]
        except RuntimeError as error:
            raise ValueError(
                f"Got a module that cannot take latents of shape (2, {self.latent_dim}): "
                f"{error} Check latent_dim and the module's first layer."
            ) from error

    @property
    def _device(self):
        parameter = next(self.module_.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def _decode_stack(self, z):
        n_classes, n, _ = z.shape
        if not self.conditional:
            return self.module_(z).flatten(2)
        index = torch.arange(n_classes, device=z.device).repeat_interleave(n)
        return self.module_(z.flatten(0, 1), index).reshape(n_classes, n, -1)
