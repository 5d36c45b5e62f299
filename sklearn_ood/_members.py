"""The classifiers that are compared: what each predicts, as numbers or as tensors."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._base import NetClassifier, OODClassifier
from sklearn_ood._divergence import MIN_LOG_PROBA


def is_differentiable(classifier):
    """Whether the probabilities of a fitted classifier have a gradient."""
    wraps_another = getattr(classifier, "estimator", None) is not None
    return isinstance(classifier, NetClassifier) and not wraps_another


def log_proba(classifiers, rows):
    """Predictions of fitted classifiers.

    Parameters
    ----------
    classifiers : sequence of estimators
        All with the same classes.
    rows : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes), float64
        A probability of zero is read as 2.2e-16.
    """
    return np.stack([_log_proba(classifier, rows) for classifier in classifiers])


def _log_proba(classifier, rows):
    if isinstance(classifier, OODClassifier):
        return classifier.predict_log_proba(rows)
    proba = np.asarray(classifier.predict_proba(rows), dtype=np.float64)
    return np.log(np.maximum(proba, np.exp(MIN_LOG_PROBA)))


def log_proba_tensor(classifiers, x):
    """Predictions for a tensor of rows: with gradients, where every member has them.

    Parameters
    ----------
    classifiers : sequence of estimators
    x : tensor of shape (n_samples, n_features)

    Returns
    -------
    tensor of shape (n_members, n_samples, n_classes), float64, on the device of `x`
    """
    if all(is_differentiable(classifier) for classifier in classifiers):
        outputs = [
            classifier._log_outputs(x.to(classifier.net_.device), scaled=True)
            for classifier in classifiers
        ]
        return torch.stack([torch.log_softmax(each, dim=1).to(x.device) for each in outputs])
    predictions = log_proba(classifiers, x.detach().cpu().numpy())
    return torch.from_numpy(predictions).to(x.device)


def check_member(name, classifier, classes=None, n_features=None):
    """Raise unless a fitted classifier fits in with the others.

    Parameters
    ----------
    name : str
    classifier : estimator
    classes : ndarray, default=None
        What its ``classes_`` must be; None does not look.
    n_features : int, default=None
        What its ``n_features_in_`` must be, where it has one.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it has no ``predict_proba``.
    ValueError
        If its classes or its number of features are others.
    """
    check_is_fitted(
        classifier,
        msg=f"The classifier {name!r} is not fitted, but prefit=True takes the classifiers as "
        "they are; fit it first or pass prefit=False.",
    )
    if not hasattr(classifier, "predict_proba"):
        raise TypeError(
            f"Got the classifier {name!r} ({type(classifier).__name__}) without "
            "predict_proba, but divergences compare probabilities; wrap it in "
            "CalibratedClassifierCV."
        )
    if classes is not None and not np.array_equal(classifier.classes_, classes):
        raise ValueError(
            f"Got the classifier {name!r} with classes_={_shortened(classifier.classes_)}, but "
            f"expected {_shortened(classes)}; all classifiers must know the same classes."
        )
    own = getattr(classifier, "n_features_in_", n_features)
    if n_features is not None and own != n_features:
        raise ValueError(
            f"Got the classifier {name!r} for {own} features, but expected {n_features}; all "
            "classifiers and the generator must be for the same inputs."
        )


def _shortened(classes):
    classes = list(classes)
    return f"[{', '.join(map(repr, classes[:10]))}{', ...' if len(classes) > 10 else ''}]"
