"""A denoising autoencoder's outputs and distances: what its confidence is made of."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LARGEST_FLOAT = torch.finfo(torch.float32).max


class CodeStatistics(nn.Module):
    """What is typical of the codes of each class, and how far a code is from it.

    ``code @ whitening`` has, within the classes, the identity as its covariance; ``means`` are
    its class means. ``log_norms`` are class means of the logarithm of the squared norm, and
    ``log_norm_scale`` its standard deviation within the classes.
    """

    def __init__(self, n_classes, n_units):
        super().__init__()
        shapes = {"means": (n_classes, n_units), "whitening": (n_units, n_units)}
        shapes |= {"log_norms": (n_classes,), "log_norm_scale": ()}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def fit(cls, code, classes):
        """Learn from codes (n, n_units) and classes, integers from 0.

        All classes have one covariance, with shrinkage (Ledoit and Wolf, 2004).
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
        log_norm = log_squared_norm(torch.from_numpy(code)).numpy()
        log_norms = shares.T @ log_norm
        scale = max(np.std(log_norm - log_norms[classes]), np.finfo(np.float32).eps)
        statistics = cls(len(means), code.shape[1])
        learned = (means @ whitening, whitening, log_norms, np.float64(scale))
        for buffer, values in zip(statistics.buffers(), learned, strict=True):
            buffer.copy_(torch.as_tensor(values))
        return statistics

    def forward(self, code):
        """Squared distances (n, 2) of codes in float64 from what is typical of a class.

        The squared Mahalanobis distance per unit, and the squared deviation of the logarithm
        of the norm in standard deviations, of the nearest class: about 1 for typical codes.
        """
        white = functional.linear(code, self.whitening.T)
        distances = torch.stack([(white - mean).square().sum(dim=1) for mean in self.means])
        deviation = (log_squared_norm(code)[:, None] - self.log_norms).abs().amin(dim=1)
        return torch.stack(
            [distances.amin(dim=0) / code.shape[1], (deviation / self.log_norm_scale).square()],
            dim=1,
        )


class ConfidenceNetwork(nn.Module):
    """Logits of the classes, then the distances that lower the confidence.

    The first is the reconstruction error, ||r(x) - x||^2 / D; without ``statistics`` the only.
    """

    def __init__(self, autoencoder, statistics):
        super().__init__()
        self.autoencoder = autoencoder
        self.statistics = statistics

    def forward(self, rows):
        code = self.autoencoder.encode(rows)
        logits = without_overflow(self.autoencoder.classify(code), nan=0.0).double()
        residual = without_overflow(self.autoencoder.decode(code) - rows).double()
        parts = [logits, residual.square().mean(dim=1, keepdim=True)]
        if self.statistics is not None:
            parts.append(self.statistics(without_overflow(code).double()))
        return torch.cat(parts, dim=1)


def log_squared_norm(code):
    """Logarithm of the squared norm of each code."""
    return torch.log(code.square().sum(dim=1).clamp_min(np.finfo(np.float32).tiny))


def without_overflow(values, nan=LARGEST_FLOAT):
    """Infinite values as the largest of float32."""
    return torch.nan_to_num(values, nan=nan, posinf=LARGEST_FLOAT, neginf=-LARGEST_FLOAT)
