"""How often a promise for each class, or on a mean loss, is broken: at most as it says.

As ``guarantees.py``, whose populations these are: the true risk of the answers of each class,
and the true mean loss, are sums over a grid. A setting is broken in a draw of the rows where
any of its promises is.

    python examples/benchmarks/class_guarantees.py
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


TEN, RARE, THREE, TWO = (
    "10 classes", "2 big classes and 200 rare", "3 classes, 20:5:1", "2 classes, 20:1",
)  # fmt: skip
SETTINGS = [
    *(
        Losses(TEN, TALLY, n, each(r))
        for n, r in {200: 0.5, 600: 0.35, 2000: 0.25, 5000: 0.2}.items()
    ),
    *(
        Losses(THREE, NB, n, each(r))
        for n, r in {200: 0.3, 600: 0.2, 2000: 0.15, 5000: 0.12}.items()
    ),
    *(Losses(THREE, each_, 1000, each(0.2)) for each_ in (TALLY, KNN)),
    *(Losses(RARE, TALLY, 1000, each(0.15), how) for how in ("plain", "pipeline", "frozen")),
    Losses("Zipf labels, 300 classes", TALLY, 2000, each(0.5)),
    *(
        Losses(TEN, est, 1000, each(0.3), how)
        for est in (Noise(), FewLevels())
        for how in ("plain", "frozen")
    ),
    Losses(TEN, Reversed(), 1000, each(0.3)),
    Losses(TEN, Wrong(), 1000, each(0.93)),
    Losses("10 classes and outliers", TALLY, 1000, each(0.6), named="outside"),
    Losses(
        "10 classes and outliers", TALLY, 2000, each(0.5, ood_acceptance=0.4), named="outside"
    ),
    *(
        Losses(TEN, TALLY, n, {"risk": r}, loss="distance")
        for n, r in {200: 0.3, 600: 0.2, 2000: 0.15, 5000: 0.12}.items()
    ),
    *(
        Losses(TWO, NB, n, {"risk": r}, loss="missed")
        for n, r in {200: 0.1, 1000: 0.05, 5000: 0.03}.items()
    ),
    *(
        Losses(TEN, each_, 1000, {"risk": 0.15}, how, loss="distance")
        for each_ in (Noise(), FewLevels())
        for how in ("plain", "frozen")
    ),
    Losses(TEN, TALLY, 1000, {"risk": 0.15}, loss="neighbours"),
    Losses(TEN, TALLY, 2000, each(0.2), loss="distance"),
    Losses(THREE, NB, 2000, each(0.1), loss="missed"),
]

if __name__ == "__main__":
    main(SETTINGS, RESULTS, **options(__doc__))
