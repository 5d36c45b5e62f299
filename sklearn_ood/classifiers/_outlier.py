"""The template of classifiers whose net learns from outliers."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.nets._evaluation import map_batches
from sklearn_ood.nets._gan import build_discriminator, build_generator
from sklearn_ood.nets._training import Net, seeded
from sklearn_ood.outliers._sources import GANOutliers, resolve_sources, sample_bank
from sklearn_ood.outliers._training import GANOutlierNet, OutlierNet

# Outliers drawn beforehand, for each in-distribution row, so that every epoch sees others;
# fewer where rows are wide.
BANK_RATIO = 8
BANK_FLOATS = 2**24
# Spread of a generator's samples, in the data's, below which they are all the same.
COLLAPSED = 1e-3
N_COLLAPSE_SAMPLES = 256


class OutlierClassifier(NetClassifier):
    """A net classifier with the parameters ``beta``, ``outliers`` and ``outlier_ratio``.

    A method supplies ``_outlier_loss``, from outputs on outliers to a loss.
    """

    def sample_outliers(self, n_samples=1, *, random_state=None):
        """Samples of the trained generator.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, C, H, W)

        Raises
        ------
        ValueError
            If no generator was trained: other outliers come from calling their source, as
            in ``BoundaryOutliers()(X, y, n)``.
        """
        check_is_fitted(self)
        if not isinstance(self.net_, GANOutlierNet):
            raise ValueError(
                f"Got outliers={self.outliers!r} with beta={self.beta!r}, which trains no "
                "generator, but sample_outliers needs one; fit with outliers='gan' and "
                "beta > 0, or call the source itself: BoundaryOutliers()(X, y, n)."
            )
        with seeded(random_state):
            latents = torch.randn(n_samples, self.net_.latent_dim)
        return _generate(self.net_, latents).reshape(-1, *self.input_shape_)

    _learns_tensors = False  # the sources of outliers make arrays

    @property
    def _net_class(self):
        if not self.beta:
            return Net
        return GANOutlierNet if self._gan is not None else OutlierNet

    @property
    def _gan(self):
        sources, _ = resolve_sources(self.outliers)
        return next((source for source in sources if isinstance(source, GANOutliers)), None)

    def _check_parameters(self):
        super()._check_parameters()
        if not 0 <= self.beta < np.inf:
            raise ValueError(f"Got beta={self.beta!r}, but expected a finite number >= 0.")
        if not 0 < self.outlier_ratio < np.inf:
            raise ValueError(
                f"Got outlier_ratio={self.outlier_ratio!r}, but expected a number > 0: "
                "outliers for each in-distribution row of a step."
            )

    def _net_parameters(self, data):
        parameters = super()._net_parameters(data)
        if self.beta:
            parameters |= {
                "beta": float(self.beta),
                "outlier_loss": self._outlier_loss,
                "outlier_ratio": float(self.outlier_ratio),
            }
            parameters |= self._gan_parameters(data)
        return parameters

    def _gan_parameters(self, data):
        gan = self._gan
        if gan is None:
            return {}
        check_gan(gan)
        rows, _ = data.in_distribution
        sizes = {"hidden_layer_sizes": gan.hidden_layer_sizes, "n_channels": gan.n_channels}
        shape = data.input_shape
        return {
            "networks": (
                build_generator(gan.generator, gan.latent_dim, shape, rows, **sizes),
                build_discriminator(gan.discriminator, shape, rows, **sizes),
            ),
            "latent_dim": gan.latent_dim,
            "gan_lr": gan.lr,
            "guided": gan.guided,
            "pull_away": gan.pull_away,
        }

    def _train(self, net, data, training, held_out):
        if self.beta:
            self._supply(net, data, seed=torch.initial_seed())
        super()._train(net, data, training, held_out)
        if self.beta:
            net.release()
        if self.beta and self._gan is not None:
            check_spread(net, training[0])

    def _supply(self, net, data, seed):
        sources, weights = resolve_sources(self.outliers)
        rows, _ = data.in_distribution
        n = max(1, min(BANK_RATIO * len(rows), BANK_FLOATS // rows.shape[1]))
        net.supply(
            [
                net.generate_detached
                if isinstance(source, GANOutliers)
                else sample_bank(source, data, n, seed)
                for source in sources
            ],
            weights,
        )


def check_gan(gan):
    """Raise for parameters of :class:`GANOutliers` that are out of range."""
    if not gan.lr > 0:
        raise ValueError(f"Got GANOutliers lr={gan.lr!r}, but expected a number > 0.")
    if not gan.pull_away >= 0:
        raise ValueError(f"Got pull_away={gan.pull_away!r}, but expected a number >= 0.")
    for name in ("latent_dim", "n_channels"):
        if not getattr(gan, name) >= 1:
            raise ValueError(
                f"Got GANOutliers {name}={getattr(gan, name)!r}, but expected an integer >= 1."
            )


def check_spread(net, rows):
    """Raise if the generator of ``net``, as it was trained, makes one row again and again."""
    samples = net.generate_detached(N_COLLAPSE_SAMPLES).cpu().numpy()
    spread, expected = (np.sqrt(part.var(axis=0).sum()) for part in (samples, rows))
    if not spread > COLLAPSED * expected:
        raise ValueError(
            f"The generator collapsed: its samples spread {spread:.2g}, the data "
            f"{expected:.2g}. Pass GANOutliers with a smaller lr or with pull_away > 0, or "
            "take outliers='boundary', which needs no generator."
        )


def _generate(net, latents):
    generator = net.generator_.eval()

    @torch.no_grad()
    def rows(batch):
        return generator(batch).flatten(1)

    return map_batches(rows, latents, device=net.device)
