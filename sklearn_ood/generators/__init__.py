"""Generative models of inputs, one a class: fit, sample, encode, decode."""

from sklearn_ood.generators._base import BaseGenerator
from sklearn_ood.generators._gan import GAN
from sklearn_ood.generators._mixture import GaussianMixtureGenerator
from sklearn_ood.generators._neighbors import NearestNeighborGenerator
from sklearn_ood.generators._pca import PCAGenerator
from sklearn_ood.generators._pretrained import PretrainedGenerator
from sklearn_ood.generators._vae import VAE

__all__ = [
    "GAN",
    "VAE",
    "BaseGenerator",
    "GaussianMixtureGenerator",
    "NearestNeighborGenerator",
    "PCAGenerator",
    "PretrainedGenerator",
]
