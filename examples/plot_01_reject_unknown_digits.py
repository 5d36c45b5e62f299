"""
Refuse digits that were never taught
====================================

A network that has learned the digits 0 to 6 answers every image with one of these, also a
picture of a 9. Here it may also say that it does not know.
"""

# %%
# The data: scikit-learn's 8x8 digits. The digits 7, 8 and 9 are kept from training; in the
# test they carry a label of their own, which no classifier here was taught.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ood import GenerativeClassifier, SelectiveClassifier, SoftmaxClassifier
from sklearn_ood.metrics import ConfidenceHistogramDisplay, RiskCoverageDisplay, ood_report

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
known = y < 7
X_train, X_test, y_train, y_test = train_test_split(
    X[known], y[known], test_size=0.4, stratify=y[known], random_state=0
)
X_test, y_test = np.vstack([X_test, X[~known]]), np.append(y_test, np.full(sum(~known), -1))

# %%
# Two ways to doubt: by the network's own probability, and by how near a row is to what its
# class can look like. ``detector=`` lets the network name the class and the generators decide
# whether to answer.

network = SoftmaxClassifier(input_shape=(1, 8, 8), max_epochs=40, random_state=0)
by_softmax = SelectiveClassifier(network, coverage=0.95, random_state=0)
by_generators = SelectiveClassifier(
    network,
    detector=GenerativeClassifier("knn", random_state=0),
    coverage=0.95,
    random_state=0,
)

# %%
# The risk at every coverage: among the most trusted rows, which share is answered wrongly?
# An answer to an unknown digit is always wrong.

fig, ax = plt.subplots()
for name, model in {"softmax": by_softmax, "generators": by_generators}.items():
    model.fit(X_train, y_train)
    RiskCoverageDisplay.from_estimator(model, X_test, y_test, name=name, ax=ax)

# %%
# The same as numbers, and as a picture of the confidences with the threshold.

for name, model in {"softmax": by_softmax, "generators": by_generators}.items():
    report = ood_report(y_test != -1, model.score_samples(X_test))
    print(name, {key: round(value, 3) for key, value in report.items()})

display = ConfidenceHistogramDisplay.from_estimator(by_generators, X_test, y_test)

# %%
# Some of the digits that it refused.

refused = np.flatnonzero(~by_generators.accept(X_test))[-16:]
fig, axes = plt.subplots(2, 8, figsize=(8, 2.2))
for ax, row in zip(axes.flat, refused, strict=True):
    ax.imshow(X_test[row].reshape(8, 8), cmap="gray_r")
    ax.set_axis_off()
# sphinx_gallery_thumbnail_number = 2
