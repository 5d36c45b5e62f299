"""Whether reasons name the column that was changed."""

from records import Number, fact

from headlines import claim, part

FIRST, STRANGE = "share named first", "of those made strange"
FEW = 10  # rows made strange, below which a share says little


def shares(how, key):
    """A share on every table that has enough rows, by name."""
    record = dict(fact("explanations_benchmark"))
    seeds = record.pop("settings")["seeds"]
    of = "rows made strange" if STRANGE in key else "rows"
    found = {name: each[how] for name, each in record.items() if how in each}
    return {name: each[key] for name, each in found.items() if each[of] >= FEW}, seeds


def reached(how, key, goal):
    """On how many tables, of how many; those below the goal by name."""
    found, seeds = shares(how, key)
    below = sorted((share, name) for name, share in found.items() if share < goal)
    named = "".join(f"; {name} {100 * share:.0f} %" for share, name in below)
    return [Number([len(found) - len(below)], seeds), len(found), named]


def headlines():
    for what, how, key, goal in (
        ("a number set far off: named first", "far", FIRST, 0.9),
        ("a cell of another class: named first, of all rows", "swap", FIRST, 0.8),
        (
            "a cell of another class: named first, of rows that it made strange",
            "swap",
            STRANGE,
            0.8,
        ),
        (
            "a cell of another class: among the first three, of rows that it made strange",
            "swap",
            f"{STRANGE}, or second or third",
            0.8,
        ),
        ("a category never seen: named first, of all rows", "new", FIRST, 0.8),
        (
            "a category never seen: named first, of rows that it made strange",
            "new",
            STRANGE,
            0.8,
        ),
    ):
        yield claim(
            what,
            f"goal: in {100 * goal:.0f} % of the rows of every table",
            "on {:.0f} of {} tables{}",
            lambda how=how, key=key, goal=goal: reached(how, key, goal),
            lambda some, of, _: part(some, of),
        )
