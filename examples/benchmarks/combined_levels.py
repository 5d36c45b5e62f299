"""How often the combination calls known rows outliers: cross-calibrated, mixed, rare, few.

As ``guarantees.py``, whose populations these are: the share of known rows with a p-value of at
most .1 is a sum over a grid, and its mean over draws of the rows is at most .1. Where every
row calibrates and trains (``calibration="cross"``), .2 is proved of the models of all folds
together, and this is what the one model in use has. In a mixed table one number is a category,
and some cells are missing.

    python examples/benchmarks/combined_levels.py --repeats 200
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.guarantees import LEVEL, Alarms, main, options
from sklearn_ood import CombinedClassifier, NeighborDistance, TableDensity

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined_levels.csv"
CROSS, PROVED = "cross", 2 * LEVEL
SLOW = 20  # times fewer draws of what is fitted with the default members


def mixed(rows):
    """A number that is often missing in one row of the grid, and a category."""
    size = np.where((rows[:, 1] == 3) & (rows[:, 0] % 2 == 0), np.nan, rows[:, 0])
    colour = np.array([*"abcdefghij"], dtype=object)[rows[:, 1].astype(int)]
    return pd.DataFrame({"size": size, "colour": np.where(rows[:, 1] == 7, None, colour)})


@dataclass
class Levels(Alarms):
    """With rows that calibrate in one way or another, of tables of two kinds."""

    calibration: str | float = CROSS
    table: str = "numbers"

    def __str__(self):
        names = " and ".join(type(member).__name__ for _, member in self.members or [])
        what = f"{self.population}, {self.n_rows} rows, {self.table}, {names or 'default'}"
        return f"p-values {LEVEL}, calibration {self.calibration}: {what}"

    def run(self, repeats, seed=0):
        """The mean share of false alarms."""
        found = super().run(repeats if self.members else max(2, repeats // SLOW), seed)
        return found._replace(at_most=PROVED) if self.calibration == CROSS else found

    def _false_alarms(self, population, rng):
        X, y = population.draw(self.n_rows, rng)
        seen = mixed if self.table == "mixed" else np.asarray
        combined = CombinedClassifier(
            DummyClassifier(),
            self.members,
            calibration=self.calibration,
            random_state=rng.integers(2**31),
        ).fit(seen(X), y)
        mass = population.joint[:, :-1].sum(axis=1)
        return mass[combined.p_values(seen(population.rows)) <= LEVEL].sum() / mass.sum()


TEN, RARE, DUPLICATES = "10 classes", "2 big classes and 200 rare", "one class of duplicates"
NEAR, DENSITY = [("near", NeighborDistance())], [("density", TableDensity(1))]
SETTINGS = [
    *(Levels(TEN, NEAR, n, "p-values") for n in (20, 60, 200, 600, 2000)),
    *(Levels(RARE, NEAR, n, "p-values") for n in (60, 300)),
    *(Levels(DUPLICATES, NEAR, n, "p-values") for n in (20, 60, 300)),
    *(Levels(TEN, DENSITY, n, "p-values", table="mixed") for n in (20, 60, 200, 600, 2000)),
    *(Levels(TEN, DENSITY, n, "p-values", 0.5, "mixed") for n in (60, 300, 2000)),
    Levels(RARE, DENSITY, 300, "p-values", table="mixed"),
    Levels(RARE, DENSITY, 300, "p-values", 0.5, "mixed"),
    *(Levels(TEN, None, n, "p-values", table="mixed") for n in (60, 300)),
    Levels(TEN, None, 300, "p-values", 0.5, "mixed"),
]

if __name__ == "__main__":
    main(SETTINGS, RESULTS, **options(__doc__))
