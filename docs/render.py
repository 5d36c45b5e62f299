"""Fills the tables of the pages in ``docs/results`` from the results beside them.

A page is prose. Where it says ``<!-- table("spigler", ...) -->``, all up to ``<!-- end -->`` is
what that call returns. After new results:

    python docs/render.py
"""

import csv
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
FILLED = re.compile(r"(<!-- (\w+\(.*?\)) -->)(.*?)(<!-- end -->)", re.DOTALL)


class Number:
    """A metric over the seeds of a run: its mean, and by attributes other statistics.

    The format ``p`` is a percentage without its sign; a curve's points are had by index.
    """

    def __init__(self, values, n=1):
        self.values, self.n = list(values), n

    def __format__(self, spec):
        mean = np.mean(self.values)
        return format(100 * mean, f"{spec[:-1]}f") if spec.endswith("p") else format(mean, spec)

    def __getitem__(self, point):
        return Number([curve[point] for curve in self.values], self.n)

    def spread(self, ddof):
        """The standard deviation; a single value has none."""
        if len(self.values) == 1:
            raise KeyError("spread of a single value")
        return Number([np.std(self.values, ddof=ddof)])

    std = property(lambda self: self.spread(0))
    sd = property(lambda self: self.spread(1))
    min = property(lambda self: Number([min(self.values)]))
    max = property(lambda self: Number([max(self.values)]))
    first = property(lambda self: Number(self.values[:1]))
    all = property(lambda self: ", ".join(f"{value:g}" for value in self.values))


def read(name):
    """The tidy results of one name; the value of a curve is a list."""
    return read_files(RESULTS / f"{name}.csv", RESULTS / f"{name}_curves.csv")


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


def numbers(frame):
    """Every metric of some lines, by name."""
    parts = frame.groupby("metric")
    return {name: Number(part["value"], part["seed"].nunique()) for name, part in parts}


def filled(cell, frame):
    """A cell's format, or the next after an "or", whose metrics were all measured."""
    for alternative in cell.split(" or "):
        try:
            return alternative.format_map(numbers(frame))
        except KeyError:
            continue
    return ""


def grid(header, rows):
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def ranking(frame, metric, rows, by, lower=False, unranked=None, digits=12, ties="average"):
    """Mean of a metric over ``by``, and mean rank among the lines, the best first."""
    wanted = frame[frame["metric"] == metric].astype({"value": float})
    values = wanted.pivot_table(index=rows, columns=by, values="value", sort=False)
    values = values.set_axis([k if type(k) is tuple else (k,) for k in values.index])
    taking_part = [not re.match(unranked or "$", key[0]) for key in values.index]
    ranks = values[taking_part].round(digits).rank(method=ties, ascending=lower)
    summary = pd.DataFrame({"mean": values.mean(axis=1), "mean rank": ranks.mean(axis=1)})
    return summary.sort_values("mean", ascending=lower, kind="stable")


def table(
    name,
    where,
    rows,
    cells,
    *,
    by=None,
    sort=None,
    mean=None,
    rank=None,
    lower=False,
    unranked=None,
    digits=12,
    ties="average",
    decimals=2,
    notes=(),
    most=None,
):
    """A Markdown table of results.

    Parameters
    ----------
    name, where : str
        The results, and which of them, as pandas' ``query`` has it.
    rows : dict
        Columns of the results that name a line, by their heading.
    cells : dict
        Formats by heading, such as ``"{auroc:.3f} ({auroc.std:.3f})"``. A heading with
        ``{by}`` stands for one column for each value of ``by``.
    by : str
        Column of the results that goes along the top.
    sort, mean, rank : str
        Metric to sort the lines by: by its mean; with its mean over ``by`` as a column; with
        its mean rank as a column, by which they are sorted then.
    lower : bool
        Whether less is better.
    unranked : str
        Pattern of lines that take part in no ranking.
    digits, ties : int, str
        How means are rounded before they are ranked, and what equal ones get.
    decimals : int
        Of the mean rank.
    notes : dict
        Columns of typed text, ``{heading: {first cell of the line: text}}``.
    most : int
        How many lines to show.
    """
    found = read(name).query(where)
    levels = list(dict.fromkeys(found[by])) if by else []
    header, lines = list(rows), {}
    for heading in cells:
        header += [heading.format(by=level) for level in (levels if "{by}" in heading else [0])]
    for key, group in found.groupby(list(rows.values()), sort=False):
        line = list(key)
        for heading, cell in cells.items():
            parts = [group[group[by] == k] for k in levels] if "{by}" in heading else [group]
            line += [filled(cell, part) for part in parts]
        lines[key] = line + [texts.get(key[0], "") for texts in dict(notes).values()]
    header += list(dict(notes))
    if sort or mean or rank:
        summary = ranking(
            found, rank or mean or sort, list(rows.values()), by, lower, unranked, digits, ties
        )
        if rank:
            summary = summary.sort_values("mean rank", kind="stable")
        shown = {"mean": ".4f"} if mean else {}
        shown |= {"mean rank": f".{decimals}f"} if rank else {}
        header += shown
        lines = {
            key: lines[key]
            + ["" if np.isnan(line[c]) else format(line[c], spec) for c, spec in shown.items()]
            for key, line in summary.iterrows()
        }
    return grid(header, list(lines.values())[:most])


def stack(first, *others):
    """One table of several with the same headings."""
    return "\n".join([first, *(other.split("\n", 2)[2] for other in others)])


def listing(name, where, rows, cell):
    """The same in a sentence: ``name value, name value``."""
    groups = read(name).query(where).groupby(rows, sort=False)
    return ", ".join(f"{key} {filled(cell, group)}" for key, group in groups)


def value(name, where, cell):
    """Numbers in a sentence."""
    return cell.format_map(numbers(read(name).query(where)))


def benchmark(name):
    """A result file of ``examples/benchmarks`` as a table."""
    facts = json.loads((RESULTS / f"{name}.json").read_text())
    return grid(["", ""], [[key.replace("_", " "), fact] for key, fact in facts.items()])


def tenths(cell):
    """Eleven columns, a curve at every tenth: ``#`` in the format is the point."""
    return {f"{10 * i} %": cell.replace("#", str(i)) for i in range(11)}


CALLS = {f.__name__: f for f in (table, stack, listing, value, benchmark, tenths)}


def rendered(page):
    """The page with its tables filled in."""

    def fill(match):
        opening, call, old, end = match.groups()
        text = eval(call, dict(CALLS))
        return f"{opening}\n\n{text}\n\n{end}" if "\n" in old else f"{opening}{text}{end}"

    return FILLED.sub(fill, page)


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*.md")):
        path.write_text(rendered(path.read_text()))
