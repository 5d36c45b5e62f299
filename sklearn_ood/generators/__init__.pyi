from ._base import BaseGenerator
from ._gan import GAN
from ._mixture import GaussianMixtureGenerator
from ._neighbors import InterpolationGenerator, NearestNeighborGenerator
from ._pca import PCAGenerator
from ._pretrained import PretrainedGenerator
from ._vae import VAE

__all__ = [
    "GAN",
    "VAE",
    "BaseGenerator",
    "GaussianMixtureGenerator",
    "InterpolationGenerator",
    "NearestNeighborGenerator",
    "PCAGenerator",
    "PretrainedGenerator",
]
