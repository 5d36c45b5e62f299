"""Where outliers come from: made from the data alone, by a GAN, or given."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
