"""scikit-learn-compatible classifiers that know when they do not know.

Public names are loaded when they are first asked for, so that nobody pays for torch who does
not use it; ``__init__.pyi`` lists them.
"""

import lazy_loader

from sklearn_ood._version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
