"""Metrics for classifiers that may decline to answer, and for outlier scores."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
