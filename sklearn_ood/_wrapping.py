"""What estimators around other estimators have in common."""

from sklearn.base import MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import _BaseComposition


class Wrapper(MetaEstimatorMixin):
    """Around ``estimator``: what is true of the inner one's input is true of its own."""

    @property
    def n_features_in_(self):
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self):
        return self.estimator_.feature_names_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags


class Composition(_BaseComposition):
    """Of named members, a list of (name, estimator) in the parameter ``_composed``."""

    _composed = "estimators"

    def get_params(self, deep=True):
        """Parameters, with those of the members as ``<name>__<parameter>``.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
        """
        return self._get_params(self._composed, deep=deep)

    def set_params(self, **params):
        """Set parameters; a member is replaced by its name.

        Parameters
        ----------
        **params : dict
            Also ``<name>__<parameter>``, for a parameter of a member.

        Returns
        -------
        self
        """
        return self._set_params(self._composed, **params)
