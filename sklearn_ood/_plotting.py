"""Where all pictures begin."""


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
