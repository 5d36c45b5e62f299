"""What was decided of each row, and why."""

import numpy as np

from sklearn_ood._optional import optional
from sklearn_ood._response import unwrap

UNSURE, STRANGE, NO_PROMISE = "unsure", "strange", "no promise"


def look(model, X):
    """Answers, confidence and, of a combination, p-values and its members' scores, at once."""
    if not hasattr(unwrap(model.detector_)[0], "answers_and_p_values"):
        return *model.answers_and_confidence(X), None, None
    combined, rows = unwrap(model.detector_, X)
    answers, *judged = combined.answers_and_p_values(rows)
    return (answers if model.detector is None else model.answers(X)), *judged


def decisions(model, index, looked, thresholds, alpha):
    """A frame of :meth:`SelectiveClassifier.decide`, from a :func:`look` at the rows."""
    pd = optional("pandas", "A frame", "table")
    labels, confidence, p_values, member_scores = looked
    kept = confidence >= thresholds
    accepted = kept[-1]
    columns = {"label": labels, "confidence": confidence}
    strange = np.full(len(labels), model.detector is not None)
    if p_values is not None:
        columns["p_value"], strange = p_values, p_values <= alpha
    promised = ~np.isposinf(thresholds[-1])
    reason = np.where(promised, np.where(strange, STRANGE, UNSURE), NO_PROMISE)
    reason = np.where(accepted, "", reason)
    columns |= {"accepted": accepted, "reason": reason}
    if np.ndim(model.risk):
        least = np.asarray(model.risk)[kept.argmax(axis=0)]
        columns["risk"] = np.where(accepted, least, np.nan)
    if member_scores is not None:
        names = np.array(list(unwrap(model.detector_)[0].members_), dtype=object)
        against = names[member_scores.argmin(axis=1)]
        columns["member"] = np.where(reason == STRANGE, against, "")
    return pd.DataFrame(columns, index=index)
