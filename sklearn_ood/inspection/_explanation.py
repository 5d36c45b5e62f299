"""Inputs beside what explains their answer: what moves it, and the nearest generations."""

from typing import NamedTuple, Self

import numpy as np

from sklearn_ood._plotting import draw_row, new_figure


class InputGradientsDisplay:
    """Inputs and the gradients of their predicted class, side by side.

    Parameters
    ----------
    X, gradients : ndarray of shape (n_samples, n_features) or (n_samples, C, H, W)
    titles : sequence of str of length n_samples
    """

    def __init__(self, X, gradients, titles):
        self.X, self.gradients, self.titles = X, gradients, titles

    @classmethod
    def from_estimator(cls, estimator, X, *, guided=True, plot=True) -> Self:
        """Gradients of a few inputs X by a fitted classifier that has ``input_gradients``.

        Those of guided backpropagation, unless ``guided=False``; ``plot=False`` draws nothing
        yet.
        """
        gradients = estimator.input_gradients(X, guided=guided)
        rows = np.asarray(X, dtype=np.float64).reshape(gradients.shape)
        display = cls(rows, gradients, [str(label) for label in estimator.predict(X)])
        return display.plot() if plot else display

    def plot(self, *, figure=None) -> Self:
        """Draw the inputs above and their gradients below: images, or bars for rows."""
        n = len(self.X)
        figure = figure or new_figure(1.6 * n, 3.6)
        self.figure_, self.axes_ = figure, figure.subplots(2, n, squeeze=False)
        for column, title in enumerate(self.titles):
            above, below = self.axes_[:, column]
            above.set_title(title)
            if self.X.ndim == 4:
                _show(above, self.X[column])
                _show(below, np.abs(self.gradients[column]))
            else:
                above.bar(range(self.X.shape[1]), self.X[column])
                below.bar(range(self.X.shape[1]), self.gradients[column])
        self.axes_[0, 0].set_ylabel("input")
        self.axes_[1, 0].set_ylabel("gradient")
        return self


def _show(axes, image):
    low, high = image.min(), image.max()
    stretched = (image - low) / (high - low) if high > low else np.zeros_like(image)
    draw_row(axes, stretched, image.shape)


class Explanation(NamedTuple):
    """Rows beside the nearest generation of each class.

    Attributes
    ----------
    rows : ndarray of shape (n_samples, n_features)
    generations : ndarray of shape (n_samples, n_classes, n_features)
    latents : ndarray of shape (n_samples, n_classes, latent_dim)
    distances : ndarray of shape (n_samples, n_classes)
        Minus the similarities.
    classes : ndarray of shape (n_classes,)
    input_shape : tuple of int
    """

    rows: np.ndarray
    generations: np.ndarray
    latents: np.ndarray
    distances: np.ndarray
    classes: np.ndarray
    input_shape: tuple


def draw_explanation(explanation, labels=None):
    """A figure of an :class:`Explanation`, with true labels written beside its rows."""
    n, n_classes = explanation.distances.shape
    figure = new_figure(1.1 * (n_classes + 1), 1.3 * n)
    axes = figure.subplots(n, n_classes + 1, squeeze=False)
    predicted = explanation.distances.argmin(1)
    for i, line in enumerate(axes):
        draw_row(line[0], explanation.rows[i], explanation.input_shape)
        line[0].set_title("input" if labels is None else f"input: {labels[i]}", fontsize=7)
        for k, axis in enumerate(line[1:]):
            draw_row(axis, explanation.generations[i, k], explanation.input_shape)
            title = f"{explanation.classes[k]}: {explanation.distances[i, k]:.2g}"
            weight, color = ("bold", "C3") if k == predicted[i] else ("normal", "0.8")
            axis.set_title(title, fontsize=7, fontweight=weight)
            axis.spines[:].set_color(color)
    return figure
