"""Every contract on every estimator: add a method's instance to ``ESTIMATORS``."""

from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ood import (
    COOLClassifier,
    DAEConfidence,
    NetFeatures,
    NoveltyDetector,
    SelectiveClassifier,
    SoftmaxClassifier,
)

SOFTMAX = SoftmaxClassifier(
    max_epochs=40, batch_size=16, hidden_layer_sizes=(16,), random_state=0
)
COOL = COOLClassifier(
    n_units_per_class=3,
    max_epochs=30,
    lr=1e-2,
    batch_size=16,
    hidden_layer_sizes=(16,),
    random_state=0,
)
TINY_DAE = {
    "hidden_layer_sizes": (16,),
    "max_epochs": 20,
    "lr": 5e-3,
    "batch_size": 32,
    "random_state": 0,
}
ESTIMATORS = [
    SOFTMAX,
    COOL,
    DAEConfidence(**TINY_DAE),
    DAEConfidence(curvature="hutchinson", decoder="free", typicality=True, **TINY_DAE),
    DAEConfidence(curvature="off", **TINY_DAE),
    DAEConfidence(LogisticRegression(), **TINY_DAE | {"max_epochs": 5}),
    NoveltyDetector(DAEConfidence(**TINY_DAE | {"max_epochs": 5}), random_state=0),
    NetFeatures(clone(SOFTMAX).set_params(max_epochs=3)),
    SelectiveClassifier(SOFTMAX),
    SelectiveClassifier(LogisticRegression()),
    NoveltyDetector(KernelDensity(), random_state=0),
    NoveltyDetector(KernelDensity(), contamination=0.1),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)
