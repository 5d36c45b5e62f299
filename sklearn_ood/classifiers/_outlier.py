"""Classifiers whose net learns from outliers: unsure of them, or rejecting them."""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from numbers import Real
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._parameters import NonNegative, Positive
from sklearn_ood.classifiers._softmax import LogitClassifier
from sklearn_ood.nets._evaluation import map_batches, undisturbed
from sklearn_ood.nets._heads import RejectHead
from sklearn_ood.nets._modules import InputShape, Whitened
from sklearn_ood.nets._training import Seeded
from sklearn_ood.outliers import _sources
from sklearn_ood.outliers._boundary import BoundaryOutliers
from sklearn_ood.outliers._gan import GANOutlierNet, GANOutliers
from sklearn_ood.outliers._training import OutlierLoss, OutlierNet

# Outliers drawn beforehand, for each in-distribution row, so that every epoch sees others;
# fewer where rows are wide.
BANK_RATIO = 8
BANK_FLOATS = 2**24
# Columns of a table from which on its own mlp does not see whitened ones.
MAX_WHITENED = 1024
SOURCES = {
    "given": _sources.GivenOutliers(),
    "gan": GANOutliers(),
    "original_gan": GANOutliers(guided=False),
    "boundary": BoundaryOutliers(),
    "uniform": _sources.UniformOutliers(),
    "mixup": _sources.MixupOutliers(),
    "noise": _sources.NoiseOutliers(),
}


class OutlierClassifier(LogitClassifier):
    """Template of a classifier that is taught by outliers, given or made.

    Its own mlp sees a table of up to 1024 columns standardised and, beside it, whitened: in
    columns that are nearly functions of one another, outliers differ in thin directions. A
    method's ``make_loss`` returns an :class:`~sklearn_ood.outliers.OutlierLoss`.

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
    """

    beta: NonNegative = 1.0
    outliers: Any = "boundary"

    _learns_tensors = False  # the sources of outliers make arrays

    @undisturbed
    def sample_outliers(self, n_samples=1, *, random_state=None):
        """Samples of the trained GAN, (n_samples, n_features) or (n_samples, C, H, W).

        Outliers of other sources come from calling them.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None
        """
        check_is_fitted(self)
        if not hasattr(self.net_, "generator_"):
            raise ValueError(
                f"Got outliers={self.outliers!r} with beta={self.beta!r}, which trains no "
                "generator; fit with outliers='gan' and beta > 0, or call the source itself."
            )
        with Seeded(random_state):
            latents = torch.randn(n_samples, self._gan.latent_dim)
        made = map_batches(self.net_.generator_.eval(), latents, device=self.net_.device)
        if self._scaling:
            made = self._scaling.inverse(torch.from_numpy(made)).numpy()
        return made.reshape(-1, *self.input_shape_)

    def make_network(self, n_classes, input_shape):
        if not self._whitens(input_shape):
            return super().make_network(n_classes, input_shape)
        (n_features,) = input_shape
        layers = super().make_network(n_classes, (2 * n_features,)).network.named_children()
        whitened = ("whitened", Whitened(n_features))
        return InputShape(nn.Sequential(OrderedDict([whitened, *layers])), input_shape)

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
        return next((each for each in sources if isinstance(each, GANOutliers)), None)

    def _whitens(self, input_shape):
        own = isinstance(self.module, str) and self.module in ("auto", "mlp")
        return own and self.beta and len(input_shape) == 1 and input_shape[0] <= MAX_WHITENED

    def _make_net(self, data, seed):
        sources, weights = resolve_sources(self.outliers)
        if not self.beta:
            return super()._make_net(data, seed)
        gan, rows = self._gan, data.known.rows
        options = {"net_class": GANOutlierNet, "gan": gan} if gan else {"net_class": OutlierNet}
        unseen = self.validation_fraction if self.early_stopping else 0.0
        options |= {"beta": float(self.beta), "unseen": unseen}
        net = super()._make_net(data, seed, **options)
        if self._whitens(data.input_shape):
            net.module.network.whitened.learn(rows, seed)
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
        if self.beta:
            with random:
                net.check(training.rows, training.codes)


def resolve_sources(outliers):
    """Lists of the sources, at most one of them a GAN, and weights that a parameter names."""
    pairs = list(outliers.items()) if isinstance(outliers, dict) else [(outliers, 1.0)]
    if not pairs:
        raise ValueError("Got outliers={}, but expected at least one source.")
    sources = [_source(outliers, source) for source, _ in pairs]
    if sum(isinstance(source, GANOutliers) for source in sources) > 1:
        raise ValueError(f"Got outliers={outliers!r}, but expected at most one GAN.")
    for source, weight in pairs:
        if not isinstance(weight, Real) or not 0 < weight < np.inf:
            raise ValueError(
                f"Got weight {weight!r} of outliers {source!r}, but expected finite and > 0."
            )
    return sources, [float(weight) for _, weight in pairs]


def _source(outliers, source):
    if isinstance(source, str) and source in SOURCES:
        return SOURCES[source]
    if isinstance(source, _sources.OutlierSource):
        return source
    if callable(source):
        return _sources.CallableOutliers(source)
    raise ValueError(
        f"Got outliers={outliers!r}, but expected one of {sorted(SOURCES)}, a callable "
        "(X, y, n, random_state) -> X_out, GANOutliers(...), or a dict of these to weights."
    )


def uniform_divergence(logits):
    """KL(uniform || softmax(logits)) in nats, the mean over the rows (Lee et al., eq. 1)."""
    return -torch.log_softmax(logits, dim=1).mean() - math.log(logits.shape[1])


class ConfidenceLoss(OutlierLoss):
    outlier_loss = staticmethod(uniform_divergence)


class ConfidentClassifier(OutlierClassifier):
    """Neural network that is taught to be unsure of outliers, given or made.

    Training minimises the cross entropy on the classes plus ``beta`` times the divergence
    KL(uniform || p) on outliers [1]_ (the paper's are "gan"); the scores are those of
    :class:`SoftmaxClassifier`. Far away from all data a ReLU net is sure of itself all the
    same [2]_: where that matters take :class:`RejectClassifier`.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Dense layers of "mlp" and "small_cnn". One layer alone pays for its doubts about
        outliers with accuracy where there are many classes.
    beta : float >= 0, default=0.03
        Weight of the divergence on outliers. 0 trains, bit for bit, what
        :class:`SoftmaxClassifier` of these layers trains. At 1 outliers that resemble the
        data can bring a deep network without normalisation to say the same of all rows; fit
        warns.

    References
    ----------
    .. [1] K. Lee, H. Lee, K. Lee and J. Shin, "Training confidence-calibrated classifiers for
       detecting out-of-distribution samples", ICLR 2018, equations 1, 3, 4, algorithm 1.
    .. [2] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019, section 3.

    Examples
    --------
    >>> from sklearn_ood import ConfidentClassifier
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(200, outliers="box", random_state=0)
    >>> classifier = ConfidentClassifier(outliers="given", ood_label=-1, random_state=0)
    >>> inside, outside = classifier.fit(X, y).score_samples([[-10, 0], [40, 40]])
    >>> bool(inside > outside)
    True
    """

    hidden_layer_sizes: Iterable[int] | int = (128, 128)
    beta: NonNegative = 0.03

    def make_loss(self, class_weights):
        loss = ConfidenceLoss if self.beta else nn.CrossEntropyLoss
        return loss(class_weights)


def reject_loss(logits):
    """Cross entropy of rows that belong to the last, the reject class."""
    return -torch.log_softmax(logits, dim=1)[:, -1].mean()


class RejectLoss(OutlierLoss):
    outlier_loss = staticmethod(reject_loss)

    def class_logits(self, outputs):
        return outputs[:, :-1]


class RejectClassifier(OutlierClassifier):
    """Neural network with one more output, for outliers: the reject class.

    Training minimises the cross entropy on the classes plus ``beta`` times the cross entropy
    of outliers, which belong to output K + 1. Unlike the classes' own confidence
    (:class:`ConfidentClassifier`), the reject class can win in all of the far space [1]_. With
    f the net's K + 1 outputs divided by ``temperature``, ``decision_function`` is
    f_k - f_reject, the log-odds of each class against the reject class; ``predict`` never
    rejects, and ``predict_proba`` is over the K classes alone.

    Parameters
    ----------
    beta : float > 0, default=0.2
        Weight of the outliers in the loss. A larger one refuses more rows close to the
        classes, and more of their own.
    score_function : {"margin", "1-reject"}, default="margin"
        Formula of ``score_samples``: "margin" is max_k f_k - f_reject, in (-inf, inf), and
        >= 0 exactly where the reject class does not win [1]_; "1-reject" is
        log(1 - p_reject), in (-inf, 0], the score of [2]_ on a scale that does not saturate.

    References
    ----------
    .. [1] S. Vernekar et al., "Analysis of confident-classifiers for out-of-distribution
       detection", 2019, section 4.
    .. [2] K. Lee, H. Lee, K. Lee and J. Shin, "Training confidence-calibrated classifiers for
       detecting out-of-distribution samples", ICLR 2018, appendix E.

    Examples
    --------
    >>> from sklearn_ood import RejectClassifier
    >>> from sklearn_ood.datasets import make_two_gaussians
    >>> X, y = make_two_gaussians(200, random_state=0)
    >>> classifier = RejectClassifier(random_state=0).fit(X, y)
    >>> (classifier.score_samples([[-10, 0], [0, 40]]) >= 0).tolist()
    [True, False]
    """

    score_function: Annotated[str, StrOptions({"margin", "1-reject"})] = "margin"
    beta: Positive = 0.2

    def n_outputs(self, n_classes):
        return n_classes + 1

    def make_loss(self, class_weights):
        if class_weights is not None:
            class_weights = torch.cat([class_weights, torch.ones(1)])
        return RejectLoss(class_weights)

    def make_head(self):
        return RejectHead(self.score_function, self.temperature_)
