import numpy as np
import torch
from torch import nn

from sklearn_ood._response import log_softmax
from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.nets._evaluation import forward


class CompetitiveCrossEntropy(nn.Module):
    """Cross entropy with the target mass shared equally by the true class's units.

    Parameters
    ----------
    n_units_per_class : int
    weight : tensor of shape (n_classes,), default=None
        Weights of the classes.
    """

    def __init__(self, n_units_per_class, weight=None):
        super().__init__()
        self.n_units_per_class = n_units_per_class
        self.register_buffer("weight", weight)

    def forward(self, outputs, targets):
        units = torch.log_softmax(outputs, dim=1).unflatten(1, (-1, self.n_units_per_class))
        return nn.functional.nll_loss(units.mean(dim=2), targets, self.weight)


def class_agreement(log_units, normalization="product"):
    """Agreement of each class's units, in log space.

    Parameters
    ----------
    log_units : ndarray of shape (n_samples, n_classes, n_units)
        Log-probabilities over all units of all classes.
    normalization : {"product", "geometric_mean"}, default="product"
        With w units p_1..p_w in a class: the sum of log(w p_j), or its mean.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        In (-inf, 0]; 0 where the class's units share the whole probability equally.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.classifiers._cool import class_agreement
    >>> agreed, disputed = np.log([0.5, 0.5]), np.log([0.9, 0.1])
    >>> class_agreement(np.array([[agreed], [disputed]])).round(2)
    array([[ 0.  ],
           [-1.02]])
    """
    log_share = log_units + np.log(log_units.shape[2])
    # Rounding may leave an equal share a hair above its greatest possible value.
    mean = np.minimum(log_share.mean(axis=2), 0.0)
    return mean * log_units.shape[2] if normalization == "product" else mean


class COOLClassifier(NetClassifier):
    """Neural network with a competitive overcomplete output layer.

    Every class has several output units, all of which compete in one softmax and are taught
    the same share of the true class's probability. Near the training data the units of a
    class agree; far from it a few of them win, and the product over the class falls.

    ``decision_function`` is the class's agreement in log space: with w units p_1..p_w in a
    class, the sum of log(w p_j), or with ``normalization="geometric_mean"`` its mean; it is
    0 at most, where the units share all probability equally. ``score_samples`` is its
    maximum, in (-inf, 0]: the logarithm of the confidence of [1]_, normalised so that 1 can
    be reached. ``predict_proba`` is the agreement normalised over the classes.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Module or callable, \
            default="auto"
        The network, as in :class:`SoftmaxClassifier`; it gives ``n_classes *
        n_units_per_class`` outputs, class by class.
    n_units_per_class : int, default=10
        Degree of overcompleteness.
    normalization : {"product", "geometric_mean"}, default="product"
        "product" is the method of [1]_. "geometric_mean" is its root of the number of units:
        the same ranking, in a unit that does not depend on that number.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense layers of "mlp" and "small_cnn".
    dropout : float in [0, 1), default=0.0
        Dropout after each of these layers.
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss.
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
        Share of every class held out for early stopping.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers, which this method leaves out.
    net_params : dict, default=None
        Passed to ``skorch.NeuralNet``.
    device : {"auto"} or torch device, default="auto"
        "auto" is CUDA where there is one.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches and held-out rows.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The in-distribution labels.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` takes flat rows.
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

    References
    ----------
    .. [1] N. Kardan and K. O. Stanley, "Mitigating fooling with competitive overcomplete
       output layer neural networks", IJCNN 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import COOLClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = COOLClassifier(n_units_per_class=3, random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    >>> bool(classifier.score_samples(X).max() <= 0)
    True
    """

    def __init__(
        self,
        module="auto",
        *,
        n_units_per_class=10,
        normalization="product",
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
        self.module = module
        self.n_units_per_class = n_units_per_class
        self.normalization = normalization
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

    _min_classes = 1

    @property
    def _needs_holdout(self):
        return self.early_stopping

    def _check_parameters(self):
        if int(self.n_units_per_class) != self.n_units_per_class or self.n_units_per_class < 1:
            raise ValueError(
                f"Got n_units_per_class={self.n_units_per_class!r}, but expected a whole "
                "number >= 1."
            )
        if self.normalization not in ("product", "geometric_mean"):
            raise ValueError(
                f"Got normalization={self.normalization!r}, but expected 'product' or "
                "'geometric_mean'."
            )

    def _n_outputs(self, data):
        return len(data.classes) * int(self.n_units_per_class)

    def _net_parameters(self, data):
        return super()._net_parameters(data) | {
            "criterion": CompetitiveCrossEntropy,
            "criterion__n_units_per_class": int(self.n_units_per_class),
        }

    def _calibrate(self, net, data, held_out):
        """Nothing to calibrate: the agreement has no parameter."""

    def _evidence(self, rows):
        log_units = log_softmax(forward(self.net_, rows))
        log_units = log_units.reshape(len(rows), len(self.classes_), -1)
        return class_agreement(log_units, self.normalization)

    def _class_logits(self, outputs):
        return outputs.reshape(len(outputs), len(self.classes_), -1).sum(dim=2)

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows))

    def _scores(self, rows):
        return self._evidence(rows).max(axis=1)

    def _log_outputs(self, batch, *, scaled=False):
        """Unscaled, what training maximises: the mean log-share; scaled, the agreement."""
        units = torch.log_softmax(self.net_.module_(batch).double(), dim=1)
        shares = units.unflatten(1, (len(self.classes_), -1)) + np.log(self.n_units_per_class)
        product = scaled and self.normalization == "product"
        return shares.sum(dim=2) if product else shares.mean(dim=2)
