"""Look into a fitted model: attack it, and see which inputs move its answer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
