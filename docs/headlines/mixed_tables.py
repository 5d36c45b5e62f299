"""The classifier and the density for tables as they come, beside what people would pick."""

from records import Number, by_method, metric

from headlines import best, claim, geometric_mean, part

WORST, BEHIND = 1.25, 0.007


def known(measure):
    return by_method("mixed_tables", measure, "experiment == 'known'")


def ratios(method="default"):
    """AURC by that of the best single classifier, on tables on which neither is zero."""
    found, n = known("aurc")
    ratio = found[method] / found.drop(columns="default").min(axis=1)
    return ratio[(ratio > 0) & (ratio < float("inf"))], n


def never_far():
    ratio, n = ratios()
    worst = ratio.nlargest(2)
    named = "; ".join(f"{data} {value:.2f}" for data, value in worst.items())
    return [Number([(ratio <= WORST).sum()], n), len(ratio), named]


def accurate():
    found, n = known("accuracy")
    behind = found.drop(columns="default").max(axis=1) - found["default"]
    near = Number([(behind <= BEHIND).sum()], n)
    return [near, len(behind), 100 * behind.mean(), 100 * behind.max()]


def log_loss():
    found, n = known("log loss")
    return [Number([(found.idxmin(axis=1) == "default").sum()], n), len(found)]


def headlines():
    yield claim(
        "`TableClassifier`: AURC, in geometric mean, by that of each table's best single "
        "classifier (boosting alone; extra trees alone)",
        "goal: at most 1.05",
        "{:.2f} ({:.2f}; {:.2f})",
        lambda: [geometric_mean(*ratios(m)) for m in ("default", "boosting", "extra trees")],
        lambda ratio, *_: ratio <= 1.05,
    )
    yield claim(
        f"AURC at most {WORST} times that of each table's best single classifier",
        "goal: on every table",
        "on {:.0f} of {}; {}",
        never_far,
        lambda some, of, _: part(some, of),
    )
    yield claim(
        "accuracy at most .7 points below each table's best single classifier (mean, worst)",
        "goal: on every table",
        "on {:.0f} of {} ({:.1f}, {:.1f} points)",
        accurate,
        lambda some, of, *_: part(some, of),
    )
    yield claim(
        "the lowest log loss of all",
        "goal: on every table",
        "on {:.0f} of {}",
        log_loss,
        part,
    )
    singles = ("Gaussian mixture a class", "nearest row")
    for measure, what in (
        ("auroc", "as they are"),
        ("auroc, blank", "a fifth more blank"),
    ):
        yield claim(
            f"`TableDensity` above mixture and nearest row, unknown classes, {what}, AUROC",
            "goal: above",
            "{:.3f}, best {:.3f}",
            lambda measure=measure: [
                metric("mixed_tables", "TableDensity", measure),
                best("mixed_tables", measure, singles),
            ],
            lambda ours, peer: ours > peer,
        )
