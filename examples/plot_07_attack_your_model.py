"""
Attack your model
=================

A network names a class for noise, with confidence. How easily can such inputs be made for
your model? ``fooling_rate`` tries, for every class, with gradients or without.
"""

# %%
# Three models of the digits, and for each the threshold that accepts 95 % of new digits.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator

from sklearn_ood import GenerativeClassifier, SelectiveClassifier, SoftmaxClassifier
from sklearn_ood.inspection import FoolingDisplay, fooling_rate

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, y_train, X_new, y_new = X[:1000], y[:1000], X[1000:], y[1000:]

models = {
    "softmax": SoftmaxClassifier(
        module="mlp", input_shape=(1, 8, 8), max_epochs=60, random_state=0
    ),
    "forest": RandomForestClassifier(random_state=0),
    "generators": GenerativeClassifier("pca", random_state=0),
}

# %%
# Two attacks on each of the ten classes. Where the model is differentiable they climb its
# gradient; a forest has none, and is attacked by an evolution strategy.

results = {}
for name, model in models.items():
    model.fit(X_train, y_train)
    selective = SelectiveClassifier(FrozenEstimator(model), coverage=0.95)
    threshold = selective.fit(X_new, y_new).threshold_
    results[name] = fooling_rate(
        model, threshold=threshold, n_trials=2, max_updates=300, lr=0.01, random_state=0
    )
    print(f"{name:12} fooled in {results[name].rate:.0%} of the attacks", end="")
    print(f" ({results[name].mean_updates:.1f} updates)" if results[name].rate else "")

# %%
# What the network takes for digits.

fig, ax = plt.subplots(figsize=(8, 2.2), layout="constrained")
display = FoolingDisplay(results["softmax"]).plot(ax, n_rows=2)
