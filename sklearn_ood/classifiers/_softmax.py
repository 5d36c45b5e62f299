import numpy as np
from torch import nn

from sklearn_ood.classifiers._network import LogitClassifier
from sklearn_ood.nets._modules import InputShape, check_outputs
from sklearn_ood.nets._training import wrap_trained


class SoftmaxClassifier(LogitClassifier):
    """Neural network trained with cross entropy, with the classic scores.

    The baseline that every paper compares with: the network's own probabilities say what
    the class is, and ``score_function`` says how far to trust it: the largest probability
    [1]_, ODIN [2]_ with ``epsilon > 0``, the energy [3]_.

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
    def from_module(cls, network, classes, input_shape, **params):
        """A fitted classifier around a network that is already trained.

        Parameters
        ----------
        network : nn.Module
            From inputs of ``input_shape`` to one logit for each class, alone, first in a tuple
            or as ``.logits``; it is not copied.
        classes : array-like of shape (n_classes,)
            The label of each output, distinct and in ascending order, as scikit-learn keeps
            them.
        input_shape : int or tuple of int
            Shape of one input: ``(n_features,)`` or ``(C, H, W)``.
        **params
            Further parameters: ``score_function``, ``temperature`` (a number), ``epsilon``, ...

        Returns
        -------
        SoftmaxClassifier

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
                "ascending order: with order = numpy.argsort(classes) pass classes[order], and "
                "a network whose outputs are outputs[:, order]."
            )
        input_shape = tuple(int(size) for size in np.atleast_1d(input_shape))
        check_outputs(network, input_shape, len(classes))
        classifier = cls(network, input_shape=input_shape, **params)
        classifier._validate_params()
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
        classifier.center_ = classifier.scale_ = None
        classifier.n_features_in_ = int(np.prod(input_shape))
        classifier.classes_ = classes
        return classifier
