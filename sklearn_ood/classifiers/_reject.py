import numpy as np
import torch
from scipy.special import logsumexp
from torch.nn.functional import softplus

from sklearn_ood._response import log_softmax
from sklearn_ood.classifiers._outlier import OutlierClassifier
from sklearn_ood.nets._gradients import odin_rows


def reject_loss(logits):
    """Cross entropy of rows that belong to the last, the reject class.

    Parameters
    ----------
    logits : tensor of shape (n_samples, n_classes + 1)

    Returns
    -------
    tensor, a scalar >= 0

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.classifiers._reject import reject_loss
    >>> round(reject_loss(torch.zeros(1, 3)).exp().item(), 6)
    3.0
    """
    return -torch.log_softmax(logits, dim=1)[:, -1].mean()


class RejectClassifier(OutlierClassifier):
    """Neural network with one more output, for outliers: the reject class.

    Training minimises the cross entropy on the classes plus ``beta`` times the cross entropy
    of outliers, which belong to output K + 1. Unlike the classes' own confidence, the reject
    class can win in all of the far space [1]_. With f the net's K + 1 outputs divided by
    ``temperature``, ``decision_function`` is f_k - f_reject, the log-odds of each class
    against the reject class; ``predict`` never rejects, and ``predict_proba`` is over the K
    classes alone.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Module or callable, \
            default="auto"
        The network, as for :class:`SoftmaxClassifier`; an
        ``nn.Module`` or callable must have ``n_classes + 1`` outputs, the last for outliers.
    beta : float > 0, default=1.0
        Weight of the outliers in the loss.
    outliers : str, callable, GANOutliers, or dict of these to weights, default="boundary"
        Where training takes its outliers from. "given": the rows labelled ``ood_label``.
        "gan": a GAN trained in turns with the classifier, and "original_gan", one that only
        imitates the data (:class:`GANOutliers`). "boundary": just outside the classes
        (:class:`BoundaryOutliers`); "uniform", "mixup", "noise": see
        :class:`UniformOutliers`, :class:`MixupOutliers`, :class:`NoiseOutliers`. A callable
        ``(X, y, n, random_state) -> X_out`` gets the in-distribution rows and labels. A
        dict mixes sources: ``{"boundary": 0.7, "given": 0.3}``.
    outlier_ratio : float > 0, default=1.0
        Outliers for each in-distribution row of a training step.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense layers of "mlp" and "small_cnn".
    dropout : float in [0, 1), default=0.0
        Dropout after each of these layers.
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows, as in a pipeline.
    confidence : {"margin", "1-reject"}, default="margin"
        Formula of ``score_samples``: "margin" is max_k f_k - f_reject, in (-inf, inf), and
        >= 0 exactly where the reject class does not win [1]_; "1-reject" is
        log(1 - p_reject), in (-inf, 0], the score of [2]_ on a scale that does not saturate.
    temperature : float or "calibrate", default=1.0
        Divides the outputs. "calibrate" fits it for the K classes on a held-out part by
        maximum likelihood.
    epsilon : float, default=0.0
        Step of every input towards a higher score before it is scored, in the units of X
        (ODIN).
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the cross entropy.
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer class, default="adam"
        The classifier's; its further arguments go into ``net_params`` as
        ``optimizer__<name>``.
    lr : float, default=1e-3
        The classifier's learning rate.
    lr_schedule : {None, "cosine", "step"}, default=None
        "cosine" decays to zero over ``max_epochs``; "step" goes on with a tenth after 60 %.
        A GAN's learning rate follows it.
    weight_decay : float, default=0.0
        L2 penalty, as the optimizer takes it.
    max_epochs : int, default=100
        Passes over the data.
    batch_size : int, default=64
        In-distribution rows in each step. Halved where the device's memory runs out.
    early_stopping : bool, default=False
        Stop when the loss on a held-out part, and on fresh outliers, has not improved for
        ``n_iter_no_change`` epochs, and keep the best epoch's weights.
    validation_fraction : float in (0, 1), default=0.1
        Share of every class held out for early stopping and for ``temperature="calibrate"``.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers: they form no class. The source "given"
        trains on them; other sources leave them out.
    net_params : dict, default=None
        Passed to ``skorch.NeuralNet``: callbacks, ``optimizer__betas`` and so on.
    device : {"auto"} or torch device, default="auto"
        "auto" is CUDA where there is one.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches, outliers and held-out rows. On a CPU the same seed gives
        the same bits; torch's and numpy's global generators are left as they were.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The in-distribution labels.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module, which takes flat rows. With a
        GAN also ``net_.generator_`` and ``net_.discriminator_``. ``net_.history`` has the
        course of every loss: ``train_loss``, ``train_class_loss``, ``train_outlier_loss``,
        ``train_discriminator_loss`` and ``train_generator_loss``.
    temperature_ : float
        The temperature in use.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_loss_curve_ : list of float
        Held-out loss of each epoch, with ``early_stopping=True``.
    n_iter_ : int
        Epochs trained.
    input_shape_ : tuple of int
        Shape of one input.
    n_features_in_ : int
        Number of features, C * H * W for images.
    feature_names_in_ : ndarray of str
        Where X has column names.

    See Also
    --------
    ConfidentClassifier : Unsure of outliers instead of rejecting them.

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
    >>> classifier.predict([[-10, 0], [10, 0]])
    array([0, 1])
    >>> (classifier.score_samples([[-10, 0], [0, 40]]) >= 0).tolist()
    [True, False]
    """

    _confidences = ("margin", "1-reject")
    _outlier_loss = staticmethod(reject_loss)

    def __init__(
        self,
        module="auto",
        *,
        beta=1.0,
        outliers="boundary",
        outlier_ratio=1.0,
        hidden_layer_sizes=(128,),
        dropout=0.0,
        input_shape=None,
        confidence="margin",
        temperature=1.0,
        epsilon=0.0,
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
        self.module = module
        self.beta = beta
        self.outliers = outliers
        self.outlier_ratio = outlier_ratio
        self.hidden_layer_sizes = hidden_layer_sizes
        self.dropout = dropout
        self.input_shape = input_shape
        self.confidence = confidence
        self.temperature = temperature
        self.epsilon = epsilon
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

    def _n_outputs(self, data):
        return len(data.classes) + 1

    def _class_weights(self, data):
        weights = super()._class_weights(data)
        return None if weights is None else torch.cat([weights, torch.ones(1)])

    def _check_parameters(self):
        super()._check_parameters()
        if not self.beta > 0:
            raise ValueError(
                f"Got beta={self.beta!r}, but expected a number > 0: without outliers the "
                "reject class is never learned; use SoftmaxClassifier instead."
            )

    def _evidence(self, rows):
        logits = self._logits(rows)
        return logits[:, :-1] - logits[:, -1:]

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows))

    def _scores(self, rows):
        if self.epsilon:
            rows = odin_rows(self.net_, rows, self._torch_scores, self.epsilon)
        evidence = self._evidence(rows)
        if self.confidence == "margin":
            return evidence.max(axis=1)
        return -np.logaddexp(0.0, -logsumexp(evidence, axis=1))

    def _torch_scores(self, outputs):
        logits = outputs / self.temperature_
        evidence = logits[:, :-1] - logits[:, -1:]
        if self.confidence == "margin":
            return evidence.max(dim=1).values
        return -softplus(-evidence.logsumexp(dim=1))
