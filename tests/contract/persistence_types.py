"""The exact list of what a file may hold; run it to write the list of the package anew.

``python tests/contract/persistence_types.py`` in the folder of the project.
"""

import inspect
import io
import json
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import skops.io
import torch
from sklearn import feature_selection, metrics
from sklearn._loss import _loss, link, loss
from sklearn.base import BaseEstimator
from sklearn.cluster import Birch, BisectingKMeans
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.gaussian_process import kernels
from sklearn.impute._iterative import _ImputerTriplet
from sklearn.linear_model import _sgd_fast
from sklearn.model_selection import _split
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch, all_estimators
from sklearn.utils.validation import check_array

import sklearn_ood
from sklearn_ood import detectors, generators, outliers
from sklearn_ood.classifiers._table_shares import ClassShares
from sklearn_ood.combined._columns import NearestRow
from sklearn_ood.combined._conformal import ConformalScale
from sklearn_ood.combined._explanation import ReferenceRows
from sklearn_ood.data._tables import Indicators, TableColumns
from sklearn_ood.detectors._features import Backbone
from sklearn_ood.detectors._table_density import Frequencies
from sklearn_ood.metrics._scorer import _SelectiveScorer
from sklearn_ood.model_selection import LeaveClassesOut
from sklearn_ood.persistence._parts import Part
from sklearn_ood.selective._guarantees import Guarantee

FILE = Path(sklearn_ood.__file__).parent / "persistence" / "types.txt"
# Leaves linked in circles; a function of compiled code that a file could call.
WITHOUT = {Birch, BisectingKMeans}
# Other packages add types of their own to this dictionary of numpy's.
SCALARS = {kind for kind in np.sctypeDict.values() if kind.__module__ == "numpy"}
SCALARS -= {np.bytes_, np.object_, np.void}
SGD_LOSSES = {
    value
    for value in vars(_sgd_fast).values()
    if isinstance(value, type) and value.__module__ == _sgd_fast.__name__
}
INTERNAL = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.frozen._frozen.FrozenEstimator",
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
    "sklearn.model_selection._search_successive_halving._SubsampleMetaSplitter",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._MultimetricScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn_ood.classifiers._table.QuickTrees",
    "sklearn_ood.combined._columns.ClassWhitening",
    "sklearn_ood.combined._columns.ColumnRanks",
    "sklearn_ood.combined._columns.ExtremeColumn",
    "sklearn_ood.combined._radii.PrincipalRadii",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
)
PLAIN = [None, [], (), set(), frozenset(), {}, OrderedDict(), Bunch(), np.zeros(1)]
PLAIN += [
    np.dtype("f8"),
    np.ma.zeros(1),
    np.random.RandomState(0),
    np.random.default_rng(0),
    partial(np.mean),
]
TUPLES = [torch.Size([1]), _ImputerTriplet(0, 0, 0), tuple.__new__(Part)]
UFUNCS = (
    "absolute",
    "arccos",
    "arcsin",
    "arctan",
    "arctanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "log",
    "log10",
    "log1p",
    "log2",
    "negative",
    "rad2deg",
    "reciprocal",
    "rint",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
)
REDUCTIONS = ("mean", "median", "max", "min")
SELECTIONS = ("chi2", "f_classif", "f_regression", "mutual_info_classif", "r_regression")
SELECTIONS += ("mutual_info_regression",)
OPTIMIZERS = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam")
OPTIMIZERS += ("RMSprop", "SGD")
OURS = (Backbone, ClassShares, ConformalScale, Frequencies, Guarantee, Indicators, TableColumns)
OURS += (LeaveClassesOut, NearestRow, ReferenceRows, _SelectiveScorer)


def path_of(value):
    return f"{value.__module__}.{value.__qualname__}"


def classes_of(module, base=object):
    return {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    }


def node_of(value):
    """How skops writes a value: the kind of node and the name."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(value))) as file:
        node = json.loads(file.read("schema.json"))
    return f"{node['__loader__']} {node['__module__']}.{node['__class__']}"


def objects():
    """What is restored attribute by attribute."""
    found = {kind for _, kind in all_estimators() if kind.__module__.startswith("sklearn.")}
    found |= classes_of(kernels, kernels.Kernel) | classes_of(loss, loss.BaseLoss)
    found |= classes_of(link, link.BaseLink) | {link.Interval, TreePredictor}
    found |= {kind for kind in classes_of(_split) if hasattr(kind, "split")}
    return {path_of(kind) for kind in found - WITHOUT} | set(INTERNAL)


def losses():
    names = {name for name in dir(_loss) if name.startswith("Cy")} - {"CyLossFunction"}
    names = {name for name in names if isinstance(getattr(_loss, name), type)}
    return {path_of(getattr(_loss, name)) for name in names} | set(map(path_of, SGD_LOSSES))


def references():
    """Functions and classes that a parameter may be."""
    scorers = (metrics.get_scorer(name) for name in metrics.get_scorer_names())
    found = {vars(scorer)["_score_func"] for scorer in scorers} | {check_array}
    found |= {getattr(feature_selection, name) for name in SELECTIONS}
    found |= {getattr(np, name) for name in (*UFUNCS, *REDUCTIONS)}
    found |= {bool, float, int, object, str, *SCALARS}
    found |= {getattr(torch.optim, name) for name in OPTIMIZERS}
    return found


def ours():
    public = {"sklearn_ood": sklearn_ood, "sklearn_ood.generators": generators}
    public["sklearn_ood.outliers"] = outliers
    public["sklearn_ood.detectors"] = detectors
    found = {kind: path_of(kind) for kind in OURS}
    for path, package in public.items():
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, BaseEstimator):
                found.setdefault(value, f"{path}.{name}")
    return set(found.values())


def lines():
    found = {node_of(value) for value in (*PLAIN, *TUPLES, *map(make_scalar, SCALARS))}
    found |= {node_of(value) for value in references()}
    found |= {f"ObjectNode {path}" for path in objects()}
    found |= {f"LossNode {path}" for path in losses()}
    found |= {f"own {path}" for path in ours()}
    found.add(f"TreeNode {path_of(Tree)}")
    return sorted(found)


def make_scalar(kind):
    return kind(1, "D") if kind in {np.datetime64, np.timedelta64} else kind(1)


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
