"""
Compare two models where they differ
====================================

Two networks are right equally often on the test rows, or nearly. Which one to deploy? Test
rows say little, for on nearly all of them the two agree. ``GeValDi`` looks for inputs, like
those of the data, on which they do not.
"""

# %%
# A dense and a convolutional network learn the digits. They disagree on a few of the test
# digits only.

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ood import GeValDi, SoftmaxClassifier
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.gevaldi import plot_ascent, plot_regions, plot_samples
from sklearn_ood.inspection import churn_report

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
members = [
    ("dense", SoftmaxClassifier(hidden_layer_sizes=(64,), max_epochs=40)),
    ("convolutional", SoftmaxClassifier(input_shape=(1, 8, 8), max_epochs=20)),
]
compared = GeValDi(members, generator=PCAGenerator(8), input_shape=(1, 8, 8), random_state=0)
compared.fit(X_train, y_train)
for name, model in compared.named_estimators_.items():
    print(f"{name:14} {model.score(X_test, y_test):.1%} right")

# %%
# What do the test rows say? On how many the two differ, with an exact interval, who is right
# there, and in which columns (here pixels) these rows differ from the others.

print(churn_report(*compared.estimators_, X_test, y_test, random_state=0))

# %%
# A generator draws digits of each class, and its latents climb the divergence of the two
# networks' probabilities.

found = compared.maximally_different_samples(200, random_state=0)
drawn = np.not_equal(*found.start.predictions)
print(f"different answers to {drawn.mean():.1%} of the digits as drawn,", end=" ")
print(f"to {found.differ.mean():.1%} after the ascent")
figure = plot_ascent(found)

# %%
# The pairs on which they differ most: as drawn, and after the ascent, with both answers.

figure = plot_samples(found, max_samples=4)

# %%
# Which network is right more often there? The digits of the test set that are nearest to the
# samples have labels that people gave: with a bootstrap interval and McNemar's test.

(pair,) = compared.compare_accuracy(found, X_test, y_test, random_state=0)
print(f"{pair.first} {pair.first_accuracy:.1%}, {pair.second} {pair.second_accuracy:.1%}")
print(f"difference {pair.difference:.1%}, 95 % interval [{pair.low:.1%}, {pair.high:.1%}]")

# %%
# What kinds of input are they? Regions of samples that are confused alike; those on which the
# networks differ most come first here.

regions = compared.failure_regions(found)
regions.sort(key=lambda region: -region.mean_divergence)
figure = plot_regions(found, regions, max_regions=4)

# %%
# As an estimator it is the consensus of both, as confident as they agree: where it is wrong,
# its score is lower.

scores, wrong = compared.score_samples(X_test), compared.predict(X_test) != y_test
print(
    f"mean score: {scores[~wrong].mean():.3f} where right, {scores[wrong].mean():.3f} where not"
)
# sphinx_gallery_thumbnail_number = 2
