"""What each paper says, or what was wanted, beside what is on record.

Each page of ``docs/results`` that has headlines has a module here of the same name.
``render.py`` puts them at the top of the page, and all of them on the page of results. A
verdict is computed from the numbers, never typed; what has no number is shown as not run.
"""

import importlib
from dataclasses import dataclass
from functools import cache

import numpy as np
from records import Number, metric

PAGES = {
    "generative": "Generative classification",
    "lee": "Lee et al.",
    "vernekar": "Vernekar et al.",
    "spigler": "Spigler",
    "gevaldi": "GeValDi",
    "outlier_tables": "Made outliers on tables",
    "combined": "Combined evidence",
    "selective_tables": "Tables with known rows only",
    "mixed_tables": "Tables as people have them",
    "member_selection": "How the members for tables were chosen",
    "explanations": "Reasons",
    "networks": "Networks that someone else has trained",
}
VERDICTS = {"no": "**no**", "part": "in part", "open": "not run", "yes": "yes"}


@dataclass
class Headline:
    """One line: what is claimed, what the paper says or was wanted, what was measured."""

    HEADER = ("holds?", "what", "paper or goal", "measured (range over the runs)", "runs")

    what: str
    said: str
    measured: str
    runs: str
    verdict: str

    def cells(self):
        """A line of a table; numbers keep their percent sign."""
        cells = VERDICTS[self.verdict], self.what, self.said, self.measured, self.runs
        return [cell.replace(" %", "\N{NO-BREAK SPACE}%") for cell in cells]


def claim(what, said, cell, numbers=(), holds=lambda *_: None):
    """A headline of numbers that are had when asked for, so that a missing one is seen as such.

    ``holds`` says of the numbers True, False, or "part".
    """
    try:
        found = numbers() if callable(numbers) else numbers
    except LookupError:
        return Headline(what, said, "", "", "open")
    verdict = holds(*(x if isinstance(x, str) else float(x) for x in found))
    verdict = {True: "yes", False: "no", None: "open"}.get(verdict, verdict)
    runs = [str(number.n) for number in found if hasattr(number, "n")]
    shown = (Spread(each) if isinstance(each, Number) else each for each in found)
    return Headline(what, said, cell.format(*shown), min(runs, default=""), verdict)


@dataclass
class Spread:
    """A number that is formatted with its range over the seeds."""

    number: Number

    def __format__(self, spec):
        return self.number.spread(spec)


def best(name, measure, methods, low=False, **where):
    """The best of some methods by the mean over all runs, of those with the most of them."""
    found = []
    for method in methods:
        try:
            found.append(metric(name, method, measure, **where))
        except LookupError:
            continue
    if not found:
        raise LookupError(f"{name}.csv has no {measure!r} of {methods}.")
    most = max(len(number.values) for number in found)
    whole = [number for number in found if len(number.values) == most]
    return (min if low else max)(whole, key=float)


def geometric_mean(ratios, n):
    """Of ratios, over as many seeds."""
    return Number([np.exp(np.log(ratios).mean())], n)


def part(some, of):
    """All hold, some, or none."""
    return True if some == of else "part" if some else False


@cache
def headlines_of(page):
    """A page's headlines, the adverse first, then what was not run."""
    found = importlib.import_module(f"headlines.{page}").headlines()
    return sorted(found, key=lambda headline: list(VERDICTS).index(headline.verdict))
