"""Look into a fitted model: attack it, and see which inputs move its answer."""

from sklearn_ood.inspection._fooling import (
    FoolingDisplay,
    FoolingResult,
    fooling_rate,
    fooling_rate_on,
    fooling_scorer,
)
from sklearn_ood.inspection._gradients import InputGradientsDisplay
from sklearn_ood.inspection._searches import FoolingGenerator

__all__ = [
    "FoolingDisplay",
    "FoolingGenerator",
    "FoolingResult",
    "InputGradientsDisplay",
    "fooling_rate",
    "fooling_rate_on",
    "fooling_scorer",
]
