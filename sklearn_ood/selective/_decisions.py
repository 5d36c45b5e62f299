"""What was decided of each row, and why."""

import numpy as np

from sklearn_ood._response import unwrap
from sklearn_ood.data._blocks import take_rows

UNSURE, STRANGE, NO_PROMISE = "unsure", "strange", "no promise"


def decisions(model, X, labels, confidence, thresholds, alpha):
    """A frame of :meth:`SelectiveClassifier.decide`, from what was answered."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            'A frame needs pandas, which is not installed; pip install "sklearn-ood[table]".'
        ) from error
    kept = confidence >= thresholds
    accepted = kept[-1]
    columns = {"label": labels, "confidence": confidence}
    strange = np.full(len(labels), model.detector is not None)
    inner, rows = unwrap(model.detector_)[0], X
    if hasattr(inner, "p_values"):
        inner, rows = unwrap(model.detector_, X)
        columns["p_value"] = inner.p_values(rows)
        strange = columns["p_value"] <= alpha
    promised = ~np.isposinf(thresholds[-1])
    reason = np.where(promised, np.where(strange, STRANGE, UNSURE), NO_PROMISE)
    reason = np.where(accepted, "", reason)
    columns |= {"accepted": accepted, "reason": reason}
    if np.ndim(model.risk):
        columns["risk"] = np.where(
            accepted, np.asarray(model.risk)[kept.argmax(axis=0)], np.nan
        )
    if hasattr(inner, "member_score_samples"):
        columns["member"] = _members_against(inner, rows, reason == STRANGE)
    return pd.DataFrame(columns, index=getattr(X, "index", None))


def _members_against(combined, rows, asked):
    """The member with the smallest p-value of each row that is asked for, else no text."""
    names = np.array(list(combined.members_), dtype=object)
    against = np.full(len(asked), "", dtype=object)
    if asked.any():
        log_p = combined.member_score_samples(take_rows(rows, asked))
        against[asked] = names[log_p.argmin(axis=1)]
    return against
