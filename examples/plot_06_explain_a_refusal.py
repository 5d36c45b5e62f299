"""
Explain a refusal
=================

Two questions after a refusal: which evidence spoke against this row, and what would the
classes have looked like that it was compared with?
"""

# %%
# Digits 0 to 6 are taught; the combined evidence of a network, of a reconstruction for each
# class and of the nearest training rows decides what is refused.

import numpy as np
from sklearn.datasets import load_digits

from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    MemberPValuesDisplay,
    NeighborDistance,
    NoveltyDetector,
    SoftmaxClassifier,
)
from sklearn_ood.generators import PCAGenerator

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
known = y < 7

members = [
    ("probability", "classifier"),
    ("reconstruction", GenerativeClassifier("pca")),
    ("nearest row", NeighborDistance()),
]
network = SoftmaxClassifier(input_shape=(1, 8, 8), max_epochs=40, random_state=0)
detector = CombinedClassifier(network, members, random_state=0)
at_five_percent = NoveltyDetector(detector, contamination=0.05).fit(X[known], y[known])
print(f"refused: {(at_five_percent.predict(X[~known]) == -1).mean():.1%} of the unknown digits")

# %%
# Every member's p-value at some unknown digits: small where it speaks against the row. Some
# rows fool the network, some the reconstruction, hardly any fools all.

fitted = at_five_percent.estimator_
rows = np.flatnonzero(~known)[:8]
display = MemberPValuesDisplay.from_estimator(fitted, X[rows], y[rows])

# %%
# What the class generators make of the same rows: the nearest that each class can generate
# from four components, and how far off it is (the best class is marked).

generators = GenerativeClassifier(
    PCAGenerator(4), similarity="l2", input_shape=(1, 8, 8), random_state=0
)
generators.fit(X[known], y[known])
display = generators.plot_explanation(X[rows[:5]], y[rows[:5]])
