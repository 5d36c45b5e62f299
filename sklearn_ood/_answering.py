"""What scikit-learn expects of a classifier, also of datasets of images."""

from sklearn.base import ClassifierMixin

from sklearn_ood.data._blocks import labels_of


class Answering(ClassifierMixin):
    """What scikit-learn expects of a classifier; the labels may be those of a dataset."""

    def score(self, X, y=None, sample_weight=None):
        """Share of right answers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,), default=None
            Labels; None takes those of a dataset.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts.

        Returns
        -------
        float
        """
        return super().score(X, labels_of(X, y), sample_weight)
