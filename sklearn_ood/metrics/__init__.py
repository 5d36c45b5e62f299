"""Metrics for classifiers that may decline to answer, and for outlier scores."""

from sklearn_ood.metrics._selective import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    eaurc_score,
    risk_at_coverage,
    risk_coverage_curve,
)

__all__ = [
    "augrc_score",
    "aurc_score",
    "coverage_at_risk",
    "eaurc_score",
    "risk_at_coverage",
    "risk_coverage_curve",
]
