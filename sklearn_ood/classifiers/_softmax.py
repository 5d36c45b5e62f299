import numpy as np
from torch import nn

from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.nets._modules import InputShape, check_outputs
from sklearn_ood.nets._training import wrap_trained


class SoftmaxClassifier(NetClassifier):
    """Neural network trained with cross entropy, with the classic confidences.

    The baseline that every paper compares with: the network's own probabilities say what
    the class is, and ``confidence`` says how far to trust it.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Module or callable, \
            default="auto"
        The network. "auto" is an MLP for flat rows and a small convolutional net for images
        (see ``input_shape``); "cnn" is the 1.31 M weights net of [4]_, "vgg13" and "alexnet"
        are those of [5]_. A ``nn.Module`` is copied, and training goes on from its weights;
        a callable gets ``(n_features_in, n_classes)`` and returns one.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense layers of "mlp" and "small_cnn".
    dropout : float in [0, 1), default=0.0
        Dropout after each of these layers.
    input_shape : tuple (C, H, W), default=None
        Shape of one image where X has flat rows, as in a pipeline. Not needed where X is
        (n_samples, C, H, W).
    confidence : {"max_proba", "entropy", "margin", "max_logit", "energy", "odin"}, \
            default="max_proba"
        Formula of ``score_samples``, with f the logits divided by ``temperature`` and p their
        softmax: log max p [1]_; sum p log p; the difference of the two largest log p; max f;
        logsumexp f [3]_; log max p at the input moved by ``epsilon`` [2]_.
    temperature : float or "calibrate", default=1.0
        Divides the logits. "calibrate" fits it on a held-out part by maximum likelihood, so
        that the probabilities mean what they say.
    epsilon : float, default=0.0
        ODIN's step towards the predicted class, in the units of X.
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
        Rows in each step. Halved where the device's memory runs out.
    early_stopping : bool, default=False
        Stop when the loss on a held-out part has not improved for ``n_iter_no_change``
        epochs, and keep the best epoch's weights.
    validation_fraction : float in (0, 1), default=0.1
        Share of every class held out for early stopping and for ``temperature="calibrate"``.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers: they form no class, and this method
        leaves them out of training.
    net_params : dict, default=None
        Passed to ``skorch.NeuralNet``: callbacks, ``optimizer__betas`` and so on.
    device : {"auto"} or torch device, default="auto"
        "auto" is CUDA where there is one.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches and held-out rows. On a CPU the same seed gives the same
        bits; torch's and numpy's global generators are left as they were.
    verbose : int, default=0
        1 shows a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The in-distribution labels.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module, which takes flat rows.
    temperature_ : float
        The temperature in use.
    loss_curve_ : list of float
        Training loss of each epoch; ``net_.history`` has all that was recorded.
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
    SelectiveClassifier : Turns the score into answers and refusals.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "A baseline for detecting misclassified and
       out-of-distribution examples in neural networks", ICLR 2017.
    .. [2] S. Liang, Y. Li and R. Srikant, "Enhancing the reliability of out-of-distribution
       image detection in neural networks" (ODIN), ICLR 2018.
    .. [3] W. Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020.
    .. [4] G. Spigler, "Denoising autoencoders for overgeneralization in neural networks",
       IEEE TPAMI 2020.
    .. [5] K. Lee et al., "Training confidence-calibrated classifiers for detecting
       out-of-distribution samples", ICLR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = SoftmaxClassifier(random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    >>> bool(classifier.score_samples(X).max() <= 0)
    True
    """

    def __init__(
        self,
        module="auto",
        *,
        hidden_layer_sizes=(128,),
        dropout=0.0,
        input_shape=None,
        confidence="max_proba",
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

    @classmethod
    def from_module(cls, network, classes, input_shape, **params):
        """A fitted classifier around a network that is already trained.

        Parameters
        ----------
        network : nn.Module
            Maps inputs of ``input_shape`` to one logit for each class. It is used as it is,
            not copied.
        classes : array-like of shape (n_classes,)
            The label of each output, in ascending order, as scikit-learn keeps them.
        input_shape : int or tuple of int
            Shape of one input: ``(n_features,)`` or ``(C, H, W)``.
        **params
            Further parameters: ``confidence``, ``temperature`` (a number), ``epsilon``, ...

        Returns
        -------
        SoftmaxClassifier
            Fitted: ``predict``, ``score_samples`` and the rest work at once.

        Raises
        ------
        ValueError
            If the classes are not ascending and distinct, or the network does not give one
            logit for each.

        Examples
        --------
        >>> import torch
        >>> from sklearn_ood import SoftmaxClassifier
        >>> network = torch.nn.Linear(2, 2)
        >>> classifier = SoftmaxClassifier.from_module(network, ["no", "yes"], input_shape=2)
        >>> classifier.predict([[0.0, 1.0]]).shape
        (1,)
        """
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"Got network of type {type(network).__name__}, but expected an nn.Module."
            )
        classes = np.asarray(classes)
        if classes.ndim != 1 or len(classes) < 2 or not (classes[:-1] < classes[1:]).all():
            raise ValueError(
                f"Got classes={classes.tolist()}, but expected at least two distinct labels in "
                "ascending order; reorder the network's outputs to match."
            )
        input_shape = tuple(int(size) for size in np.atleast_1d(input_shape))
        check_outputs(network, input_shape, len(classes))
        classifier = cls(network, input_shape=input_shape, **params)
        classifier._check_parameters()
        if classifier.temperature == "calibrate":
            raise ValueError(
                "Got temperature='calibrate', but from_module sees no data to calibrate on; "
                "pass a number."
            )
        classifier.net_ = wrap_trained(
            InputShape(network, input_shape), device=classifier.device
        )
        classifier.temperature_ = float(classifier.temperature)
        classifier.input_shape_ = input_shape
        classifier.n_features_in_ = int(np.prod(input_shape))
        classifier.classes_ = classes
        return classifier
