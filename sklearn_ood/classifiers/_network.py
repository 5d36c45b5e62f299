from collections.abc import Iterable
from dataclasses import field, replace
from numbers import Real
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import Interval
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from sklearn_ood._parameters import Count, NonNegative, Positive, RandomState, Share, fitted
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._blocks import is_dataset, is_mapped, training_rows
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.nets import _training
from sklearn_ood.nets._evaluation import class_gradients, forward, undisturbed
from sklearn_ood.nets._heads import ScoredNetwork, SoftmaxHead
from sklearn_ood.nets._modules import InputShape, Scaling, build_module, units_of


class NetClassifier(OODClassifier):
    """Template of a classifier that holds one trained net.

    A method overrides ``n_outputs``, ``make_loss`` and ``make_head`` where it differs from
    cross entropy on one output a class.

    Parameters
    ----------
    module : {"auto", "mlp", "small_cnn", "cnn", "vgg13", "alexnet"}, nn.Module or callable, \
            default="auto"
        The network. "auto" is "mlp" for flat rows and "small_cnn" for images; "cnn" is the
        network of 1.31 million weights of Spigler, "vgg13" and "alexnet" are those of Lee et
        al. A ``nn.Module`` is copied, and training goes on from its weights; a callable gets
        ``(n_features_in, n_outputs)`` and returns one, which is copied too.
    hidden_layer_sizes : tuple of int, default=(128,)
        Dense layers of "mlp" and "small_cnn".
    dropout : float in [0, 1), default=0.0
        Dropout after each of these layers.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss.
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer class, default="adam"
        Its further arguments go into ``net_params`` as ``optimizer__<name>``.
    lr : float > 0, default=1e-3
        Learning rate.
    lr_schedule : {None, "cosine", "step"}, default=None
        "cosine" decays to zero over ``max_epochs``; "step" goes on with a tenth after 60 %;
        others go into ``net_params`` as skorch callbacks.
    weight_decay : float >= 0, default=0.0
        L2 penalty, as the optimizer takes it.
    max_epochs : int, default=100
        Passes over the data.
    batch_size : int, default=64
        Rows in each step. Halved where the device's memory runs out.
    early_stopping : bool, default=False
        Stop when the loss on a held-out part has not improved for ``n_iter_no_change``
        epochs, and keep the best epoch's weights.
    validation_fraction : float in (0, 1), default=0.1
        Share of every class held out for early stopping and what else needs held-out rows.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    net_params : dict, default=None
        Passed to ``skorch.NeuralNet``: callbacks, ``optimizer__betas`` and so on.
    verbose : int, default=0
        1 shows a progress bar, of training and of scoring a dataset.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_features,) or None
        What flat rows in float64 are centred and scaled by where float32 would lose columns
        that are far from zero or from one (others have 0 and 1); None where it loses none.
    net_ : skorch.NeuralNet
        The trained net; ``net_.module_`` is the torch module, which takes flat rows, and
        ``net_.history`` has all that was recorded.
    head_ : nn.Module
        From the net's outputs to the evidence for each class and the score.
    loss_curve_, validation_loss_curve_ : list of float
        Training loss of each epoch, and with ``early_stopping=True`` the held-out loss.
    n_iter_ : int
        Epochs trained.
    feature_names_in_ : ndarray of str
        Where X has column names.
    """

    module: Any = field(default="auto", kw_only=False)
    hidden_layer_sizes: Iterable[int] | int = (128,)
    dropout: Annotated[float, Interval(Real, 0, 1, closed="left")] = 0.0
    input_shape: Any = None
    class_weight: dict | Literal["balanced"] | None = None
    optimizer: Literal["adam", "adamw", "sgd"] | type = "adam"
    lr: Positive = 1e-3
    lr_schedule: Literal["cosine", "step"] | None = None
    weight_decay: NonNegative = 0.0
    max_epochs: Count = 100
    batch_size: Count = 64
    early_stopping: bool = False
    validation_fraction: Share = 0.1
    n_iter_no_change: Count = 10
    net_params: dict | None = None
    device: Any = "auto"
    random_state: RandomState = None
    verbose: int = 0

    center_: np.ndarray | None = fitted()
    scale_: np.ndarray | None = fitted()

    loss_curve_ = _training.recorded("train_loss")
    validation_loss_curve_ = _training.recorded("valid_loss")

    _keeps_tensors = _learns_tensors = True

    def n_outputs(self, n_classes):
        """Outputs of the network."""
        return n_classes

    def make_network(self, n_classes, input_shape):
        """The untrained network: an ``nn.Module`` from flat rows to the outputs."""
        how = {"hidden_layer_sizes": self.hidden_layer_sizes, "dropout": self.dropout}
        n_outputs = self.n_outputs(n_classes)
        network = build_module(self.module, n_outputs, input_shape=input_shape, **how)
        return InputShape(network, input_shape)

    def make_loss(self, class_weights):
        """What training minimises: an ``nn.Module`` from outputs and targets to a loss."""
        return nn.CrossEntropyLoss(class_weights)

    def make_head(self):
        """What the outputs say: a :class:`Head`, made anew from fitted attributes."""
        return SoftmaxHead()

    @undisturbed
    def fit(self, X, y=None, **params):
        """Train the network on the in-distribution rows.

        An epoch draws as many rows as there are of some ``sample_weight``, each as often as its
        weight says on average.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Of a method that learns from no outliers also a ``torch.utils.data`` ``Dataset`` of
            images, or a ``DataLoader``, which is read in every pass, never held.
        y : array-like of shape (n_samples,)
            Labels; rows with the label ``ood_label`` are known outliers. None takes those of
            the dataset.
        """
        weight, how = self._weight_in(params), {"keep_tensors": self._learns_tensors}
        if is_dataset(X) and self._learns_tensors:
            X, y = training_rows(X, y)
        how["dtype"] = np.float32 if is_mapped(X) else None  # or a file would be read whole
        data = self._in_single(self._training_data(X, y, weight, **how))
        random = _training.Seeded(self.random_state)
        training, held_out = self._hold_out(data, random.seed)
        with _training.training_errors(self):
            with random:
                net = self._make_net(data, random.seed)
            self._train(net, data, training, held_out, random)
            self._calibrate(net, held_out)
        self.net_, self.classes_ = net, data.classes
        return self

    def untrained_networks(self):
        """What a file is read into: untrained networks, by the attribute of the trained one."""
        if not self.__sklearn_is_fitted__():
            return {}
        return {"net_": self.make_network(len(self.classes_), self.input_shape_)}

    def input_gradients(self, X, *, guided=False):
        """Gradient of the predicted class's logit at each input, of X's shape, in float64.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        guided : bool, default=False
            Guided backpropagation (Springenberg et al., 2015): only positive gradients pass
            a ReLU, which must be an ``nn.ReLU``.
        """
        rows = self._validate_rows(X)
        gradients = class_gradients(self.net_, rows, self.head_.logits, guided=guided)
        if self._scaling:
            gradients = gradients / self.scale_
        return gradients.reshape(-1, *self.input_shape_)

    @property
    @undisturbed
    def head_(self):
        return self.make_head().to(self.net_.device)

    @property
    def scored_network_(self):
        """From flat rows to evidence and score; in float64 where ``center_`` is not None."""
        return self._scored(self.net_.module_)

    @property
    def n_iter_(self):
        return len(self.net_.history)

    @property
    def _needs_holdout(self):
        return self.early_stopping

    def _hold_out(self, data, seed):
        """In-distribution rows to train on, and held out (None if not needed)."""
        known = data.known
        if not self._needs_holdout:
            return known, None
        held_out = hold_out_each_class(known.codes, self.validation_fraction, seed)
        return known.those(~held_out), known.those(held_out)

    def _make_net(self, data, seed, *, net_class=_training.Net, **options):
        """A net ready to be trained; ``options`` are the net class's own parameters."""
        network = self.make_network(len(data.classes), data.input_shape)
        loss = self.make_loss(self._class_weights(data))
        settings = _training.training_parameters(self) | {"net_class": net_class}
        settings["net_params"] = options | (self.net_params or {})
        return _training.make_net(network, criterion=loss, **settings)

    def _scored(self, network):
        if self._scaling:
            network = nn.Sequential(self._scaling.to(self.net_.device), network)
        return ScoredNetwork(network, self.head_)

    @property
    def _scaling(self):
        return None if self.center_ is None else Scaling(self.center_, self.scale_)

    def _in_single(self, data):
        is_flat = len(data.input_shape) == 1
        units = units_of(data.known.rows) if is_flat else None
        self.center_, self.scale_ = units or (None, None)
        return replace(data, rows=self.scale_rows(data.rows))

    def scale_rows(self, rows):
        """Rows as the network takes them: less ``center_``, over ``scale_``, in float32."""
        if rows.dtype in (np.float32, torch.float32) and self.center_ is None:
            return rows
        scaling = self._scaling or Scaling(np.zeros(1), np.ones(1))
        if isinstance(rows, torch.Tensor):
            return scaling.to(rows.device)(rows)
        return scaling(torch.tensor(rows, device="cpu")).numpy()

    def _validate_rows(self, X):
        return self.scale_rows(super()._validate_rows(X))

    def _train(self, net, data, training, held_out, random):
        validation = held_out if self.early_stopping else None
        _training.train(net, *training, validation=validation, random=random)

    def _calibrate(self, net, held_out):
        """Learn what the head needs beside the outputs."""

    def _class_weights(self, data):
        if self.class_weight is None:
            return None
        y, of_rows = data.classes[data.known.codes], {"sample_weight": data.known.weight}
        weights = compute_class_weight(self.class_weight, classes=data.classes, y=y, **of_rows)
        if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise ValueError(
                f"Got class_weight={self.class_weight!r}, but expected finite numbers from 0 "
                "on, one of them above it."
            )
        return torch.as_tensor(weights, dtype=torch.float32)

    def _evidence(self, rows):
        return self._read(self.head_.evidence, rows)

    def _scores(self, rows):
        return self._read(self.head_.score, rows)

    def _evidence_and_scores(self, rows):
        return self._read(self.head_, rows)

    def _class_scores(self, rows, codes):
        if self.head_.scores_best_class:
            return super()._class_scores(rows, codes)
        return self._scores(rows)

    @undisturbed
    @torch.no_grad()
    def _read(self, say, rows):
        """What a function of the head says of the outputs, all of which are in memory."""
        said = say(torch.from_numpy(forward(self.net_, rows)).to(self.net_.device))
        if isinstance(said, tuple):
            return tuple(part.cpu().numpy() for part in said)
        return said.cpu().numpy()
