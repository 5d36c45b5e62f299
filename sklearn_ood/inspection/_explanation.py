"""What a generative classifier has to show for its answers."""

from typing import NamedTuple

import numpy as np

from sklearn_ood._plotting import draw_row, pyplot


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
    """Draw an explanation: images as images, other rows as lines over their features.

    Parameters
    ----------
    explanation : Explanation
    labels : ndarray of shape (n_samples,), default=None
        True labels, written beside the rows.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    n, n_classes = explanation.distances.shape
    size = (1.1 * (n_classes + 1), 1.3 * n)
    figure = pyplot().figure(figsize=size, layout="constrained")
    axes = figure.subplots(n, n_classes + 1, squeeze=False)
    predicted = explanation.distances.argmin(1)
    for i, line in enumerate(axes):
        title = "input" if labels is None else f"input: {labels[i]}"
        draw_row(line[0], explanation.rows[i], explanation.input_shape)
        line[0].set_title(title, fontsize=7)
        for k, axis in enumerate(line[1:]):
            draw_row(axis, explanation.generations[i, k], explanation.input_shape)
            axis.set_title(
                f"{explanation.classes[k]}: {explanation.distances[i, k]:.2g}",
                fontsize=7,
                fontweight="bold" if k == predicted[i] else "normal",
            )
            axis.spines[:].set_color("C3" if k == predicted[i] else "0.8")
    return figure
