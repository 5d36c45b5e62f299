"""Which classes and functions a file may name: the allow-list of ``load``."""

import importlib
import re

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

PLAIN_CLASSES = {int, float, bool, str}
HELPERS = {
    "skorch.dataset.Dataset",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
}
IMPORTABLE = re.compile(
    r"sklearn_ood(\.\w+)*|sklearn(\.[a-z]\w*)*|torch\.(nn|optim)(\.[a-z]\w*)*|numpy|builtins"
)
NOT_IMPORTABLE = {"tests", "conftest"}
NOT_CALLABLE_FROM_A_FILE = ("sklearn_ood.datasets", "sklearn_ood.persistence._files")


class Names:
    """Allowed classes and functions, by name; ``own`` are the user's, by qualified name."""

    def __init__(self, own=()):
        for value in own:
            if not hasattr(value, "__qualname__"):
                raise TypeError(
                    f"Got modules with {value!r}, but expected classes or functions."
                )
        self._own = {f"own:{value.__qualname__}": value for value in own}
        if len(self._own) < len(own):
            raise ValueError(f"Got modules={own!r}, but expected different names.")

    def name(self, value, where):
        for name, own in self._own.items():
            if own is value:
                return name
        if not is_allowed(value):
            raise TypeError(refusal(value, where))
        return public_name(value)

    def find(self, name):
        if name in self._own:
            return self._own[name]
        module, _, last = str(name).rpartition(".")
        importable = IMPORTABLE.fullmatch(module) or name in HELPERS
        if not importable or NOT_IMPORTABLE & set(module.split(".")):
            raise ValueError(not_allowed(name))
        try:
            value = getattr(importlib.import_module(module), last)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"Got a file that names {name!r}, which is not in the packages installed "
                "here; install the versions that the file was saved with."
            ) from error
        if not is_allowed(value):
            raise ValueError(not_allowed(name))
        return value


def is_allowed(value):
    """Whether a file may name this class or function."""
    if isinstance(value, np.ufunc):
        return getattr(np, value.__name__, None) is value
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", ".")
    if not isinstance(module, str) or not name.isidentifier():
        return False
    package = module.partition(".")[0]
    if f"{module}.{name}" in HELPERS:
        return True
    if isinstance(value, type):
        return (
            package == "sklearn_ood"
            or value in PLAIN_CLASSES
            or (package == "numpy" and issubclass(value, np.generic))
            or (package == "torch" and issubclass(value, (nn.Module, torch.optim.Optimizer)))
            or (
                package == "sklearn"
                and issubclass(value, BaseEstimator)
                and not name.startswith("_")
            )
        )
    if not callable(value):
        return False
    return module == "torch.nn.functional" or (
        package == "sklearn_ood" and not module.startswith(NOT_CALLABLE_FROM_A_FILE)
    )


def public_name(value):
    """The shortest path under which a package shows a class or function."""
    module = getattr(value, "__module__", None) or "numpy"
    parts = ("numpy" if isinstance(value, np.ufunc) else module).split(".")
    for end in range(1, len(parts)):
        shown = ".".join(parts[:end])
        found = getattr(importlib.import_module(shown), value.__name__, None)
        if found is value and IMPORTABLE.fullmatch(shown):
            return f"{shown}.{value.__name__}"
    return f"{'.'.join(parts)}.{value.__name__}"


def refusal(value, where):
    if isinstance(value, type):
        shown, is_module = value.__qualname__, issubclass(value, nn.Module)
    else:
        shown, is_module = getattr(value, "__qualname__", type(value).__qualname__), False
    advice = "keep the model with joblib, or leave this part out"
    if is_module or (hasattr(value, "__qualname__") and not isinstance(value, np.ufunc)):
        advice = f"pass modules=[{shown}] to save and to load, which then take it from you" + (
            ", or keep its state_dict() yourself" if is_module else ""
        )
    return (
        f"Got {where} with {shown}, but save stores only sklearn_ood, scikit-learn and "
        f"torch.nn objects, arrays, tensors and plain containers; {advice}."
    )


def not_allowed(name):
    return (
        f"Got a file that names {name!r}, which is not among the classes and functions that "
        "load makes; pass your own in modules=[...], or do not trust the file."
    )
