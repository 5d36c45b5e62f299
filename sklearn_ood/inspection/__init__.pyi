from ._fooling import (
    FoolingDisplay,
    FoolingResult,
    fooling_rate,
    fooling_rate_on,
    fooling_scorer,
)
from ._gradients import InputGradientsDisplay
from ._searches import FoolingGenerator

__all__ = [
    "FoolingDisplay",
    "FoolingGenerator",
    "FoolingResult",
    "InputGradientsDisplay",
    "fooling_rate",
    "fooling_rate_on",
    "fooling_scorer",
]
