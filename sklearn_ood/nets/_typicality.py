"""What is typical of a network's codes, class by class, and how far a code is from it."""

from typing import NamedTuple

import numpy as np
import torch


class ClassCodes(NamedTuple):
    """What is typical of the codes of each class.

    Attributes
    ----------
    means : ndarray of shape (n_classes, n_units)
        Class means of the whitened codes.
    whitening : ndarray of shape (n_units, n_units)
        ``code @ whitening`` has, within the classes, the identity as its covariance.
    log_norms : ndarray of shape (n_classes,)
        Class means of the logarithm of the squared norm.
    log_norm_scale : float
        Its standard deviation within the classes.
    """

    means: np.ndarray
    whitening: np.ndarray
    log_norms: np.ndarray
    log_norm_scale: float


def class_codes(code, classes):
    """Learn what is typical of the codes of each class.

    Parameters
    ----------
    code : ndarray of shape (n_samples, n_units)
    classes : ndarray of shape (n_samples,)
        Integers from 0.

    Returns
    -------
    ClassCodes
        With one covariance for all classes, estimated with shrinkage (Ledoit and Wolf, 2004).
    """
    code = code.astype(np.float64)
    members = np.eye(classes.max() + 1)[classes]
    shares = members / members.sum(axis=0)
    means = shares.T @ code
    from sklearn.covariance import ledoit_wolf  # slow to import

    covariance, _ = ledoit_wolf(code - means[classes], assume_centered=True)
    floor = np.finfo(np.float32).eps * max(np.trace(covariance) / len(covariance), 1e-12)
    factor = np.linalg.cholesky(covariance + floor * np.eye(len(covariance)))
    whitening = np.linalg.inv(factor).T
    log_norm = _log_norm(torch.from_numpy(code)).numpy()
    log_norms = shares.T @ log_norm
    scale = max(np.std(log_norm - log_norms[classes]), np.finfo(np.float32).eps)
    return ClassCodes(means @ whitening, whitening, log_norms, float(scale))


def unusual_codes(code, typical):
    """Squared distances of codes from what is typical of the nearest class.

    Parameters
    ----------
    code : tensor of shape (n, n_units), float64
    typical : ClassCodes

    Returns
    -------
    tensor of shape (n, 2)
        The squared Mahalanobis distance per unit, and the squared deviation of the logarithm
        of the norm in standard deviations: about 1 for typical codes.
    """
    means, whitening, log_norms = (
        torch.as_tensor(part, device=code.device) for part in typical[:3]
    )
    white = code @ whitening
    distances = torch.stack([(white - mean).square().sum(dim=1) for mean in means])
    deviation = (_log_norm(code)[:, None] - log_norms).abs().min(dim=1).values
    return torch.stack(
        [distances.amin(dim=0) / code.shape[1], (deviation / typical.log_norm_scale).square()],
        dim=1,
    )


def _log_norm(code):
    return torch.log(code.square().sum(dim=1).clamp_min(np.finfo(np.float32).tiny))
