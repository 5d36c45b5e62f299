from dataclasses import field
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.class_weight import compute_sample_weight

from sklearn_ood._parameters import Estimator, clone_completed, fitted
from sklearn_ood._response import classes_of, fitted_foreign, log_proba
from sklearn_ood.classifiers._dae import DAEConfidence


class DAEClassifier(DAEConfidence):
    """Any classifier, with the confidence of a denoising autoencoder beside it.

    The classifier's probabilities are multiplied with the confidence c(x) of an autoencoder
    that is trained on the same rows and has no classes of its own (:class:`DAEConfidence`).

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Is cloned and fitted on the in-distribution rows, flat and in float64.
    class_weight : dict, "balanced" or None, default=None
        Sample weights that the classifier's ``fit`` gets.
    random_state : int, RandomState or None, default=None
        Seed of the training, and of an ``estimator`` that has none of its own.

    Attributes
    ----------
    estimator_ : classifier
        The fitted clone of ``estimator``, for more than one class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import DAEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DAEClassifier(LogisticRegression(), random_state=0).fit(X, y)
    >>> bool(classifier.score_samples(X).min() > classifier.score_samples(X + 10).max())
    True
    """

    estimator: Estimator = field(kw_only=False)
    module: Any = "auto"

    estimator_: BaseEstimator = fitted()

    _learns_classes = False
    _learns_tensors = _keeps_tensors = False  # the classifier may be anybody's

    @property
    def scored_network_(self):
        raise AttributeError(
            f"Got DAEClassifier(estimator={self.estimator!r}), whose outputs have no gradient."
        )

    def _validate_params(self):
        super()._validate_params()
        if not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"Got estimator={self.estimator!r}, which has no predict_proba, but the "
                "confidence multiplies probabilities; wrap it in CalibratedClassifierCV."
            )

    def input_gradients(self, X, *, guided=False):
        raise TypeError(
            f"Got a {type(self).__name__}, but input gradients need a net of its own classes."
        )

    def _train(self, net, data, training, held_out, random):
        super()._train(net, data, training, held_out, random)
        if len(data.classes) == 1:
            return
        rows, codes, weight = data.known
        y = data.classes[codes]
        if self.class_weight is not None:
            of_class = compute_sample_weight(self.class_weight, y)
            weight = of_class if weight is None else of_class * weight
        weights = {} if weight is None else {"sample_weight": weight}
        with random:
            random_state = np.random.RandomState(int(torch.randint(2**31 - 1, ())))
        estimator = clone_completed(self.estimator, random_state=random_state)
        self.estimator_ = fitted_foreign(estimator, rows.astype(np.float64), y, **weights)

    def _class_log_proba(self, rows, logits):
        if len(self.classes_) == 1:
            return np.zeros((len(rows), 1))
        # In float32 scikit-learn's probabilities depend on the rows beside a row.
        found = log_proba(self.estimator_, rows.astype(np.float64))
        return found[:, np.argsort(classes_of(self.estimator_))]  # in whatever order it has

    def _log_proba(self, rows):
        return self._class_log_proba(rows, None)
