from ._display import MonitorDisplay
from ._monitors import DriftMonitor, RiskMonitor

__all__ = ["DriftMonitor", "MonitorDisplay", "RiskMonitor"]
