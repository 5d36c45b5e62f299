"""
The applicability domain of a QSAR model
========================================

A model predicts from descriptors whether a compound is active. Guidelines for such models ask
for a defined domain of applicability: for which compounds is a prediction to be relied on? Here
the domain has a known error rate, and says which descriptor leads a compound out of it.
"""

# %%
# Descriptors of drug-like compounds of four scaffolds, as a calculator gives them, and whether
# each is active. They are drawn here; what is computed from one's own structures goes in its
# place. The external set also has macrocycles, which are outside of the domain.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from sklearn_ood import CombinedClassifier, ExplanationDisplay, SelectiveClassifier
from sklearn_ood.metrics import RiskCoverageDisplay

SCAFFOLDS = {  # number of heavy atoms, of hetero atoms, of aromatic rings, of rotatable bonds
    "indole": (22, 4, 2.0, 4),
    "piperazine": (27, 6, 1.5, 6),
    "quinazoline": (30, 7, 3.0, 5),
    "sulfonamide": (25, 7, 2.0, 5),
    "macrocycle": (44, 13, 0.5, 6),
}


def draw_compounds(counts, seed):
    rng = np.random.default_rng(seed)
    scaffold = np.repeat(list(counts), list(counts.values()))
    atoms, hetero, rings, bonds = np.array([SCAFFOLDS[name] for name in scaffold]).T
    atoms = np.round(rng.normal(atoms, 3))
    hetero, rings = rng.poisson(hetero), rng.poisson(rings)
    donors = rng.binomial(hetero, 0.25)
    logp = 0.16 * atoms - 0.55 * hetero + 0.3 * rings + rng.normal(0, 0.5, len(atoms))
    frame = pd.DataFrame(
        {
            "MolWt": (12.9 * atoms + 3.1 * hetero + rng.normal(18, 5, len(atoms))).round(1),
            "LogP": logp.round(2),
            "TPSA": (11 * hetero + 9 * donors + rng.normal(4, 6, len(atoms))).clip(0).round(1),
            "HBD": donors,
            "HBA": hetero - rng.binomial(hetero, 0.2),
            "RotBonds": rng.poisson(bonds),
            "AromaticRings": rings,
        }
    )
    odds = 1.6 * (frame["LogP"] - 2) - 0.05 * (frame["TPSA"] - 75) + 0.8 * (rings - 2)
    active = rng.random(len(frame)) < 1 / (1 + np.exp(-0.8 * odds))
    return frame, np.where(active, "active", "inactive"), scaffold


X, y, _ = draw_compounds(dict.fromkeys(list(SCAFFOLDS)[:4], 400), seed=0)
external = {**dict.fromkeys(list(SCAFFOLDS)[:4], 100), "macrocycle": 60}
X_external, y_external, scaffold = draw_compounds(external, seed=1)
outside = scaffold == "macrocycle"

# %%
# The usual domain is a bound on the leverage, :math:`h = x^\top (X^\top X)^{-1} x`, at three
# times its mean. It says how far a compound is from the training set's centre in a linear
# model, and nothing of how many new compounds like the training set's it would turn away.


def leverage(X_train, X):
    training, rows = (np.column_stack([np.ones(len(each)), each]) for each in (X_train, X))
    return ((rows @ np.linalg.inv(training.T @ training)) * rows).sum(axis=1)


limit = 3 * (X.shape[1] + 1) / len(X)
h = leverage(X, X_external)

# %%
# :class:`~sklearn_ood.CombinedClassifier` gives each compound a p-value: of compounds like the
# training set's about a share alpha has one of at most alpha, whatever the descriptors and the
# model. Here the model is a random forest; the domain is p > 5 %.

domain = CombinedClassifier(RandomForestClassifier(random_state=0), random_state=0).fit(X, y)
p_values = domain.p_values(X_external)
for name, out in {"leverage": h > limit, "p-value": p_values <= 0.05}.items():
    print(f"{name:9} turns away {out[outside].mean():.0%} of the macrocycles", end=" ")
    print(f"and {out[~outside].mean():.1%} of the training set's scaffolds")

# %%
# A Williams plot with p-values in place of residuals: what the leverage misses is left of its
# limit and below the line at 5 %.

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, rows in {"known scaffolds": ~outside, "macrocycles": outside}.items():
    ax.scatter(h[rows], np.exp(domain.score_samples(X_external[rows])), s=12, label=name)
ax.axvline(limit, color="0.5", linestyle=":", label="leverage limit")
ax.axhline(0.05, color="0.5", label="p = 5 %")
ax.set(xscale="log", yscale="log", xlabel="Leverage", ylabel="p-value, extrapolated")
ax.legend(loc="lower left")

# %%
# Why a compound is outside: the descriptor that leads it out, and in brackets what is expected
# beside its other descriptors.

display = ExplanationDisplay.from_estimator(domain, X_external[outside], max_rows=3)

# %%
# Inside the domain a prediction may still be a guess: near the border between active and
# inactive. One threshold sees to both: at most 10 % of the predictions that are given for
# compounds like the training set's are to be wrong, and one compound in ten is expected to be
# of another kind. The curve has the error of the predictions against the share that is given.

classifier = RandomForestClassifier(random_state=0)
combined = CombinedClassifier(classifier, outlier_share=0.1, random_state=0)
model = SelectiveClassifier(combined, risk=0.1, random_state=0).fit(X, y)
accepted, wrong = model.accept(X_external), model.answers(X_external) != y_external
known = ~outside
print(f"known scaffolds: {accepted[known].mean():.0%} predicted", end=", ")
print(f"{wrong[known & accepted].mean():.1%} of these wrong; of all {wrong[known].mean():.1%}")
print(f"macrocycles: {accepted[outside].mean():.0%} predicted")
display = RiskCoverageDisplay.from_estimator(model, X_external[known], y_external[known])
# sphinx_gallery_thumbnail_number = 1
