"""Every contract on every estimator: add a method's instance to ``ESTIMATORS``."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ood import SoftmaxClassifier

ESTIMATORS = [
    SoftmaxClassifier(max_epochs=40, batch_size=16, hidden_layer_sizes=(16,), random_state=0)
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)
