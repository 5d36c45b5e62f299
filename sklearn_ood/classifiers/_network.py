"""The template of the classifiers that hold one net."""

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from sklearn_ood._response import log_softmax
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._blocks import take_rows
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.nets._evaluation import forward
from sklearn_ood.nets._gradients import class_gradients, odin_rows
from sklearn_ood.nets._heads import CONFIDENCES, fit_temperature
from sklearn_ood.nets._modules import InputShape, build_module
from sklearn_ood.nets._training import Net, make_net, seeded, train


class NetClassifier(OODClassifier):
    """A classifier that holds one trained skorch net, ``net_``.

    The flat parameters are documented on :class:`sklearn_ood.SoftmaxClassifier`; a method
    lists them again in its own ``__init__``, as scikit-learn's ``get_params`` wants it.
    """

    _keeps_tensors = _learns_tensors = True
    _net_class = Net
    _min_classes = 2
    _confidences = (*CONFIDENCES, "odin")

    def fit(self, X, y):
        """Train the network on the in-distribution rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,)
            Labels; rows with the label ``ood_label`` are known outliers.

        Returns
        -------
        self
        """
        data = validate_training_data(
            self, X, y, min_classes=self._min_classes, keep_tensors=self._learns_tensors
        )
        with seeded(self.random_state) as seed:
            training, held_out = self._hold_out(data, seed)
            net = self._build(data)
            self._train(net, data, training, held_out)
        self._calibrate(net, data, held_out)
        self.net_, self.classes_ = net, data.classes
        return self

    def input_gradients(self, X, *, guided=False):
        """Gradient of the predicted class's logit with respect to each input.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        guided : bool, default=False
            Guided backpropagation (Springenberg et al., 2015), as in figure 5 of Lee et al.
            (2018): only positive gradients pass a ReLU, which must be an ``nn.ReLU``.

        Returns
        -------
        ndarray of shape (n_samples, n_features) or (n_samples, C, H, W), float64
        """
        rows = self._validate_rows(X)
        if hasattr(self, "estimator_"):
            raise TypeError(
                f"Got a {type(self).__name__} whose classes come from another estimator, but "
                "input gradients need a net of its own."
            )
        gradients = class_gradients(self.net_, rows, self._class_logits, guided=guided)
        return gradients.reshape(-1, *self.input_shape_)

    @property
    def loss_curve_(self):
        """Training loss of each epoch, a list."""
        return self.net_.history[:, "train_loss"]

    @property
    def validation_loss_curve_(self):
        """Loss on the held-out part after each epoch; needs ``early_stopping=True``."""
        return self.net_.history[:, "valid_loss"]

    @property
    def n_iter_(self):
        """Number of epochs trained."""
        return len(self.net_.history)

    @property
    def _needs_holdout(self):
        return self.early_stopping or self.temperature == "calibrate"

    def _hold_out(self, data, seed):
        """In-distribution rows and codes: to train on, and held out (None if not needed)."""
        self._check_parameters()
        rows, codes = data.in_distribution
        if not self._needs_holdout:
            return (rows, codes), None
        held_out = hold_out_each_class(codes, self.validation_fraction, seed)
        return tuple((take_rows(rows, part), codes[part]) for part in (~held_out, held_out))

    def _build(self, data):
        return make_net(
            self._network(data),
            net_class=self._net_class,
            optimizer=self.optimizer,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            weight_decay=self.weight_decay,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            early_stopping=self.early_stopping,
            n_iter_no_change=self.n_iter_no_change,
            device=self.device,
            verbose=self.verbose,
            net_params=self._net_parameters(data) | dict(self.net_params or {}),
        )

    def _network(self, data):
        """The torch module to train; it takes flat rows."""
        module = build_module(
            self.module,
            data.rows.shape[1],
            self._n_outputs(data),
            input_shape=data.input_shape,
            hidden_layer_sizes=self.hidden_layer_sizes,
            dropout=self.dropout,
        )
        return InputShape(module, data.input_shape)

    def _net_parameters(self, data):
        """What the method itself passes to skorch; the user's ``net_params`` win over it."""
        return {"criterion__weight": self._class_weights(data)}

    def _train(self, net, data, training, held_out):
        train(net, *training, validation=held_out if self.early_stopping else None)

    def _calibrate(self, net, data, held_out):
        if self.temperature == "calibrate":
            rows, codes = held_out
            logits = forward(net, rows)[:, : len(data.classes)]
            self.temperature_ = fit_temperature(logits, codes)
        else:
            self.temperature_ = float(self.temperature)

    def _n_outputs(self, data):
        return len(data.classes)

    def _class_logits(self, outputs):
        """One column for each class, of a tensor of the net's outputs."""
        return outputs[:, : len(self.classes_)]

    def _class_weights(self, data):
        if self.class_weight is None:
            return None
        _, codes = data.in_distribution
        weights = compute_class_weight(
            self.class_weight, classes=data.classes, y=data.classes[codes]
        )
        return torch.as_tensor(weights, dtype=torch.float32)

    def _check_parameters(self):
        if self.confidence not in self._confidences:
            raise ValueError(
                f"Got confidence={self.confidence!r}, but expected one of "
                f"{list(self._confidences)}."
            )
        if self.temperature != "calibrate" and not self.temperature > 0:
            raise ValueError(
                f"Got temperature={self.temperature!r}, but expected a number > 0 or "
                "'calibrate'."
            )
        if not self.epsilon >= 0:
            raise ValueError(f"Got epsilon={self.epsilon!r}, but expected a number >= 0.")

    def _logits(self, rows):
        """Logits of the classes, divided by the temperature."""
        return forward(self.net_, rows) / self.temperature_

    def _evidence(self, rows):
        return log_softmax(self._logits(rows))

    def _log_proba(self, rows):
        return self._evidence(rows)

    def _log_outputs(self, batch, *, scaled=False):
        """Log-output of every class for a tensor of rows, differentiable in the rows.

        Unscaled it is what the network says, scaled what the method makes of it; the two
        differ where a confidence multiplies the probabilities.
        """
        logits = self.net_.module_(batch)[:, : len(self.classes_)].double()
        return torch.log_softmax(logits / self.temperature_, dim=1)

    def _bounded_outputs(self, batch, *, scaled=False):
        """``_log_outputs``, and what the score of each row cannot exceed, without gradient."""
        outputs = self._log_outputs(batch, scaled=scaled)
        return outputs, torch.full_like(outputs[:, 0].detach(), np.inf)

    def _scores(self, rows):
        if self.confidence != "odin":
            return CONFIDENCES[self.confidence](self._logits(rows))
        shifted = odin_rows(self.net_, rows, self._log_max_proba, self.epsilon)
        return CONFIDENCES["max_proba"](self._logits(shifted))

    def _class_scores(self, rows, codes):
        return self._scores(rows)

    def _log_max_proba(self, outputs):
        return torch.log_softmax(outputs / self.temperature_, dim=1).max(dim=1).values
