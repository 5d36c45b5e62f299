"""What is on record in ``docs/results``: the tidy results, and a metric over its runs."""

import csv
import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"


class Number:
    """A metric over the seeds of a run: its mean, and by attributes other statistics.

    The format ``p`` is a percentage without its sign; a curve's points are had by index.
    ``seeds`` are those of the values, where they are as many for each: then ``spread`` has the
    lowest and the highest mean of a seed.
    """

    def __init__(self, values, n=1, seeds=()):
        self.values, self.n, self.seeds = list(values), n, list(seeds)

    def __format__(self, spec):
        mean = np.mean(self.values)
        return format(100 * mean, f"{spec[:-1]}f") if spec.endswith("p") else format(mean, spec)

    def __getitem__(self, point):
        return Number([curve[point] for curve in self.values], self.n, self.seeds)

    def deviation(self, ddof):
        """The standard deviation; a single value has none."""
        if len(self.values) == 1:
            raise KeyError("spread of a single value")
        return Number([np.std(self.values, ddof=ddof)])

    def spread(self, spec):
        """The number, and in brackets its range over the seeds, where they differ in print."""
        seeds = self.seeds or [0] * len(self.values)
        means = pd.Series(self.values).groupby(seeds).mean()
        low, high = (format(Number([x]), spec) for x in (means.min(), means.max()))
        return format(self, spec) + f" ({low} to {high})" * (low != high)

    def __float__(self):
        return float(np.mean(self.values))

    std = property(lambda self: self.deviation(0))
    sd = property(lambda self: self.deviation(1))
    min = property(lambda self: Number([min(self.values)], self.n))
    max = property(lambda self: Number([max(self.values)], self.n))
    first = property(lambda self: Number(self.values[:1]))
    all = property(lambda self: ", ".join(f"{value:g}" for value in self.values))


def read(name):
    """The tidy results of one name; the value of a curve is a list."""
    return read_files(*files(name))


def files(name):
    """Where numbers and curves are."""
    return RESULTS / f"{name}.csv", RESULTS / f"{name}_curves.csv"


@cache
def read_files(tidy, curves):
    """The lines of both files."""
    frame = pd.read_csv(tidy, dtype=str, keep_default_na=False)
    frame = frame.astype({"value": float})
    if curves.exists():
        with curves.open(newline="") as stream:
            _, *lines = csv.reader(stream)
        lines = [[*line[:6], [*map(float, line[6:])]] for line in lines]
        frame = pd.concat([frame, pd.DataFrame(lines, columns=frame.columns)])
    return frame


@cache
def measured(tidy, curves):
    """The lines of each method and metric."""
    parts = defaultdict(list)
    for line in read_files(tidy, curves).to_dict("records"):
        parts[line["method"], line["metric"]].append(line)
    return parts


def metric(name, method, measure, **where):
    """One metric of a method, over all runs on record."""
    lines = measured(*files(name)).get((method, measure), ())
    found = [line for line in lines if where.items() <= line.items()]
    if not found:
        where |= {"method": method}
        raise LookupError(f"{name}.csv has no {measure!r} of {where}. Run examples/papers.")
    seeds = [line["seed"] for line in found]
    n_lines = Counter(seeds)
    seeds = seeds if len(set(n_lines.values())) == 1 else ()
    return Number([line["value"] for line in found], len(n_lines), seeds)


def by_method(name, measure, where, rows="data"):
    """A metric, a line for each set of data and a column for each method; the fewest seeds."""
    lines = read(name).query(f"({where}) and metric == '{measure}'")
    if lines.empty:
        raise LookupError(f"{name}.csv has no {measure} where {where}.")
    found = lines.pivot_table(
        index=rows, columns="method", values="value", aggfunc="mean", sort=False
    )
    return found, lines.groupby(rows)["seed"].nunique().min()


def fact(name):
    """A result file of ``examples/benchmarks``; keys that are numbers are had as such."""
    text = (RESULTS / f"{name}.json").read_text()
    return json.loads(
        text, object_pairs_hook=lambda pairs: {number(key): value for key, value in pairs}
    )


def number(key):
    """A key of digits as a number, as ``str.format`` looks it up."""
    return int(key) if key.isdigit() else key
