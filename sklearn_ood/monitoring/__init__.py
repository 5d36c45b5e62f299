"""Alarms on a stream: is this still the data, does the promise still hold?"""

from sklearn_ood.monitoring._display import MonitorDisplay
from sklearn_ood.monitoring._monitors import DriftMonitor, RiskMonitor

__all__ = ["DriftMonitor", "MonitorDisplay", "RiskMonitor"]
