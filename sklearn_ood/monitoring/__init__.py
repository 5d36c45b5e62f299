"""Alarms on a stream: is this still the data, does the promise still hold?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
