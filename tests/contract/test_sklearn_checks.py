"""scikit-learn's own checks of every public estimator."""

import pytest
from contract.estimators import ESTIMATORS
from sklearn.utils.estimator_checks import parametrize_with_checks


@pytest.mark.slow
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)
