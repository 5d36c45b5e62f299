"""Axes to draw on, and how a row is drawn."""

from sklearn_ood._optional import optional


def pyplot():
    """``matplotlib.pyplot``, or an error that says how to get it."""
    return optional("matplotlib.pyplot", "A picture", "plot")


def axes_and_figure(ax=None):
    """The axes given, or new ones, and their figure."""
    ax = pyplot().subplots(layout="constrained")[1] if ax is None else ax
    return ax, ax.figure


def new_figure(width, height):
    """An empty figure of a size in inches."""
    return pyplot().figure(figsize=(width, height), layout="constrained")


def draw_row(axis, row, input_shape):
    """One row: an image as an image, any other as a line over its features."""
    axis.set(xticks=[], yticks=[])
    if len(input_shape) == 3:
        image = row.reshape(input_shape).transpose(1, 2, 0)
        axis.imshow(image.clip(0, 1).squeeze(), cmap="gray" if image.shape[2] == 1 else None)
    else:
        axis.plot(row, linewidth=0.8)
