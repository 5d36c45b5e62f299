"""Inputs beside what moves their answer."""

import numpy as np

from sklearn_ood._plotting import new_figure


class InputGradientsDisplay:
    """Inputs and the gradients of their predicted class, side by side.

    Parameters
    ----------
    X, gradients : ndarray of shape (n_samples, n_features) or (n_samples, C, H, W)
    titles : sequence of str of length n_samples

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes of shape (2, n_samples)
    """

    def __init__(self, X, gradients, titles):
        self.X, self.gradients, self.titles = X, gradients, titles

    @classmethod
    def from_estimator(cls, estimator, X, *, guided=True, plot=True):
        """Gradients of a fitted classifier for a few inputs.

        Parameters
        ----------
        estimator : estimator
            Fitted, with the method ``input_gradients``.
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        guided : bool, default=True
            Guided backpropagation.
        plot : bool, default=True

        Returns
        -------
        InputGradientsDisplay
        """
        gradients = estimator.input_gradients(X, guided=guided)
        rows = np.asarray(X, dtype=np.float64).reshape(gradients.shape)
        display = cls(rows, gradients, [str(label) for label in estimator.predict(X)])
        return display.plot() if plot else display

    def plot(self, *, figure=None):
        """Draw the inputs above and their gradients below: images, or bars for rows.

        Parameters
        ----------
        figure : matplotlib Figure, default=None

        Returns
        -------
        self
        """
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
    """One image, its values stretched to [0, 1]."""
    low, high = image.min(), image.max()
    stretched = (image - low) / (high - low) if high > low else np.zeros_like(image)
    axes.imshow(np.moveaxis(stretched, 0, -1).squeeze(), cmap="gray")
    axes.set(xticks=[], yticks=[])
