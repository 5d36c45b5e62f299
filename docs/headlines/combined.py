"""The combination beside its members and peers."""

from functools import partial

from records import Number, fact, metric, read

from headlines import best, claim, part

TAUGHT = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
IMAGES = ("omniglot", "fashion_mnist", "mnist", "notmnist")
# AUROC, and AURC of the confidence at a share of one half, of the default of 0.1.0.
FIRST = {
    "dry_bean": (0.9510, 0.2789),
    "letter_recognition": (0.9744, 0.2541),
    "pendigits_multiclass": (0.9913, 0.2300),
}


def peers(experiment):
    """What is neither the combination nor a part of it."""
    methods = read("combined").query(f"experiment == '{experiment}'")["method"]
    ours = ("combined", "member:", "without:", "method:")
    return [method for method in dict.fromkeys(methods) if not method.startswith(ours)]


def data_of(experiment):
    return dict.fromkeys(read("combined").query(f"experiment == '{experiment}'")["data"])


def beside(experiment, measure, low=False, **where):
    where |= {"experiment": experiment}
    ours = metric("combined", "combined", measure, **where)
    return [ours, best("combined", measure, peers(experiment), low, **where)]


def won(experiment, measure):
    pairs = [beside(experiment, measure, data=data) for data in data_of(experiment)]
    if not pairs:
        raise LookupError(f"combined.csv has no {experiment}.")
    won = sum(float(ours) > float(peer) for ours, peer in pairs)
    return Number([won], pairs[0][0].n), len(pairs)


def ranks(experiment, measure):
    """Mean rank of the combination among the peers, and the best of theirs."""
    lines = read("combined").query(f"experiment == '{experiment}' and metric == '{measure}'")
    if lines.empty:
        raise LookupError(f"combined.csv has no {experiment}.")
    scores = lines.pivot_table(index=["data", "seed"], columns="method", values="value")
    mean = scores[["combined", *peers(experiment)]].rank(axis=1, ascending=False).mean()
    ours = mean.pop("combined")
    return [Number([ours], lines["seed"].nunique()), mean.min()]


def above(ours, peer):
    return ours > peer


def costs(name, most):
    """At how many sizes of tables a cost is at most so much, of how many, and the largest."""
    found = [each[name] for each in fact("combined_tables_benchmark").values()]
    return sum(cost <= most for cost in found), len(found), max(found)


def of_images(taught):
    """With one set of images taught: its own errors, and each other set."""
    name, beside_it = TAUGHT[taught], partial(beside, "images", data=taught)
    yield claim(
        f"{name} alone, AURC of the confidence: that of the network's own probability",
        "goal: at most 1.05 times",
        "{:.5f}, probability {:.5f}",
        lambda: [
            metric("combined", method, "aurc", experiment="images", data=taught)
            for method in ("combined, confidence", "max softmax")
        ],
        lambda ours, peer: ours <= 1.05 * peer,
    )
    yield claim(
        f"{name} alone, AURC of the score, which says how known a row is: as good",
        "goal: no worse",
        "{:.5f}, probability {:.5f}",
        lambda: beside_it("aurc", low=True),
        lambda ours, peer: ours <= peer,
    )
    for unknown in (each for each in IMAGES if each != taught):
        yield claim(
            f"{name} taught, {unknown} unknown: AUROC above the best peer",
            "goal: above",
            "{:.4f}, peer {:.4f}",
            lambda unknown=unknown: beside_it(f"{unknown} auroc"),
            above,
        )
        yield claim(
            f"{name} taught, {unknown} unknown: AURC below the best peer",
            "goal: below",
            "{:.4f}, peer {:.4f}",
            lambda unknown=unknown: beside_it(f"{unknown} aurc", low=True),
            lambda ours, peer: ours < peer,
        )


def headlines():
    for taught in TAUGHT:
        yield from of_images(taught)
    for name, (auroc, aurc) in FIRST.items():
        for measure, words, goal, holds in (
            ("auroc", "AUROC", f"at least {auroc:.4f}", lambda x, y=auroc: x >= y),
            (
                "aurc_half",
                "AURC, half unknown",
                f"at most {aurc:.4f}",
                lambda x, y=aurc: x <= y,
            ),
        ):
            yield claim(
                f"{name}, classes left out of all rows: {words} of the first version",
                goal,
                "{:.4f}",
                lambda name=name, measure=measure: [
                    metric("combined", "combined", measure, experiment="whole", data=name)
                ],
                holds,
            )
    for experiment, kind in (
        ("tables", "tables with classes left out"),
        ("anomalies", "tables of normal rows"),
    ):
        yield claim(
            f"{kind}, mean AUROC: above the best peer",
            "goal: above",
            "{:.3f}, peer {:.3f}",
            lambda experiment=experiment: beside(experiment, "auroc"),
            above,
        )
        yield claim(
            f"{kind}, AUROC: the best mean rank",
            "goal: the least",
            "{:.2f}, peer {:.2f}",
            lambda experiment=experiment: ranks(experiment, "auroc"),
            lambda ours, peer: ours < peer,
        )
        yield claim(
            f"{kind}: above the best peer of each table, AUROC",
            "goal: on every table",
            "on {:.0f} of {}",
            lambda experiment=experiment: won(experiment, "auroc"),
            part,
        )
    known = {
        "tables with classes left out": {"experiment": "tables"},
        "tables of normal rows": {"experiment": "anomalies"},
        **{name: {"experiment": "images", "data": data} for data, name in TAUGHT.items()},
    }
    for rows, where in known.items():
        yield claim(
            f"known rows with p at most .1, {rows}",
            "at most .1",
            "{:.3f}",
            lambda where=where: [metric("combined", "combined", "refused", **where)],
            lambda share: share <= 0.1,
        )
    for what, name, most in (
        ("fit: times boosting and extra trees", "fit, ratio", 3),
        ("5,000 rows scored: times its classifier alone", "scored, ratio to its classifier", 2),
        (
            "confidence of 5,000 rows: times its classifier alone",
            "confidence, ratio to its classifier",
            2,
        ),
        ("one row scored, ms", "one row, ms", 20),
        ("confidence of one row, ms", "its confidence, ms", 20),
        ("peak memory of fit and scores, GiB", "peak memory, GiB", 4),
    ):
        yield claim(
            f"cost on tables, {what}",
            f"at most {most} at every size",
            "at {} of {} sizes, most {:.1f}",
            lambda name=name, most=most: costs(name, most),
            lambda some, of, _: part(some, of),
        )
