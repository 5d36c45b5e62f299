"""What users import, and what it costs them."""

import subprocess
import sys

import sklearn_ood

ROOMS = {
    "classifiers",
    "combined",
    "datasets",
    "detectors",
    "generators",
    "gevaldi",
    "inspection",
    "metrics",
    "model_selection",
    "monitoring",
    "outliers",
    "selective",
}
NAMES = {
    "BoundaryOutliers",
    "COOLClassifier",
    "CombinedClassifier",
    "ConfidentClassifier",
    "DAEClassifier",
    "DAEConfidence",
    "DriftMonitor",
    "ExplanationDisplay",
    "GANOutliers",
    "GeValDi",
    "GenerativeClassifier",
    "GivenOutliers",
    "InputGradientsDisplay",
    "MahalanobisDistance",
    "MemberPValuesDisplay",
    "MixupOutliers",
    "MonitorDisplay",
    "NeighborDistance",
    "NetFeatures",
    "NoiseOutliers",
    "NoveltyDetector",
    "RejectClassifier",
    "RiskMonitor",
    "SelectiveClassifier",
    "SiameseSimilarity",
    "SoftmaxClassifier",
    "Subspace",
    "TableClassifier",
    "TableDensity",
    "TableEncoder",
    "UniformOutliers",
    "__version__",
    "load",
    "save",
    "p_values_from_scores",
    "threshold_from_scores",
    "to_onnx",
}
WITHOUT_TORCH = """
import sys
from sklearn.ensemble import RandomForestClassifier
from sklearn.datasets import load_iris
from sklearn_ood import NeighborDistance, NoveltyDetector, SelectiveClassifier
from sklearn_ood.metrics import RiskCoverageDisplay, aurc_score, selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut

X, y = load_iris(return_X_y=True)
model = SelectiveClassifier(RandomForestClassifier(random_state=0), coverage=0.8)
model.fit(X, y).predict(X)
NoveltyDetector(NeighborDistance()).fit(X, y).predict(X)
selective_scorer("aurc")(model, X, y)
assert "torch" not in sys.modules
"""


def test_public_names():
    assert set(sklearn_ood.__all__) == NAMES | ROOMS
    assert set(sklearn_ood.__all__) <= set(dir(sklearn_ood))
    for name in sklearn_ood.__all__:
        assert getattr(sklearn_ood, name) is not None


def test_nobody_pays_for_torch_who_does_not_use_it():
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
