"""scikit-learn's own checks of every public estimator."""

import pytest
from contract.estimators import ESTIMATORS
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ood import GANOutliers

# Each public estimator; those taught by a GAN, which is slow to train, with other outliers.
CHECKED = [e for e in ESTIMATORS if not isinstance(getattr(e, "outliers", None), GANOutliers)]


@pytest.mark.slow
@parametrize_with_checks(CHECKED)
def test_sklearn_checks(estimator, check):
    check(estimator)
