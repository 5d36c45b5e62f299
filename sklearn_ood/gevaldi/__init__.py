"""Where classifiers differ: samples that set them apart most, and pictures of them."""

from sklearn_ood.gevaldi._gevaldi import GeValDi
from sklearn_ood.gevaldi._plots import (
    plot_ascent,
    plot_changes,
    plot_map,
    plot_regions,
    plot_samples,
)
from sklearn_ood.gevaldi._samples import DifferentSamples, Snapshot

__all__ = [
    "DifferentSamples",
    "GeValDi",
    "Snapshot",
    "plot_ascent",
    "plot_changes",
    "plot_map",
    "plot_regions",
    "plot_samples",
]
