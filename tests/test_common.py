"""Every contract on every estimator: add a method's instance to ``ESTIMATORS``."""

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ood import NoveltyDetector, SelectiveClassifier, SoftmaxClassifier

SOFTMAX = SoftmaxClassifier(
    max_epochs=40, batch_size=16, hidden_layer_sizes=(16,), random_state=0
)
ESTIMATORS = [
    SOFTMAX,
    SelectiveClassifier(SOFTMAX),
    SelectiveClassifier(LogisticRegression()),
    NoveltyDetector(KernelDensity(), random_state=0),
    NoveltyDetector(KernelDensity(), contamination=0.1),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)
