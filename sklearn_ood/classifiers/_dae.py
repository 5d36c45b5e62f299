from collections.abc import Iterable
from functools import partial
from typing import Literal

import numpy as np
import torch
from sklearn.utils import Bunch

from sklearn_ood._parameters import Count, NonNegative, Positive, Share, fitted
from sklearn_ood._response import log_softmax
from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.data._blocks import block_by_block
from sklearn_ood.nets import _autoencoder
from sklearn_ood.nets._curvature import exact_trace, hutchinson_trace
from sklearn_ood.nets._evaluation import forward, map_batches, rows_per_batch
from sklearn_ood.nets._heads import ConfidenceHead

# Of the best possible confidence 1, what ``alpha="auto"`` and ``typicality`` leave to the
# chosen share of held-out rows.
THRESHOLD = 0.9
LARGEST_EXACT_TRACE = 64
# Of what lowers a log-confidence: sums and differences of such stay finite.
LARGEST = np.finfo(np.float64).max / 8


class DAEConfidence(NetClassifier):
    """Classifier whose confidence is that of a denoising autoencoder.

    A denoising autoencoder r moves its input towards denser regions, so that r(x) - x is
    close to zero at the maxima of the density, and only there if the trace of its Jacobian
    is negative too [2]_. The confidence ([1]_, eqs. 3 to 5) is

    c(x) = exp(-alpha / D ||r(x) - x||^2) * exp(-beta max(gamma(x), 0)),

    gamma(x) = (1/D) sum_i (dr_i/dx_i - 1).

    It multiplies the class probabilities p_k(x): inputs that fool the classifier alone do not
    move it. ``decision_function`` is log c(x) + log p_k(x), ``score_samples`` its maximum over
    the classes, in (-inf, 0]: far from the training data it falls without bound, as minus the
    squared distance.

    The classifier and its autoencoder share one encoder and are trained jointly (with any other
    classifier: :class:`DAEClassifier`). Without ``y``, whose class is then labelled 1, or with
    one class, it is a model of that class.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Sequential or \
            callable, default="auto"
        As in :class:`SoftmaxClassifier`. All layers but the last are the encoder, whose last
        hidden layer is the code.
    hidden_layer_sizes : tuple of int, default=(200, 200)
        Dense layers of "mlp" and "small_cnn". One layer alone cannot bend around a ring.
    lr : float > 0, default=3e-3
        Learning rate.
    lr_schedule : {None, "cosine", "step"}, default="cosine"
        Without one the last steps leave errors of their own in the reconstructions.
    decoder : {"tied", "free"}, default="tied"
        The mirror image of the encoder, with the encoder's weights transposed, or with its
        own, also for encoders that have no mirror image.
    noise : float > 0, default=0.2
        Standard deviation of the training noise, in the units of X: scale X first.
    reconstruction_weight : float > 0, default=5.0
        Factor of the mean squared error, as a share of the features' mean variance, beside
        the cross entropy.
    alpha : float > 0 or "auto", default="auto"
        Weight of the reconstruction error. "auto": so that the share ``coverage`` of
        held-out rows keeps exp(-alpha/D ||r(x) - x||^2) >= 0.9.
    coverage : float in (0, 1), default=0.95
        That share.
    beta : float >= 0, default=10.0
        Weight of a positive gamma.
    curvature : {"auto", "exact", "hutchinson", "off"}, default="auto"
        How gamma is computed. "exact" costs a backward pass for every feature or active code
        unit, whichever are fewer; "hutchinson" one for each of ``n_probes`` random directions,
        the same for all rows; "auto" is exact up to 64 of them; "off" leaves it out.
    n_probes : int >= 1, default=4
        Directions of "hutchinson": few will do where there are many features.
    typicality : bool, default=False
        Also multiply with exp(-v d(x)^2 - w z(x)^2): d is the Mahalanobis distance from the
        code to the nearest class mean, z the deviation of the logarithm of the code's norm from
        the nearest class mean, in standard deviations; v and w are chosen as ``alpha="auto"``
        is, each by itself. The code of a blank image, which reconstructs well, is short.
    validation_fraction : float in (0, 1), default=0.1
        Share of every class held out for ``alpha="auto"``, ``typicality`` and early stopping.
        Where no class has rows enough for that, the training rows are used instead.

    Attributes
    ----------
    alpha_ : float
        The weight of the reconstruction error in use.
    typicality_weights_, probes_ : ndarray
        The weights v and w, with ``typicality=True``; the random signs of "hutchinson".
    net_ : skorch.NeuralNet
        ``net_.module_`` has ``encode``, ``decode`` and ``reconstruct`` for tensors of flat
        rows; ``net_.history`` has both losses of each epoch.

    References
    ----------
    .. [1] G. Spigler, "Denoising autoencoders for overgeneralization in neural networks",
       IEEE TPAMI 2020; gamma is equation 4 without its 0 * inf.
    .. [2] G. Alain and Y. Bengio, "What regularized auto-encoders learn from the
       data-generating distribution", JMLR 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import DAEConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DAEConfidence(lr=0.01, random_state=0).fit(X, y)
    >>> bool(classifier.score_samples(X).min() > classifier.score_samples(X + 10).max())
    True
    """

    hidden_layer_sizes: Iterable[int] | int = (200, 200)
    lr: Positive = 3e-3
    lr_schedule: Literal["cosine", "step"] | None = "cosine"
    decoder: Literal["tied", "free"] = "tied"
    noise: Positive = 0.2
    reconstruction_weight: Positive = 5.0
    alpha: Positive | Literal["auto"] = "auto"
    coverage: Share = 0.95
    beta: NonNegative = 10.0
    curvature: Literal["auto", "exact", "hutchinson", "off"] = "auto"
    n_probes: Count = 4
    typicality: bool = False

    probes_: np.ndarray = fitted()
    alpha_: float = fitted()
    typicality_weights_: np.ndarray = fitted()
    code_statistics_: None = fitted()

    _needs_labels = False
    _learns_classes = True  # else the network is an autoencoder alone

    def make_network(self, n_classes, input_shape):
        network = super().make_network(n_classes, input_shape).network
        n_classes = n_classes if self._learns_classes else 1
        tied = self.decoder == "tied"
        autoencoder = _autoencoder.Autoencoder(network, input_shape, tied, n_classes=n_classes)
        if isinstance(self.module, str):
            _autoencoder.balance_weights(autoencoder)
        return autoencoder

    @block_by_block
    def predict(self, X):
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]

    def confidence_components(self, X):
        """What the confidence c(x) of each row is made of.

        Returns
        -------
        sklearn.utils.Bunch
            Arrays of shape (n_samples,). ``reconstruction_error``: ||r(x) - x||^2 / D.
            ``log_confidence``: log c(x). Unless ``curvature="off"``, ``gamma`` and
            ``curvature_factor``: exp(-beta max(gamma, 0)). With ``typicality=True``,
            ``code_distance``: d(x)^2, per code unit, and ``code_norm_deviation``: z(x)^2.
        """
        _, components = self._components(self._validate_rows(X))
        return components

    @property
    def scored_network_(self):
        """Without the curvature, whose gradient is zero for ReLU nets."""
        return self._scored(self._confidence_network(self.net_))

    def make_head(self):
        weights = [self.alpha_, *self.typicality_weights_]
        return ConfidenceHead(self.net_.module_.n_classes, weights)

    @property
    def _needs_holdout(self):
        return self.early_stopping or self.typicality or self.alpha == "auto"

    def _hold_out(self, data, seed):
        known = data.known
        if 0 < self.validation_fraction * np.bincount(known.codes).max() <= 0.5:
            return known, known
        return super()._hold_out(data, seed)

    def untrained_networks(self):
        networks = super().untrained_networks()
        if networks and self.typicality:
            size = len(self.classes_), networks["net_"].code_size
            networks["code_statistics_"] = _autoencoder.CodeStatistics(*size)
        return networks

    def _make_net(self, data, seed):
        weight = self.reconstruction_weight / _mean_variance(data.known.rows)
        own = {"noise": self.noise, "reconstruction_weight": weight}
        return super()._make_net(data, seed, net_class=_autoencoder.DenoisingNet, **own)

    def _train(self, net, data, training, held_out, random):
        super()._train(net, data, training, held_out, random)
        with random:
            signs = torch.randint(0, 2, (int(self.n_probes), data.rows.shape[1]))
        self.probes_ = (2 * signs - 1).numpy().astype(np.float32)
        self.code_statistics_ = None
        if self.typicality:
            code = map_batches(net.module_.encode, training.rows, device=net.device)
            drawn = training.drawn_places()
            statistics = _autoencoder.CodeStatistics.fit(code[drawn], training.codes[drawn])
            self.code_statistics_ = statistics.to(net.device)

    def _calibrate(self, net, held_out):
        weights = [self.alpha]
        if self.typicality or self.alpha == "auto":
            distances = self._outputs(net, held_out.rows)[1]
            weights = _weights(distances[held_out.drawn_places()], self.coverage)
        self.alpha_ = float(weights[0] if self.alpha == "auto" else self.alpha)
        self.typicality_weights_ = np.asarray(weights[1:])

    def _confidence_network(self, net):
        return _autoencoder.ConfidenceNetwork(net.module_, self.code_statistics_)

    def _outputs(self, net, rows):
        """Logits of the classes, and the distances that lower the confidence."""
        outputs = map_batches(self._confidence_network(net), rows, device=net.device)
        return np.split(outputs, [net.module_.n_classes], axis=1)

    def _gamma(self, rows):
        module, device, n_features = self.net_.module_, self.net_.device, rows.shape[1]
        n_pairs = rows_per_batch(4 * n_features)
        narrow = min(n_features, module.code_size) <= LARGEST_EXACT_TRACE
        if self.curvature == "exact" or (self.curvature == "auto" and narrow):
            options = {"code_is_relu": module.code_is_relu, "pairs_per_block": n_pairs}
            trace_of = partial(exact_trace, module.encode, module.decode, **options)
        else:
            probes = torch.as_tensor(self.probes_, device=device)
            trace_of = partial(hutchinson_trace, module.reconstruct, probes=probes)
        trace = map_batches(trace_of, rows, device=device, max_rows=n_pairs)
        return np.nan_to_num(trace) / n_features - 1

    @np.errstate(over="ignore", under="ignore")
    def _components(self, rows):
        logits, distances = self._outputs(self.net_, rows)
        names = ("reconstruction_error", "code_distance", "code_norm_deviation")
        components = Bunch(**dict(zip(names, distances.T, strict=False)))
        weighted = [self.alpha_, *self.typicality_weights_] * distances
        components.log_confidence = -np.minimum(weighted.sum(axis=1), LARGEST)
        if self.curvature != "off":
            components.gamma = self._gamma(rows)
            penalty = np.minimum(self.beta * np.maximum(components.gamma, 0.0), LARGEST)
            components.curvature_factor = np.exp(-penalty)
            components.log_confidence -= penalty
        return self._class_log_proba(rows, logits), components

    def _class_log_proba(self, rows, logits):
        return log_softmax(logits)

    def _evidence(self, rows):
        log_proba, components = self._components(rows)
        return log_proba + components.log_confidence[:, None]

    def _scores(self, rows):
        return self._evidence(rows).max(axis=1)

    def _evidence_and_scores(self, rows):
        return self._log_proba(rows), self._scores(rows)

    def _log_proba(self, rows):
        return self._class_log_proba(rows, forward(self.net_, rows))


def _mean_variance(rows, most=10_000):
    some = rows[:: max(1, len(rows) // most)]
    tensor = isinstance(some, torch.Tensor)
    variance = float((some.var(dim=0, correction=0) if tensor else some.var(axis=0)).mean())
    return variance if variance > 0 else 1.0


def _weights(distances, coverage):
    """w such that exp(-w d) is the threshold where the share ``coverage`` lies below d."""
    quantiles = np.quantile(distances, coverage, axis=0, method="higher")
    return -np.log(THRESHOLD) / np.maximum(quantiles, np.finfo(np.float64).eps)
