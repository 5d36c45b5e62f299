"""The evidence for a change, row by row."""

from typing import Self

import numpy as np

from sklearn_ood._plotting import axes_and_figure


class MonitorDisplay:
    """How the evidence for a change grew, and where the alarm was, at ``1 / alpha``.

    Parameters
    ----------
    log_wealth : ndarray of shape (n_rows,)
        Natural logarithms.
    alpha : float

    Attributes
    ----------
    figure_, ax_, line_ : matplotlib Figure, Axes and Line2D
    """

    def __init__(self, log_wealth, *, alpha):
        self.log_wealth = log_wealth
        self.alpha = alpha

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs) -> Self:
        """Draw the ``estimator``, a fitted :class:`DriftMonitor` or :class:`RiskMonitor`."""
        return cls(estimator.log_wealth_, alpha=estimator.alpha).plot(ax=ax, **kwargs)

    def plot(self, *, ax=None, **kwargs) -> Self:
        """Draw the evidence on a logarithmic scale, and the alarm's level.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; in a figure of its own by default.
        **kwargs : dict
            For the line.
        """
        self.ax_, self.figure_ = axes_and_figure(ax)
        level = -np.log10(self.alpha)
        decimal = np.asarray(self.log_wealth) / np.log(10)
        self.line_ = self.ax_.plot(decimal, **({"label": "evidence"} | kwargs))[0]
        self.ax_.axhline(level, color="C3", linestyle="--", label=f"alarm ({self.alpha:g})")
        reached = np.flatnonzero(decimal >= level)
        if len(reached):
            self.ax_.axvline(reached[0], color="C3", linewidth=0.8)
        self.ax_.set(xlabel="Row", ylabel="Evidence for a change (powers of ten)")
        self.ax_.legend()
        return self
