"""Axes to draw on."""


def pyplot():
    """``matplotlib.pyplot``, or an error that says how to get it."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            "A picture needs matplotlib, which is not installed; "
            'pip install "sklearn-ood[plot]".'
        ) from error
    return matplotlib.pyplot


def axes_and_figure(ax=None):
    """The axes given, or new ones, and their figure."""
    ax = pyplot().subplots()[1] if ax is None else ax
    return ax, ax.figure
