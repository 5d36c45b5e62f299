"""
Score a stream
==============

Rows come in batches, without an end, and one day they change: new kinds of input, a worn
sensor. Every row gets a p-value, and the stream an answer to "is this still the data that I was
trained on?".
"""

# %%
# The model learns the digits 0 to 6. The stream first shows such digits, then more and more
# of 7, 8 and 9; later the scanner darkens one side.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_ood import (
    CombinedClassifier,
    DriftMonitor,
    GenerativeClassifier,
    MonitorDisplay,
    NeighborDistance,
)

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
known = y < 7
X_train, X_new, y_train, y_new = train_test_split(
    X[known], y[known], test_size=0.5, stratify=y[known], random_state=0
)
N_BATCHES, SIZE = 60, 100
half = len(X_new) // 2  # of the known digits: the monitor's reference, and the stream's


def stream(seed=0):
    """Batches of rows, and which of them are unknown digits."""
    rng = np.random.default_rng(seed)
    for batch in range(N_BATCHES):
        unknown = rng.random(SIZE) < 0.02 * np.clip(batch - 20, 0, 10)
        rows = X_new[half:][rng.integers(len(X_new) - half, size=SIZE)]
        rows[unknown] = X[~known][rng.integers(sum(~known), size=sum(unknown))]
        if batch >= 45:
            rows[:, 0::8] = rows[:, 0::8] + 0.5
        yield rows, unknown


detector = CombinedClassifier(
    GenerativeClassifier("pca"),
    [("reconstruction", GenerativeClassifier("pca")), ("nearest row", NeighborDistance())],
    calibration=0.5,
    random_state=0,
).fit(X_train, y_train)

# %%
# :class:`~sklearn_ood.DriftMonitor` bets against "nothing has changed", row after row. While
# that is true the stake hardly grows: it reaches 1 / alpha with probability at most alpha,
# ever, so that one may look after every batch and false alarms do not add up. A row's score
# does not depend on the rows beside it, and batches may be of any size.

LEVEL = 0.1
monitor = DriftMonitor(FrozenEstimator(detector), alpha=0.01, random_state=0)
monitor.fit(X_new[:half])
surprising, share_unknown = [], []
for rows, unknown in stream():
    monitor.partial_fit(rows)
    surprising.append((detector.p_values(rows) <= LEVEL).mean())
    share_unknown.append(unknown.mean())

print(f"alarm at row {monitor.alarm_row_}, in batch {monitor.alarm_row_ // SIZE}")
print("unknown digits come from batch 21 on")

# %%
# The evidence, and below it the share of rows with a small p-value in each batch, beside what
# no detector sees: the share of unknown digits.

fig, (top, ax) = plt.subplots(2, figsize=(8, 6), layout="constrained")
MonitorDisplay.from_estimator(monitor, ax=top)
ax.plot(surprising, "o-", markersize=3, label=f"rows with p at most {LEVEL}")
ax.fill_between(
    range(N_BATCHES), share_unknown, color="0.85", step="mid", label="unknown digits"
)
ax.axvline(45, color="0.5", linewidth=0.8)
ax.text(45.5, 0.02, "scanner darkens")
ax.set(xlabel="Batch", ylabel="Share of the batch", ylim=(0, 1.03))
ax.legend(loc="upper left")

# %%
# The most surprising rows of the last batch before the scanner changed.

batches = list(stream())
rows, unknown = batches[44]
order = np.argsort(detector.score_samples(rows))[:10]
fig, axes = plt.subplots(1, 10, figsize=(9, 1.4))
for ax, row in zip(axes, order, strict=True):
    ax.imshow(rows[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title("unknown" if unknown[row] else "known", fontsize=8)
    ax.set_axis_off()
