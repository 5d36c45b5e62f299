"""The template of classifiers whose net learns from outliers."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import NonNegative, Positive
from sklearn_ood.classifiers._network import LogitClassifier
from sklearn_ood.nets._evaluation import map_batches, undisturbed
from sklearn_ood.nets._random import Seeded
from sklearn_ood.outliers._sources import GANOutliers, resolve_sources
from sklearn_ood.outliers._training import GANOutlierNet, OutlierNet

# Outliers drawn beforehand, for each in-distribution row, so that every epoch sees others;
# fewer where rows are wide.
BANK_RATIO = 8
BANK_FLOATS = 2**24
# Spread of a generator's samples, in the data's, below which they are all the same.
COLLAPSED = 1e-3
N_COLLAPSE_SAMPLES = 256


class OutlierClassifier(LogitClassifier):
    """Template of a classifier that is taught by outliers, given or made.

    A method's ``make_loss`` returns an :class:`~sklearn_ood.outliers.OutlierLoss`.

    Parameters
    ----------
    beta : float >= 0, default=1.0
        Weight of the loss on outliers.
    outliers : str, callable, OutlierSource, or dict of these to weights, default="boundary"
        Where training takes its outliers from. "given": the rows labelled ``ood_label``.
        "gan": a GAN trained in turns with the classifier, and "original_gan", one that only
        imitates the data (:class:`GANOutliers`). "boundary": just outside the classes
        (:class:`BoundaryOutliers`); "uniform", "mixup", "noise": see
        :class:`UniformOutliers`, :class:`MixupOutliers`, :class:`NoiseOutliers`. A callable
        ``(X, y, n, random_state) -> X_out`` gets the in-distribution rows and labels. A
        dict mixes sources: ``{"boundary": 0.7, "given": 0.3}``.
    outlier_ratio : float > 0, default=1.0
        Outliers for each in-distribution row of a training step.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        As in :class:`NetClassifier`; with a GAN also ``net_.generator_`` and
        ``net_.discriminator_``. ``net_.history`` has the course of every loss.
    """

    beta: NonNegative = 1.0
    outliers: Any = "boundary"
    outlier_ratio: Positive = 1.0

    _learns_tensors = False  # the sources of outliers make arrays

    @undisturbed
    def sample_outliers(self, n_samples=1, *, random_state=None):
        """Samples of the trained generator; outliers of other sources come from calling them.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, C, H, W)
        """
        check_is_fitted(self)
        if not hasattr(self.net_, "generator_"):
            raise ValueError(
                f"Got outliers={self.outliers!r} with beta={self.beta!r}, which trains no "
                "generator, but sample_outliers needs one; fit with outliers='gan' and "
                "beta > 0, or call the source itself: BoundaryOutliers()(X, y, n)."
            )
        with Seeded(random_state):
            latents = torch.randn(n_samples, self._gan.latent_dim)
        made = map_batches(self.net_.generator_.eval(), latents, device=self.net_.device)
        if self._scaling:
            made = self._scaling.inverse(torch.from_numpy(made)).numpy()
        return made.reshape(-1, *self.input_shape_)

    def untrained_networks(self):
        networks = super().untrained_networks()
        if networks and self.beta and self._gan:
            rows = np.zeros((2, self.n_features_in_), dtype=np.float32)
            made = self._gan.make_networks(self.input_shape_, rows)
            paths = ("net_.generator_", "net_.discriminator_")
            networks |= dict(zip(paths, made, strict=True))
        return networks

    @property
    def _gan(self):
        sources, _ = resolve_sources(self.outliers)
        return next((source for source in sources if isinstance(source, GANOutliers)), None)

    def _make_net(self, data, seed):
        sources, weights = resolve_sources(self.outliers)
        if not self.beta:
            return super()._make_net(data, seed, make_loss=super().make_loss)
        gan, (rows, _) = self._gan, data.in_distribution
        options = {"net_class": GANOutlierNet, "gan": gan} if gan else {"net_class": OutlierNet}
        options |= {"beta": float(self.beta), "outlier_ratio": float(self.outlier_ratio)}
        net = super()._make_net(data, seed, **options)
        if gan:
            net.networks = gan.make_networks(data.input_shape, rows)
        n = max(1, min(BANK_RATIO * len(rows), BANK_FLOATS // rows.shape[1]))
        if self._scaling:  # the sources know the units of X
            rows = self._scaling.inverse(torch.from_numpy(data.rows)).numpy()
            data = replace(data, rows=rows)
        supplies = [source.supply(net, data, n, seed, self.scale_rows) for source in sources]
        net.supply(supplies, weights)
        return net

    def _train(self, net, data, training, held_out, random):
        super()._train(net, data, training, held_out, random)
        if isinstance(net, GANOutlierNet):
            with random:
                check_spread(net, training[0])


@torch.no_grad()
def check_spread(net, rows):
    """Raise if the generator of ``net``, as it was trained, makes one row again and again."""
    samples = net.generate(N_COLLAPSE_SAMPLES).cpu().numpy()
    spread, expected = (np.sqrt(part.var(axis=0).sum()) for part in (samples, rows))
    if not spread > COLLAPSED * expected:
        raise ValueError(
            f"The generator collapsed: its samples spread {spread:.2g}, the data "
            f"{expected:.2g}. Pass GANOutliers with a smaller lr or with pull_away > 0, or "
            "take outliers='boundary', which needs no generator."
        )
