"""Which members the default for tables has, and what it would lose without each."""

from records import Number, by_method

from headlines import claim

PARTS = {
    "classes": "2 trees + 3 mixture + nearest_whitened + 0.5 nearest_ranks + 0.5 extreme",
    "one": "nearest + mixture + nearest_whitened + nearest_ranks + extreme",
}
STRONG, WEAK = 0.95, 0.85


def missed(part, members):
    """Of the kinds of unknown rows that a single member sees, how many a set does not."""
    found = {}
    for kind in ("classes", "shifted", "swapped", "unit", "other class", "missing"):
        try:
            found[kind], n = by_method("member_selection", kind, f"experiment == '{part}'")
        except LookupError:
            continue
    tables = list(found.values())
    single = [name for name in tables[0] if "+" not in name]
    seen = [table[single].max(axis=1) > STRONG for table in tables]
    weak = [table[f"{members}, fisher"] < WEAK for table in tables]
    lost = sum((a & b).sum() for a, b in zip(seen, weak, strict=True))
    return [Number([lost], n), sum(each.sum() for each in seen)]


def best(kind):
    """Mean AUROC of the default, and of the best set."""
    scores, n = by_method("member_selection", kind, "experiment == 'classes'")
    mean = scores.mean()
    return [Number([mean[f"{PARTS['classes']}, fisher"]], n), mean.max(), mean.idxmax()]


def headlines():
    for part, default in PARTS.items():
        what = "several classes" if part == "classes" else "one class"
        for without in ("", "nearest_ranks", "extreme"):
            parts = default.split(" + ")
            members = " + ".join(m for m in parts if m.split()[-1] != without)
            wanted = "goal: none" if not without else "so both are in"
            yield claim(
                f"{what}, the default{f' without {without}' if without else ''}: kinds of rows "
                f"below {WEAK} where a single member is above {STRONG}",
                wanted,
                "{:.0f} of {}",
                lambda part=part, members=members: missed(part, members),
                lambda lost, _, without=without: (lost > 0) == bool(without),
            )
    for kind in ("classes", "other class"):
        what = "classes held out" if kind == "classes" else "cells of another class"
        yield claim(
            f"the default is the best set of all, mean AUROC, {what}",
            "goal: the best",
            "{:.3f}, best {:.3f} ({})",
            lambda kind=kind: best(kind),
            lambda ours, most, _: ours >= most,
        )
