from ._churn import ChurnRegion, ChurnReport, churn_report
from ._explanation import InputGradientsDisplay
from ._fooling import (
    FoolingDisplay,
    FoolingResult,
    fooling_rate,
    fooling_rate_on,
    fooling_scorer,
)
from ._searches import FoolingGenerator

__all__ = [
    "ChurnRegion",
    "ChurnReport",
    "FoolingDisplay",
    "FoolingGenerator",
    "FoolingResult",
    "InputGradientsDisplay",
    "churn_report",
    "fooling_rate",
    "fooling_rate_on",
    "fooling_scorer",
]
