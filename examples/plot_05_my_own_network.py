"""
Use my own PyTorch network
==========================

A network that is already trained becomes a scikit-learn classifier in one line, with a
confidence, a threshold and a guarantee around it.
"""

# %%
# A network trained with a plain PyTorch loop, as anybody has one.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_ood import SelectiveClassifier, SoftmaxClassifier
from sklearn_ood.metrics import RiskCoverageDisplay

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)

with torch.random.fork_rng():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.Flatten()),
        torch.nn.Linear(16 * 6 * 6, 10),
    )
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
images, labels = torch.from_numpy(X_train).reshape(-1, 1, 8, 8), torch.from_numpy(y_train)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()

# %%
# Wrapped, it is fitted at once. scikit-learn's ``FrozenEstimator`` keeps it as it is: the rows
# given to ``fit`` only choose the threshold.

classifier = SoftmaxClassifier.from_module(
    network, classes=range(10), input_shape=(1, 8, 8), score_function="margin"
)
X_calibration, X_new, y_calibration, y_new = train_test_split(X_test, y_test, random_state=0)
selective = SelectiveClassifier(FrozenEstimator(classifier), risk=0.02)
selective.fit(X_calibration, y_calibration)
print(selective.guarantee_["risk"])

# %%
accepted = selective.accept(X_new)
print(f"answers {accepted.mean():.1%}, of these right:", end=" ")
print(f"{(selective.predict(X_new)[accepted] == y_new[accepted]).mean():.1%}")

# %%
# The confidence is a parameter of the wrapper, not of the network: compare them on new rows.

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for score_function in ["max_proba", "margin", "energy"]:
    classifier.set_params(score_function=score_function)
    RiskCoverageDisplay.from_estimator(classifier, X_new, y_new, name=score_function, ax=ax)

# %%
# The digits of which it is least sure, with its answers.

classifier.set_params(score_function="margin")
least = np.argsort(classifier.score_samples(X_new))[:8]
fig, axes = plt.subplots(1, 8, figsize=(8, 1.5))
for ax, row, answer in zip(axes, least, classifier.predict(X_new[least]), strict=True):
    ax.imshow(X_new[row].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{answer} (is {y_new[row]})", fontsize=9)
    ax.set_axis_off()
