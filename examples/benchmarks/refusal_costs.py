"""What the threshold of ``cost=`` costs new rows, beside the best threshold there is.

Chow's rule by counting: ``SelectiveClassifier(cost=c)`` takes the threshold at which a refusal
for c and an error for 1 cost least on rows held out. As ``guarantees.py``, whose populations
these are: what a threshold costs new rows is a sum over a grid, without error, and the best
threshold of the same fitted model is found by trying all. Beside its cost stand those of the
chosen one, of answering all rows, and of answering none.

    python examples/benchmarks/refusal_costs.py
"""

import csv
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from benchmarks.guarantees import NB, TALLY, FewLevels, Noise, Reversed, Setting
from benchmarks.guarantees import POPULATIONS as GRIDS

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "refusal_costs.csv"
COLUMNS = ("none_answered", "chosen", "best", "all_answered", "above_best_in_1_of_10")


@dataclass
class Cost(Setting):
    """A setting whose promise is only what a refusal costs."""

    def run(self, repeats, seed=0):
        """Means over the draws, and how far above the best one in ten of them lies."""
        rng, population = np.random.default_rng(seed), GRIDS[self.population]
        costs = np.array([self.costs(population, rng) for _ in range(repeats)])
        refusal, (chosen, best, every) = self.promise["cost"], costs.mean(axis=0)
        above = np.quantile(costs[:, 0] - costs[:, 1], 0.9)
        return refusal, chosen, best, every, above

    def costs(self, population, rng):
        """Of one draw: at the threshold that was chosen, at the best, and of no refusal."""
        model = self.fitted(population, rng)
        answers, confidence = model.answers_and_confidence(population.rows)
        codes = np.searchsorted(population.labels[:-1], answers)
        mass = population.joint.sum(axis=1)
        wrong = mass - population.joint[np.arange(len(codes)), codes]
        refused = mass * self.promise["cost"]
        thresholds = np.append([model.threshold_, -np.inf, np.inf], np.unique(confidence))
        accepted = confidence >= thresholds[:, None]
        found = np.where(accepted, wrong, refused).sum(axis=1)
        return found[0], found.min(), found[1]


TEN, FEW, RARE = "10 classes", "10 classes and outliers", "2 big classes and 200 rare"
SETTINGS = [
    *(Cost(TEN, TALLY, n_rows, {"cost": 0.2}) for n_rows in (200, 600, 2000, 5000)),
    *(Cost(TEN, TALLY, 2000, {"cost": cost}) for cost in (0.05, 0.1, 0.4)),
    *(Cost(TEN, NB, n_rows, {"cost": 0.2}) for n_rows in (200, 2000)),
    *(Cost(TEN, each, 2000, {"cost": 0.2}) for each in (Reversed(), Noise(), FewLevels())),
    Cost(RARE, TALLY, 1000, {"cost": 0.2}),
    Cost("Zipf labels, 300 classes", TALLY, 1000, {"cost": 0.5}),
    *(Cost(FEW, TALLY, 2000, {"cost": 0.2}, named=named) for named in ("outside", "inside")),
    *(Cost(TEN, TALLY, n_rows, {"cost": 0.2}, "frozen") for n_rows in (200, 2000)),
]


def main(repeats=2000):
    """Run the settings, and write what was found."""
    warnings.simplefilter("ignore")  # of classes that chance left untrained
    lines = []
    for setting in SETTINGS:
        found = setting.run(repeats)
        lines.append([setting, repeats, *(f"{number:.4f}" for number in found)])
        print(*lines[-1], flush=True)
    with RESULTS.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([["setting", "repeats", *COLUMNS], *lines])


if __name__ == "__main__":
    main()
