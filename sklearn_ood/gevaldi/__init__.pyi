from ._gevaldi import GeValDi
from ._regions import (
    plot_ascent,
    plot_changes,
    plot_map,
    plot_regions,
    plot_samples,
)
from ._samples import DifferentSamples, Snapshot

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
