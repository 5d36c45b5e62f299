"""Fills tables and numbers of all Markdown pages from the files in ``docs/results``.

A page is prose. Where it says ``<!-- table("spigler", ...) -->``, all up to ``<!-- end -->`` is
what that call returns, and so it is of ``<!-- value("lee", ...) -->`` in a sentence. What looks
like a measurement elsewhere is in ``given_numbers.txt``, or a test fails. After new results:

    python docs/render.py
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from headlines import PAGES, VERDICTS, Headline, headlines_of
from records import RESULTS, Number, by_method, fact, read

HOUSE = Path(__file__).parents[1]
MEASURED = "metric", "value", "seed"
DIFFER = ["experiment", "data", "method", "settings"]
FILLED = re.compile(r"(<!-- (\w+\(.*?\)) -->)(.*?)(<!-- end -->)", re.DOTALL)


def numbers(frame):
    """Every metric of some lines, by name."""
    parts = defaultdict(lambda: ([], set()))
    for name, value, seed in zip(*(frame[c].tolist() for c in MEASURED), strict=True):
        parts[name][0].append(value)
        parts[name][1].add(seed)
    return {name: Number(values, len(seeds)) for name, (values, seeds) in parts.items()}


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
        shown = {"mean": ".3f"} if mean else {}
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


class OneRun(dict):
    """Metrics by name, each of one run over its seeds, and a mean of several by name only."""

    def __init__(self, frame, over):
        super().__init__(numbers(frame))
        kept = [column for column in DIFFER if column not in over]
        self.runs = frame.drop_duplicates(["metric", *kept])["metric"].value_counts()

    def __getitem__(self, name):
        if (found := self.runs.get(name, 0)) != 1:
            raise LookupError(f"{found} runs have {name!r}, where one is meant")
        return super().__getitem__(name)


def value(name, where, cell, over=()):
    """Numbers in a sentence, of one run; ``over`` names what their mean or range goes over."""
    return cell.format_map(OneRun(read(name).query(where), over))


def ranks(name, where, metric, by, lower=False, most=None):
    """Mean ranks of the methods in a sentence, the best first."""
    scores, _ = by_method(name, metric, where, by)
    mean = scores.round(12).rank(axis=1, ascending=lower).mean().sort_values(kind="stable")
    return ", ".join(f"{method} {rank:.2f}" for method, rank in mean[:most].items())


def wins(name, where, metric, ours, theirs):
    """On how many sets of data a method has more than another: ``5 of the 8``."""
    scores, _ = by_method(name, metric, where)
    return f"{(scores[ours] > scores[theirs]).sum()} of the {len(scores)}"


def benchmark(name):
    """A result file of ``examples/benchmarks`` as a table."""
    return grid(
        ["", ""], [[str(key).replace("_", " "), value] for key, value in fact(name).items()]
    )


def measurements(name, heading, cells, but=("settings",)):
    """Facts of such a file with a line for each of its keys, and formats by heading."""

    def shown(cell, facts):
        try:
            return cell.format_map(facts)
        except (KeyError, TypeError):  # not measured, or of no rows
            return ""

    lines = [
        [key, *(shown(cell, facts) for cell in cells.values())]
        for key, facts in fact(name).items()
        if key not in but
    ]
    return grid([heading, *cells], lines)


def measured(name, cell):
    """Facts of such a file in a sentence: ``{wall[ratio]:.0f}``."""
    return cell.format_map(fact(name))


def tenths(cell):
    """Eleven columns, a curve at every tenth: ``#`` in the format is the point."""
    return {f"{10 * i} %": cell.replace("#", str(i)) for i in range(11)}


def headlines(name):
    """What is wanted of a page beside what was measured, the adverse first."""
    return grid(Headline.HEADER, [headline.cells() for headline in headlines_of(name)])


def linked(name):
    """A page by its short title."""
    return f"[{PAGES[name]}](results/{name}.md)"


def counts():
    """How many headlines of each page hold."""
    lines = []
    for name in PAGES:
        verdicts = [headline.verdict for headline in headlines_of(name)]
        lines.append([linked(name), *(verdicts.count(verdict) for verdict in VERDICTS)])
    return grid(["page", *VERDICTS.values()], lines)


def verdicts(*wanted):
    """The headlines of all pages that have one of some verdicts."""
    lines = [
        [*headline.cells(), linked(name)]
        for name in PAGES
        for headline in headlines_of(name)
        if headline.verdict in wanted
    ]
    return grid([*Headline.HEADER, "page"], lines)


CALLS = {
    f.__name__: f
    for f in (
        *(headlines, counts, verdicts, table, stack),
        *(listing, value, ranks, wins, benchmark, measurements, measured, tenths),
    )
}


def pages():
    """Every page that numbers may be filled into."""
    return [page for folder in (HOUSE, RESULTS.parent, RESULTS) for page in folder.glob("*.md")]


def rendered(path):
    """The page with its tables and numbers filled in."""

    def fill(match):
        opening, call, old, end = match.groups()
        try:
            text = eval(call, dict(CALLS))
        except Exception as error:
            raise ValueError(f"{path.name}, {call}: {error!r}") from error
        return f"{opening}\n\n{text}\n\n{end}" if "\n" in old else f"{opening}{text}{end}"

    return FILLED.sub(fill, path.read_text())


if __name__ == "__main__":
    for path in pages():
        path.write_text(rendered(path))
