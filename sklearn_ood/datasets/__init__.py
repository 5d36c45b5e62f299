"""Toy data of the papers, and loaders for the real sets they use."""

from sklearn_ood.datasets._images import load_images
from sklearn_ood.datasets._tables import load_tabular
from sklearn_ood.datasets._toys import (
    inside_rings,
    inside_two_gaussians,
    make_rings,
    make_two_gaussians,
)

__all__ = [
    "inside_rings",
    "inside_two_gaussians",
    "load_images",
    "load_tabular",
    "make_rings",
    "make_two_gaussians",
]
