from ._blocks import bootstrap_interval
from ._displays import ConfidenceHistogramDisplay, RiskCoverageDisplay
from ._open_set import (
    aupr_in,
    aupr_out,
    auroc,
    detection_accuracy,
    ood_report,
    open_set_f_measure,
    openness,
    oscr_score,
    tnr_at_tpr,
)
from ._region import AcceptedRegionDisplay
from ._report import (
    RejectConfusionDisplay,
    SelectiveReport,
    reject_confusion_matrix,
    selective_report,
)
from ._scorer import selective_scorer
from ._selective import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    eaurc_score,
    expected_calibration_error,
    risk_at_coverage,
    risk_coverage_curve,
)
from ._set_distance import prediction_set_distance

__all__ = [
    "AcceptedRegionDisplay",
    "ConfidenceHistogramDisplay",
    "RejectConfusionDisplay",
    "RiskCoverageDisplay",
    "SelectiveReport",
    "augrc_score",
    "aupr_in",
    "aupr_out",
    "aurc_score",
    "auroc",
    "bootstrap_interval",
    "coverage_at_risk",
    "detection_accuracy",
    "eaurc_score",
    "expected_calibration_error",
    "ood_report",
    "open_set_f_measure",
    "openness",
    "oscr_score",
    "prediction_set_distance",
    "reject_confusion_matrix",
    "risk_at_coverage",
    "risk_coverage_curve",
    "selective_report",
    "selective_scorer",
    "tnr_at_tpr",
]
