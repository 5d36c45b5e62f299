"""How often other promises than of one risk are broken: at most as they say.

For each class, each group, on a mean loss, for several limits and under a shift of the rows
that weights make up for. As ``guarantees.py``, whose populations these are: the true risks are
sums over a grid. A setting is broken in a draw of the rows where any of its promises is.

    python examples/benchmarks/class_guarantees.py
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.guarantees import (
    KNN,
    NB,
    POPULATIONS,
    SIDE,
    TALLY,
    FewLevels,
    Noise,
    Population,
    Reversed,
    Setting,
    Wrong,
    main,
    options,
    point,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "class_guarantees.csv"
POPULATIONS["3 classes, 20:5:1"] = Population([20, 5, 1], spread=1.5, seed=1)
POPULATIONS["3 classes alike"] = Population([1, 1, 1], spread=2, seed=3)
POPULATIONS["2 classes, 20:1"] = Population([20, 1], spread=2)


def distance(n_classes):
    """Classes in an order: a confusion costs the more, the farther apart they are."""
    codes = np.arange(n_classes)
    return np.minimum(abs(codes[:, None] - codes) / 4, 1)


def missed(n_classes):
    """To miss a later class for an earlier one costs 1, a false alarm a tenth."""
    return np.tril(np.ones((n_classes, n_classes)), -1) + np.triu(
        np.full((n_classes, n_classes), 0.1), 1
    )


def neighbours(n_classes):
    """Confusions of neighbours cost nothing, others 1: no other losses than 0 and 1."""
    codes = np.arange(n_classes)
    return (abs(codes[:, None] - codes) > 1).astype(int)


# Of each point of the grid: a group of few rows, one of some, and one of most.
GROUP = np.digitize(np.arange(SIDE**2) % SIDE, [2, 4])
LOSSES = {"distance": distance, "missed": missed, "neighbours": neighbours}


def cubed(y_true, y_pred):
    """A function: small confusions cost little."""
    return np.minimum(abs(y_true - y_pred) / 5, 1) ** 3


@dataclass
class Losses(Setting):
    """With losses, for parts of the answers, for several limits, or under a shift."""

    loss: str = ""
    largest: float = 0.0
    is_weighted: bool = True

    def __str__(self):
        words = super().__str__() + (f", loss of {self.loss}" if self.loss else "")
        if self.largest:
            trains = ", trained with weights" if self.how != "frozen" else ""
            words += f", shift of 1 to {self.largest:g}{trains}"
        return words if self.is_weighted else f"not covered: without weights, {words}"

    def model(self, rng):
        model = super().model(rng)
        loss = cubed if self.loss == "cubed" else self._matrix()
        return model.set_params(loss=loss) if self.loss else model

    def fitted(self, population, rng):
        if not self.largest and self.promise.get("guarantee_for") != "group":
            return super().fitted(population, rng)
        X, y = population.draw(self.n_rows, rng)
        is_weighted = self.largest and self.is_weighted
        more = {"sample_weight": self._density(X)} if is_weighted else {}
        return self.model(rng).fit(X, y, **more, **self._groups(X))

    def is_broken(self, population, model):
        rows = population.rows
        answers, confidence = model.answers_and_confidence(rows)
        joint = population.joint * (self._density(rows)[:, None] if self.largest else 1)
        costs = np.vstack([self._matrix(), np.ones(joint.shape[1] - 1)])[:, answers].T
        lost, mass = (joint * costs).sum(axis=1), joint.sum(axis=1)
        part = {"class": answers, "group": GROUP[point(rows)]}.get(
            self.promise.get("guarantee_for"), np.zeros(len(rows), dtype=int)
        )
        risks = np.atleast_1d(self.promise.get("risk", 1.0))
        kept = [model.accept(rows, **self._groups(rows))]
        if len(risks) > 1:
            kept = [confidence >= threshold for threshold in model.threshold_]
        excess = [
            np.bincount(part[each], (lost - risk * mass)[each])
            for risk, each in zip(risks, kept, strict=True)
        ]
        outliers = joint[:, -1]
        most = self.promise.get("ood_acceptance", 1) * outliers.sum()
        return (np.hstack(excess) > 1e-12).any() or outliers[kept[-1]].sum() > most + 1e-12

    def _matrix(self):
        n_classes = POPULATIONS[self.population].joint.shape[1] - 1
        codes = np.arange(n_classes)
        if self.loss == "cubed":
            return cubed(codes[:, None], codes)
        return LOSSES[self.loss](n_classes) if self.loss else 1 - np.eye(n_classes)

    def _groups(self, X):
        by_group = self.promise.get("guarantee_for") == "group"
        return {"groups": GROUP[point(X)]} if by_group else {}

    def _density(self, X):
        """Of new rows, relative to those at hand: there are more of them to the right."""
        return 1 + (self.largest - 1) * (X[:, 0] / (SIDE - 1)) ** 2


def each(risk, **more):
    return {"risk": risk, "guarantee_for": "class", **more}


def group(risk, **more):
    return {"risk": risk, "guarantee_for": "group", **more}


TEN, FEW, RARE, THREE, TWO = (
    "10 classes",
    "10 classes and outliers",
    "2 big classes and 200 rare",
    "3 classes, 20:5:1",
    "2 classes, 20:1",
)
LEVELS, HOW = (Noise(), FewLevels()), ("plain", "frozen")
ALIKE = {"3 classes alike": 0.48, TEN: 0.145}
FEWER = {200: 0.5, 600: 0.35, 2000: 0.145, 5000: 0.145}
UNBALANCED = {200: 0.3, 600: 0.13, 2000: 0.13, 5000: 0.13}
DISTANCES = {200: 0.22, 600: 0.15, 2000: 0.11, 5000: 0.1}
MISSED = {200: 0.05, 1000: 0.0245, 5000: 0.0245}
CUBED = {200: 0.13, 1000: 0.078}
IN_GROUPS = {200: 0.35, 600: 0.285, 2000: 0.25, 5000: 0.245}
SEVERAL = {200: (0.2, 0.3, 0.33), 2000: (0.12, 0.18, 0.215)}
LEVELS_SHIFTED = (Noise(), 2000, {"risk": 0.31}), (FewLevels(), 2000, {"risk": 0.26})
SHIFTED = {600: 0.25, 2000: 0.24, 5000: 0.24}
TRAINED = {600: 0.26, 2000: 0.245, 5000: 0.24}
SETTINGS = [
    *(Losses(TEN, TALLY, n_rows, each(risk)) for n_rows, risk in FEWER.items()),
    *(Losses(THREE, NB, n_rows, each(risk)) for n_rows, risk in UNBALANCED.items()),
    *(Losses(THREE, estimator, 1000, each(0.15)) for estimator in (TALLY, KNN)),
    *(Losses(RARE, TALLY, 1000, each(0.16), how) for how in ("plain", "pipeline", "frozen")),
    Losses("Zipf labels, 300 classes", TALLY, 2000, each(0.45)),
    *(
        Losses(name, estimator, 1000, each(risk), how)
        for name, risk in ALIKE.items()
        for estimator in LEVELS
        for how in HOW
    ),
    Losses(TEN, Reversed(), 1000, each(0.145)),
    Losses(TEN, Wrong(), 1000, each(0.92)),
    Losses(FEW, TALLY, 1000, each(0.5), named="outside"),
    Losses(FEW, TALLY, 2000, each(0.32), named="outside"),
    Losses(FEW, TALLY, 2000, each(0.4, ood_acceptance=0.5), named="outside"),
    *(Losses(TEN, TALLY, n, {"risk": risk}, loss="distance") for n, risk in DISTANCES.items()),
    *(Losses(TWO, NB, n, {"risk": risk}, loss="missed") for n, risk in MISSED.items()),
    *(
        Losses(TEN, estimator, 1000, {"risk": 0.15}, how, loss="distance")
        for estimator in LEVELS
        for how in HOW
    ),
    Losses(TEN, TALLY, 1000, {"risk": 0.11}, loss="neighbours"),
    Losses(TEN, TALLY, 2000, each(0.12), loss="distance"),
    Losses(THREE, NB, 2000, each(0.1), loss="missed"),
    *(Losses(TEN, TALLY, n, {"risk": risk}, loss="cubed") for n, risk in CUBED.items()),
    *(Losses(TEN, TALLY, n, group(risk)) for n, risk in IN_GROUPS.items()),
    *(Losses(TEN, estimator, 2000, group(0.25), "frozen") for estimator in LEVELS),
    Losses(THREE, NB, 1000, group(0.2)),
    Losses(TEN, TALLY, 2000, group(0.12), loss="distance"),
    Losses(FEW, TALLY, 2000, group(0.45, ood_acceptance=0.6), named="outside"),
    *(Losses(TEN, TALLY, n, {"risk": risks}) for n, risks in SEVERAL.items()),
    Losses(THREE, NB, 1000, {"risk": (0.08, 0.12, 0.155)}),
    *(
        Losses(TEN, TALLY, n_rows, {"risk": risk}, "frozen", largest=5)
        for n_rows, risk in SHIFTED.items()
    ),
    *(Losses(TEN, *of, "frozen", largest=5) for of in LEVELS_SHIFTED),
    Losses(TEN, TALLY, 2000, each(0.3), "frozen", largest=5),
    Losses(TEN, TALLY, 2000, group(0.28), "frozen", largest=5),
    *(
        Losses(FEW, TALLY, 2000, promise, "frozen", largest=5)
        for promise in ({"ood_acceptance": 0.45}, {"risk": 0.5, "ood_acceptance": 0.5})
    ),
    *(Losses(TEN, TALLY, n, {"risk": risk}, largest=5) for n, risk in TRAINED.items()),
    *(Losses(TEN, *of, largest=5) for of in LEVELS_SHIFTED),
    Losses(THREE, NB, 2000, {"risk": 0.117}, largest=5),
    Losses(TEN, TALLY, 2000, {"risk": 0.122}, largest=5, loss="distance"),
    Losses(TEN, TALLY, 5000, each(0.24), largest=5),
    Losses(
        FEW, TALLY, 2000, {"risk": 0.465, "ood_acceptance": 0.5}, named="outside", largest=5
    ),
    Losses(TEN, NB, 5000, {"risk": 0.235}, "frozen", largest=5, is_weighted=False),
]

if __name__ == "__main__":
    main(SETTINGS, RESULTS, **options(__doc__))
