"""Estimators in files that run no code when they are read."""

from sklearn_ood.persistence._files import load, save

__all__ = ["load", "save"]
