from typing import Annotated, Literal, Self

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import nn

from sklearn_ood._parameters import NonNegative, Positive, fitted
from sklearn_ood.classifiers._network import NetClassifier
from sklearn_ood.nets._evaluation import forward, odin_rows
from sklearn_ood.nets._heads import SCORE_FUNCTIONS, SoftmaxHead, fit_temperature
from sklearn_ood.nets._modules import InputShape, ascending, check_outputs
from sklearn_ood.nets._training import wrap_trained


class LogitClassifier(NetClassifier):
    """Template of the methods whose outputs are logits.

    Parameters
    ----------
    score_function : {"max_proba", "entropy", "margin", "max_logit", "energy", \
            "generalized_entropy", "max_logit_pnorm"}, default="max_proba"
        Formula of ``score_samples``, with f the logits divided by ``temperature`` and p their
        softmax: log max p; sum p log p; the two largest log p's difference; max f; logsumexp f;
        minus the sum of (p (1 - p))**0.1 over the 100 largest p (GEN); the largest f less
        their mean, over the 5-norm of f less their mean.
    temperature : float > 0 or "calibrate", default=1.0
        Divides the logits. "calibrate" fits it on a held-out part by maximum likelihood.
    epsilon : float >= 0, default=0.0
        Step of ODIN, in the units of X: rows are scored after a step of this length in every
        feature towards a higher score (Liang et al., 2018, with "max_proba").

    Attributes
    ----------
    temperature_ : float
        The temperature in use.
    """

    score_function: Annotated[str, StrOptions(set(SCORE_FUNCTIONS))] = "max_proba"
    temperature: Positive | Literal["calibrate"] = 1.0
    epsilon: NonNegative = 0.0

    temperature_: float = fitted()

    def make_head(self):
        return SoftmaxHead(self.score_function, self.temperature_)

    @property
    def _needs_holdout(self):
        return super()._needs_holdout or self.temperature == "calibrate"

    def _calibrate(self, net, held_out):
        calibrate = self.temperature == "calibrate"
        self.temperature_ = 1.0 if calibrate else float(self.temperature)
        if calibrate:
            logits = self.make_head().logits(torch.from_numpy(forward(net, held_out.rows)))
            drawn = held_out.drawn_places()
            self.temperature_ = fit_temperature(logits.numpy()[drawn], held_out.codes[drawn])

    def _scores(self, rows):
        if self.epsilon:
            step = self.epsilon if self.center_ is None else self.epsilon / self.scale_
            rows = odin_rows(self.net_, rows, self.head_.score, step)
        return super()._scores(rows)

    def _evidence_and_scores(self, rows):
        if self.epsilon:  # the score is that of other rows
            return self._evidence(rows), self._scores(rows)
        return super()._evidence_and_scores(rows)

    def _class_scores(self, rows, codes):
        return self._scores(rows) if self.epsilon else super()._class_scores(rows, codes)


class SoftmaxClassifier(LogitClassifier):
    """Neural network trained with cross entropy, with the classic scores.

    The baseline that every paper compares with: the network's own probabilities say what the
    class is, and ``score_function`` says how far to trust it: the largest probability [1]_,
    ODIN [2]_ with ``epsilon > 0``, the energy [3]_. :class:`SelectiveClassifier` turns the
    score into answers and refusals.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "A baseline for detecting misclassified and
       out-of-distribution examples in neural networks", ICLR 2017.
    .. [2] S. Liang, Y. Li and R. Srikant, "Enhancing the reliability of out-of-distribution
       image detection in neural networks" (ODIN), ICLR 2018.
    .. [3] W. Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = SoftmaxClassifier(random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    """

    @classmethod
    def from_module(cls, network, classes, input_shape, **params) -> Self:
        """A fitted classifier around a network that is already trained.

        Parameters
        ----------
        network : nn.Module
            From inputs of ``input_shape`` to one logit for each class, alone, first in a tuple
            or as ``.logits``; it is not copied, and left in evaluation mode.
        classes : array-like of shape (n_classes,)
            The label of each output, distinct and in ascending order.
        input_shape : int or tuple of int
            Shape of one input: ``(n_features,)`` or ``(C, H, W)``.
        **params
            Further parameters: ``score_function``, ``temperature`` (a number), ``epsilon``, ...

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
        classes = ascending(classes, "network", at_least=2)
        input_shape = tuple(int(size) for size in np.atleast_1d(input_shape))
        check_outputs(network, input_shape, len(classes))
        classifier = cls(network, input_shape=input_shape, **params)
        classifier._validate_params()
        if classifier.temperature == "calibrate":
            raise ValueError(
                "Got temperature='calibrate', but from_module sees no data; pass a number."
            )
        network = InputShape(network, input_shape)
        classifier.net_ = wrap_trained(network, device=classifier.device)
        classifier.temperature_ = float(classifier.temperature)
        classifier.input_shape_ = input_shape
        classifier.center_ = classifier.scale_ = None
        classifier.n_features_in_ = int(np.prod(input_shape))
        classifier.classes_ = classes
        return classifier
