import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.class_weight import compute_sample_weight

from sklearn_ood._response import log_softmax
from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.data._blocks import block_by_block
from sklearn_ood.nets._autoencoder import Autoencoder, DenoisingNet, balance_weights
from sklearn_ood.nets._curvature import exact_trace, hutchinson_trace
from sklearn_ood.nets._evaluation import forward, map_batches, rows_per_batch
from sklearn_ood.nets._modules import build_module
from sklearn_ood.nets._typicality import class_codes, unusual_codes

# Of the best possible confidence 1, what ``alpha="auto"`` and ``typicality`` leave to the
# chosen share of held-out rows.
THRESHOLD = 0.9
LARGEST_EXACT_TRACE = 64
CHOICES = {
    "decoder": ("tied", "free"),
    "curvature": ("auto", "exact", "hutchinson", "off"),
}
LARGEST_FLOAT = torch.finfo(torch.float32).max
SMALLEST_PROBA = np.finfo(np.float32).tiny


class DAEConfidence(NetClassifier):
    """Classifier whose confidence is that of a denoising autoencoder.

    A denoising autoencoder r moves its input towards denser regions, so that r(x) - x is
    close to zero at the maxima of the density, and only there if the trace of its Jacobian
    is negative too. The confidence is

    c(x) = exp(-alpha / D ||r(x) - x||^2) * exp(-beta max(gamma(x), 0)),

    gamma(x) = (1/D) sum_i (dr_i/dx_i - 1),

    ([1]_, eqs. 3 to 5), and it multiplies the class probabilities p_k(x): inputs made to fool
    the classifier alone do not move it.

    ``decision_function`` is log c(x) + log p_k(x), ``score_samples`` its maximum over the
    classes: in (-inf, 0], the logarithm of a confidence in (0, 1]. Far from the training data
    it falls without bound, as minus the squared distance.

    Three ways to use it. A neural network and its autoencoder share one encoder and are
    trained jointly (``estimator=None``). Any other classifier keeps its own predictions, and
    an autoencoder of its own supplies the confidence (``estimator=RandomForestClassifier()``).
    Without ``y``, or with one class, it is a model of that class: p_1 = 1.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``, default=None
        Is cloned and fitted on the in-distribution rows, flat and in float32. None trains the
        classifier jointly with the autoencoder.
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Sequential or \
            callable, default="auto"
        The classifier network, as in :class:`SoftmaxClassifier`. All layers but the last are
        the encoder; its last hidden layer is the code.
    decoder : {"tied", "free"}, default="tied"
        The mirror image of the encoder, with the encoder's weights transposed, or with its
        own. "free" also takes encoders that have no mirror image.
    noise : float > 0, default=0.2
        Standard deviation of the training noise, in the units of X: scale X first.
    reconstruction_weight : float > 0, default=1.0
        Factor of the mean squared error beside the cross entropy; the error is taken as a
        share of the features' mean variance, so that the units of X do not matter.
    alpha : float > 0 or "auto", default="auto"
        Weight of the reconstruction error. "auto" chooses it so that the share ``coverage``
        of held-out rows keeps exp(-alpha/D ||r(x) - x||^2) >= 0.9.
    coverage : float in (0, 1), default=0.95
        That share.
    beta : float >= 0, default=10.0
        Weight of a positive gamma.
    curvature : {"auto", "exact", "hutchinson", "off"}, default="auto"
        How gamma is computed. "exact" costs a backward pass for every feature or active code
        unit, whichever are fewer in kind; "hutchinson" one for each of ``n_probes`` random
        directions, the same for all rows; "auto" is exact up to 64 features or code units.
        "off" leaves it out.
    n_probes : int >= 1, default=4
        Directions of "hutchinson". The error of gamma falls as 1 / sqrt(n_features *
        n_probes), hence a few will do where there are many features.
    typicality : bool, default=False
        Also multiply with exp(-v d(x)^2 - w z(x)^2), where d is the Mahalanobis distance from
        the code to the nearest class mean, z the deviation of the logarithm of the code's
        norm from the nearest class mean, in standard deviations; v and w are chosen as
        ``alpha="auto"`` is. It closes the blind spot described in the notes. Each factor by
        itself keeps 0.9 for the share ``coverage`` of rows, the product for fewer: choose a
        threshold from held-out rows, as :class:`SelectiveClassifier` does.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense layers of "mlp" and "small_cnn".
    dropout : float in [0, 1), default=0.0
        Dropout after each of these layers, in the encoder.
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the cross entropy; with ``estimator``, the sample weights
        that its ``fit`` gets.
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer class, default="adam"
        Its further arguments go into ``net_params`` as ``optimizer__<name>``.
    lr : float, default=1e-3
        Learning rate.
    lr_schedule : {None, "cosine", "step"}, default=None
        "cosine" decays to zero over ``max_epochs``; "step" goes on with a tenth after 60 %.
    weight_decay : float, default=0.0
        L2 penalty, as the optimizer takes it.
    max_epochs : int, default=100
        Passes over the data.
    batch_size : int, default=64
        Rows in each step.
    early_stopping : bool, default=False
        Stop when the loss on a held-out part has not improved for ``n_iter_no_change``
        epochs, and keep the best epoch's weights.
    validation_fraction : float in (0, 1), default=0.1
        Share of every class held out for ``alpha="auto"``, ``typicality`` and early stopping.
        Where no class has rows enough for that, the training rows are used instead.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers, which this method leaves out.
    net_params : dict, default=None
        Passed to ``skorch.NeuralNet``.
    device : {"auto"} or torch device, default="auto"
        "auto" is CUDA where there is one.
    random_state : int, RandomState or None, default=None
        Seed of weights, noise, batches, held-out rows and probes, and of an ``estimator``
        that has none of its own.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The in-distribution labels; [1] where ``fit`` got no ``y``.
    alpha_ : float
        The weight of the reconstruction error in use.
    typicality_weights_ : ndarray of shape (2,)
        The weights v and w, with ``typicality=True``.
    class_codes_ : ClassCodes
        What is typical of the codes, with ``typicality=True``.
    probes_ : ndarray of shape (n_probes, n_features)
        The random signs of "hutchinson".
    estimator_ : classifier
        The fitted clone of ``estimator``.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` has ``encode``, ``decode`` and ``reconstruct`` for
        tensors of flat rows. ``net_.history`` has both losses of each epoch.
    loss_curve_ : list of float
        Training loss of each epoch.
    n_iter_ : int
        Epochs trained.
    input_shape_ : tuple of int
        Shape of one input.
    n_features_in_ : int
        Number of features, C * H * W for images.
    feature_names_in_ : ndarray of str
        Where X has column names.

    Notes
    -----
    What is simple is easily reconstructed, also where it is unlike any training row: a blank
    image reconstructs better than most digits, and its confidence is high. The reconstruction
    error alone cannot see that; ``typicality=True`` does, because the code of a blank or
    low-contrast image is shorter than those of every class.

    Equation 4 of [1]_ gives 0 * inf for a large negative gamma; exp(-beta max(gamma, 0)) is
    the same function without that.

    References
    ----------
    .. [1] G. Spigler, "Denoising autoencoders for overgeneralization in neural networks",
       IEEE TPAMI 2020.
    .. [2] G. Alain and Y. Bengio, "What regularized auto-encoders learn from the
       data-generating distribution", JMLR 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ood import DAEConfidence
    >>> X, y = load_iris(return_X_y=True)
    >>> X = StandardScaler().fit_transform(X)
    >>> classifier = DAEConfidence(lr=0.01, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    >>> bool(classifier.score_samples(X).min() > classifier.score_samples(X + 10).max())
    True
    """

    _net_class = DenoisingNet
    _min_classes = 1

    def __init__(
        self,
        estimator=None,
        *,
        module="auto",
        decoder="tied",
        noise=0.2,
        reconstruction_weight=1.0,
        alpha="auto",
        coverage=0.95,
        beta=10.0,
        curvature="auto",
        n_probes=4,
        typicality=False,
        hidden_layer_sizes=(128,),
        dropout=0.0,
        input_shape=None,
        class_weight=None,
        optimizer="adam",
        lr=1e-3,
        lr_schedule=None,
        weight_decay=0.0,
        max_epochs=100,
        batch_size=64,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        ood_label=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.module = module
        self.decoder = decoder
        self.noise = noise
        self.reconstruction_weight = reconstruction_weight
        self.alpha = alpha
        self.coverage = coverage
        self.beta = beta
        self.curvature = curvature
        self.n_probes = n_probes
        self.typicality = typicality
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.input_shape = input_shape
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.ood_label = ood_label
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Train the autoencoder and the classifier on the in-distribution rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,), default=None
            Labels; rows with the label ``ood_label`` are left out. None, or a single class,
            makes a model of one class.

        Returns
        -------
        self
        """
        return super().fit(X, y)

    @block_by_block
    def predict(self, X):
        """The most likely class of each row; never rejects.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels from ``classes_``.
        """
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]

    def confidence_components(self, X):
        """What the confidence c(x) of each row is made of.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)

        Returns
        -------
        sklearn.utils.Bunch
            Arrays of shape (n_samples,). ``reconstruction_error``: ||r(x) - x||^2 / D.
            Unless ``curvature="off"``, ``gamma``: the mean of dr_i/dx_i - 1, and
            ``curvature_factor``: Gamma(x) = exp(-beta max(gamma, 0)). With
            ``typicality=True``, ``code_distance``: d(x)^2, per code unit, and
            ``code_norm_deviation``: z(x)^2. ``log_confidence``: log c(x).
        """
        _, components = self._components(self._validate_rows(X))
        return components

    @property
    def _learns_tensors(self):
        return self.estimator is None

    @property
    def _keeps_tensors(self):
        return not hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def _check_parameters(self):
        for name in ("noise", "reconstruction_weight"):
            _check(name, getattr(self, name), lambda value: value > 0, "a number > 0")
        _check("beta", self.beta, lambda value: value >= 0, "a number >= 0")
        _check("coverage", self.coverage, lambda value: 0 < value < 1, "a share in (0, 1)")
        _check(
            "n_probes", self.n_probes, lambda n: n >= 1 and int(n) == n, "a whole number >= 1"
        )
        if not (isinstance(self.alpha, str) and self.alpha == "auto"):
            _check("alpha", self.alpha, lambda value: value > 0, "a number > 0 or 'auto'")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"Got {name}={getattr(self, name)!r}, but expected one of {[*choices]}."
                )
        if self.estimator is not None and not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"Got estimator={self.estimator!r}, which has no predict_proba, but the "
                "confidence multiplies probabilities; wrap it in CalibratedClassifierCV."
            )

    @property
    def _needs_holdout(self):
        return self.early_stopping or self.typicality or self.alpha == "auto"

    def _hold_out(self, data, seed):
        rows, codes = data.in_distribution
        if 0 < self.validation_fraction * np.bincount(codes).max() <= 0.5:
            self._check_parameters()
            return (rows, codes), (rows, codes)
        return super()._hold_out(data, seed)

    def _network(self, data):
        network = build_module(
            self.module,
            data.rows.shape[1],
            self._n_outputs(data),
            input_shape=data.input_shape,
            hidden_layer_sizes=self.hidden_layer_sizes,
            dropout=self.dropout,
        )
        joint = self.estimator is None and len(data.classes) > 1
        tied = self.decoder == "tied"
        autoencoder = Autoencoder(network, data.input_shape, tied, classify=joint)
        if isinstance(self.module, str):
            balance_weights(autoencoder)
        return autoencoder

    def _net_parameters(self, data):
        return super()._net_parameters(data) | {
            "noise": self.noise,
            "reconstruction_weight": self.reconstruction_weight
            / _mean_variance(data.in_distribution[0]),
        }

    def _train(self, net, data, training, held_out):
        super()._train(net, data, training, held_out)
        signs = torch.randint(0, 2, (int(self.n_probes), data.rows.shape[1]))
        self.probes_ = (2 * signs - 1).numpy().astype(np.float32)
        if self.estimator is not None and len(data.classes) > 1:
            self.estimator_ = self._fit_estimator(data)
        if self.typicality:
            rows, codes = training
            self.class_codes_ = class_codes(_codes(net, rows), codes)

    def _fit_estimator(self, data):
        rows, codes = data.in_distribution
        estimator, y = _seeded_clone(self.estimator), data.classes[codes]
        rows = rows.astype(np.float64)
        if self.class_weight is None:
            return estimator.fit(rows, y)
        return estimator.fit(rows, y, sample_weight=compute_sample_weight(self.class_weight, y))

    def _calibrate(self, net, data, held_out):
        self.alpha_ = self.alpha
        if not self._needs_holdout:
            return
        _, distances = self._outputs(net, held_out[0])
        weights = _weights(distances, self.coverage)
        if self.alpha == "auto":
            self.alpha_ = float(weights[0])
        if self.typicality:
            self.typicality_weights_ = weights[1:]

    def _outputs(self, net, rows):
        """Logits, and the distances that lower the confidence: (n, 1), or (n, 3)."""

        @torch.no_grad()
        def measured(batch):
            return self._measure(net.module_, batch)

        return map_batches(measured, rows, device=net.device)

    def _measure(self, module, batch, *, detached=False):
        code = module.encode(batch)
        logits = _without_overflow(module.classify(code), nan=0.0).double()
        if detached:  # no gradient of the distances
            code, batch = code.detach(), batch.detach()
        residual = _without_overflow(module.decode(code) - batch).double()
        error = residual.square().mean(dim=1, keepdim=True)
        if not self.typicality:
            return logits, error
        unusual = unusual_codes(_without_overflow(code).double(), self.class_codes_)
        return logits, torch.cat([error, unusual], dim=1)

    @property
    def _distance_weights(self):
        return np.array([self.alpha_, *(self.typicality_weights_ if self.typicality else ())])

    def _gamma(self, rows):
        module = self.net_.module_
        n_features = rows.shape[1]

        def exact(batch):
            return exact_trace(
                module.encode,
                module.decode,
                batch,
                code_is_relu=module.code_is_relu,
                pairs_per_block=rows_per_batch(4 * n_features),
            )

        def estimated(batch):
            probes = torch.as_tensor(self.probes_, device=batch.device)
            return hutchinson_trace(module.reconstruct, batch, probes)

        narrow = min(n_features, module.code_size) <= LARGEST_EXACT_TRACE
        way = self.curvature
        if way == "auto":
            way = "exact" if narrow else "hutchinson"
        trace = map_batches(
            exact if way == "exact" else estimated,
            rows,
            device=self.net_.device,
            max_rows=rows_per_batch(4 * n_features),
        )
        return np.nan_to_num(trace) / n_features - 1

    def _components(self, rows):
        """Log-probabilities of the classes, and the parts of the confidence."""
        logits, distances = self._outputs(self.net_, rows)
        names = ("reconstruction_error", "code_distance", "code_norm_deviation")
        components = Bunch(**dict(zip(names, distances.T, strict=False)))
        log_confidence = -distances @ self._distance_weights
        if self.curvature != "off":
            components.gamma = self._gamma(rows)
            penalty = self.beta * np.maximum(components.gamma, 0.0)
            components.curvature_factor = np.exp(-penalty)
            log_confidence = log_confidence - penalty
        components.log_confidence = log_confidence
        return self._class_log_proba(rows, logits), components

    def _class_log_proba(self, rows, logits):
        if self.estimator is None or len(self.classes_) == 1:
            return log_softmax(logits)
        # In float32 scikit-learn's probabilities depend on the rows beside a row.
        proba = self.estimator_.predict_proba(rows.astype(np.float64))
        return np.log(np.maximum(proba, SMALLEST_PROBA))

    def _evidence(self, rows):
        log_proba, components = self._components(rows)
        return log_proba + components.log_confidence[:, None]

    def _log_proba(self, rows):
        logits = None
        if self.estimator is None or len(self.classes_) == 1:
            largest = float(LARGEST_FLOAT)
            logits = np.nan_to_num(forward(self.net_, rows), posinf=largest, neginf=-largest)
        return self._class_log_proba(rows, logits)

    def _scores(self, rows):
        return self._evidence(rows).max(axis=1)

    def _log_outputs(self, batch, *, scaled=False):
        """The scaled outputs leave out the curvature: its gradient is zero for ReLU nets."""
        self._check_gradient()
        module = self.net_.module_
        if not scaled:
            return torch.log_softmax(module.classify(module.encode(batch)).double(), dim=1)
        return self._scaled_outputs(*self._measure(module, batch))

    def _bounded_outputs(self, batch, *, scaled=False):
        """The bound is the score without the curvature, from the same pass."""
        self._check_gradient()
        logits, distances = self._measure(self.net_.module_, batch, detached=not scaled)
        outputs = self._scaled_outputs(logits, distances)
        bounds = outputs.detach().max(dim=1).values
        return outputs if scaled else torch.log_softmax(logits, dim=1), bounds

    def _scaled_outputs(self, logits, distances):
        weights = torch.as_tensor(self._distance_weights, device=logits.device)
        return torch.log_softmax(logits, dim=1) - (distances @ weights)[:, None]

    def _check_gradient(self):
        if self.estimator is not None and len(self.classes_) > 1:
            raise TypeError(
                f"Got DAEConfidence(estimator={self.estimator!r}), whose outputs have no "
                "gradient; use a gradient-free search."
            )


def _codes(net, rows):
    @torch.no_grad()
    def encoded(batch):
        return net.module_.encode(batch)

    return map_batches(encoded, rows, device=net.device)


def _mean_variance(rows, most=10_000):
    """Mean variance of the features, from evenly spaced rows."""
    some = rows[:: max(1, len(rows) // most)]
    tensor = isinstance(some, torch.Tensor)
    variance = float((some.var(dim=0, correction=0) if tensor else some.var(axis=0)).mean())
    return variance if variance > 0 else 1.0


def _weights(distances, coverage):
    """w such that exp(-w d) is the threshold where the share ``coverage`` lies below d."""
    quantiles = np.quantile(distances, coverage, axis=0, method="higher")
    return -np.log(THRESHOLD) / np.maximum(quantiles, np.finfo(np.float64).eps)


def _without_overflow(values, nan=LARGEST_FLOAT):
    return torch.nan_to_num(values, nan=nan, posinf=LARGEST_FLOAT, neginf=-LARGEST_FLOAT)


def _seeded_clone(estimator):
    """A clone whose open seeds are drawn from torch's generator, which ``fit`` has seeded."""
    estimator = clone(estimator)
    seeds = {
        name: int(torch.randint(2**31 - 1, ()))
        for name, value in sorted(estimator.get_params().items())
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return estimator.set_params(**seeds)


def _check(name, value, holds, expected):
    if isinstance(value, str) or not holds(value):
        raise ValueError(f"Got {name}={value!r}, but expected {expected}.")
