"""How often a promise for each class, or on a mean loss, is broken: at most as it says.

As ``guarantees.py``, whose populations these are: the true risk of the answers of each class,
and the true mean loss, are sums over a grid. A setting is broken in a draw of the rows where
any of its promises is.

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
    TALLY,
    FewLevels,
    Noise,
    Population,
    Reversed,
    Setting,
    Wrong,
    main,
    options,
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


LOSSES = {"distance": distance, "missed": missed, "neighbours": neighbours}


@dataclass
class Losses(Setting):
    """With a matrix of losses, or a promise for each class, or both."""

    loss: str = ""

    def __str__(self):
        return super().__str__() + (f", loss of {self.loss}" if self.loss else "")

    def model(self, rng):
        model = super().model(rng)
        return model.set_params(loss=self._matrix()) if self.loss else model

    def is_broken(self, population, model):
        answers = model.answers(population.rows)
        accepted = model.accept(population.rows)
        of_unknown = np.ones((1, population.joint.shape[1] - 1))
        costs = np.vstack([self._matrix(), of_unknown])[:, answers].T
        lost = (population.joint * costs).sum(axis=1)[accepted]
        mass = population.joint.sum(axis=1)[accepted]
        each = answers[accepted] * (self.promise.get("guarantee_for") == "class")
        excess = np.bincount(each, lost - self.promise["risk"] * mass)
        most = self.promise.get("ood_acceptance", 1)
        return (excess > 1e-12).any() or population.ood_acceptance(model) > most

    def _matrix(self):
        n_classes = POPULATIONS[self.population].joint.shape[1] - 1
        return LOSSES[self.loss](n_classes) if self.loss else 1 - np.eye(n_classes)


def each(risk, **more):
    return {"risk": risk, "guarantee_for": "class", **more}


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
    Losses(FEW, TALLY, 2000, each(0.28), named="outside"),
    Losses(FEW, TALLY, 2000, each(0.4, ood_acceptance=0.5), named="outside"),
    *(Losses(TEN, TALLY, n, {"risk": risk}, loss="distance") for n, risk in DISTANCES.items()),
    *(Losses(TWO, NB, n, {"risk": risk}, loss="missed") for n, risk in MISSED.items()),
    *(
        Losses(TEN, estimator, 1000, {"risk": 0.12}, how, loss="distance")
        for estimator in LEVELS
        for how in HOW
    ),
    Losses(TEN, TALLY, 1000, {"risk": 0.11}, loss="neighbours"),
    Losses(TEN, TALLY, 2000, each(0.12), loss="distance"),
    Losses(THREE, NB, 2000, each(0.1), loss="missed"),
]

if __name__ == "__main__":
    main(SETTINGS, RESULTS, **options(__doc__))
