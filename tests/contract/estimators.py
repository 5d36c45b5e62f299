"""The estimators that every contract is run on: add a method's instance here."""

from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity

from sklearn_ood import (
    CombinedClassifier,
    ConfidentClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    DriftMonitor,
    GANOutliers,
    GenerativeClassifier,
    GeValDi,
    MahalanobisDistance,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    RejectClassifier,
    RiskMonitor,
    SelectiveClassifier,
    SoftmaxClassifier,
    Subspace,
    TableClassifier,
)
from sklearn_ood.detectors import FDBD, NCI, ActivationShaping, GradNorm, KLMatching, NNGuide
from sklearn_ood.generators import GaussianMixtureGenerator

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
TWO_MEMBERS = [
    ("net", SoftmaxClassifier(max_epochs=15, lr=2e-2, batch_size=32, hidden_layer_sizes=(16,))),
    ("linear", LogisticRegression()),
]
SMALL_GAN = GANOutliers(hidden_layer_sizes=(16,), latent_dim=4)
TAUGHT_BY_OUTLIERS = [
    classifier(
        outliers=source,
        max_epochs=20,
        lr=1e-2,
        batch_size=32,
        hidden_layer_sizes=(16,),
        random_state=0,
    )
    for classifier, sources in {
        ConfidentClassifier: [SMALL_GAN, "boundary", {"mixup": 2, "noise": 1}],
        RejectClassifier: [
            GANOutliers(guided=False, hidden_layer_sizes=(16,), latent_dim=4),
            "boundary",
            {"uniform": 1, "mixup": 1, "noise": 1},
        ],
    }.items()
    for source in sources
]
COMBINED = CombinedClassifier(
    LogisticRegression(),
    [
        ("confidence", "classifier"),
        ("neighbors", NeighborDistance()),
        ("density", KernelDensity()),
    ],
    random_state=0,
)
ESTIMATORS = [
    *TAUGHT_BY_OUTLIERS,
    SOFTMAX,
    COOL,
    DAEConfidence(**TINY_DAE),
    DAEConfidence(curvature="hutchinson", decoder="free", typicality=True, **TINY_DAE),
    DAEConfidence(curvature="off", **TINY_DAE),
    DAEClassifier(LogisticRegression(), **TINY_DAE | {"max_epochs": 5}),
    NoveltyDetector(DAEConfidence(**TINY_DAE | {"max_epochs": 5}), random_state=0),
    COMBINED,
    SelectiveClassifier(COMBINED),
    NeighborDistance(),
    NetFeatures(clone(SOFTMAX).set_params(max_epochs=3)),
    GenerativeClassifier("pca", random_state=0),
    NoveltyDetector(GenerativeClassifier("pca", random_state=0), random_state=0),
    GeValDi(TWO_MEMBERS, generator=GaussianMixtureGenerator(1), random_state=0),
    SelectiveClassifier(SOFTMAX),
    SelectiveClassifier(LogisticRegression()),
    NoveltyDetector(KernelDensity(), random_state=0),
    NoveltyDetector(KernelDensity(), contamination=0.1),
    DriftMonitor(KernelDensity(), random_state=0),
    RiskMonitor(LogisticRegression(), risk=0.1),
    MahalanobisDistance(),
    MahalanobisDistance(relative=True),
    Subspace(),
    *(score() for score in (FDBD, NCI, NNGuide, GradNorm, KLMatching, ActivationShaping)),
    TableClassifier(10, random_state=0),
]
