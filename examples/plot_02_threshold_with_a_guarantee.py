"""
Choose a threshold with a guarantee
===================================

"At most 10 % of the answers are wrong, and at most 20 % of the outliers are answered": say so,
and the threshold follows, or an error that says what can be promised instead.
"""

# %%
# Any scikit-learn classifier will do. Here a random forest learns the digits 0 to 7; some
# pictures of 8 are at hand as examples of what it must not answer, and 9 it never sees.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split

from sklearn_ood import SelectiveClassifier
from sklearn_ood.metrics import AcceptedRegionDisplay

X, y = load_digits(return_X_y=True)
y = np.where(y == 8, -1, y)
seen = y != 9
X_train, X_test, y_train, y_test = train_test_split(
    X[seen], y[seen], test_size=0.4, stratify=y[seen], random_state=0
)

forest = RandomForestClassifier(random_state=0)
promise = {"risk": 0.1, "ood_acceptance": 0.2, "delta": 0.05, "ood_label": -1}
model = SelectiveClassifier(
    forest, calibration=0.5, reject_label=-2, random_state=0, **promise
).fit(X_train, y_train)

# %%
# What was promised, and the bounds that the calibration rows gave. Both hold at once with
# probability 95 %, whatever the forest's probabilities are worth.

for name, guarantee in model.guarantee_.items():
    print(f"{name}: asked for {guarantee.limit}, bound {guarantee.bound:.3f}")

# %%
# What happened on new rows.

accepted = model.accept(X_test)
wrong = model.answers(X_test) != y_test
print(f"answered               {accepted[y_test != -1].mean():.1%} of the known digits")
print(f"wrong among answers    {wrong[accepted].mean():.1%}")
print(f"eights answered        {accepted[y_test == -1].mean():.1%}")
print(f"nines answered         {model.accept(X[~seen]).mean():.1%} (another kind: no promise)")

# %%
# Does it hold? The same forest, told to be wrong in at most 5 % of its answers, eights
# included, and calibrated two hundred times on halves of the rows that it did not see. On the
# other half the share of wrong answers stays below the promise in nearly all of them.

fitted, shares = FrozenEstimator(model.estimator_), []
for seed in range(200):
    X_calibration, X_new, y_calibration, y_new = train_test_split(
        X_test, y_test, test_size=0.5, stratify=y_test, random_state=seed
    )
    again = SelectiveClassifier(fitted, risk=0.05, reject_label=-2)
    accepted = again.fit(X_calibration, y_calibration).accept(X_new)
    shares.append((again.answers(X_new) != y_new)[accepted].mean())

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(shares, bins=20)
ax.axvline(0.05, color="C3", linestyle="--", label="promised")
ax.set(xlabel="Wrong among the answers", ylabel="Calibrations")
ax.legend()
print(f"above the promise in {np.mean(np.array(shares) > 0.05):.1%} of 200 calibrations")

# %%
# With two features one can look at it: where the answer is refused, its colour is faint.

flowers, species = load_iris(return_X_y=True, as_frame=True)
petals = flowers[["petal length (cm)", "petal width (cm)"]]
iris = SelectiveClassifier(forest, coverage=0.9, random_state=0).fit(petals, species)
AcceptedRegionDisplay.from_estimator(iris, petals)

# %%
# A promise that the rows cannot carry is refused, with the best that can be had.

try:
    model.set_params(risk=0.001).fit(X_train, y_train)
except ValueError as error:
    print(error)
# sphinx_gallery_thumbnail_number = 2
