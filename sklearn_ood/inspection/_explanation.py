"""What a generative classifier has to show for its answers."""

from typing import NamedTuple

import numpy as np

from sklearn_ood._plotting import draw_row, new_figure


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
