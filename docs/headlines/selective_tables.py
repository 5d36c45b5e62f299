"""The combination beside what people would pick, where every row is of a known class."""

from records import Number, by_method

from headlines import claim, geometric_mean, part

OURS = "combined", "its probability"
MOST, WORST, BEHIND = 1.05, 1.25, 0.007
PROMISELESS = "scikit-fallback"  # it answers as large a share as ours
FEW = 15  # wrong answers in all, below which a table says little


def table(measure):
    """The mean over the splits, of every table with every method."""
    return by_method("selective_tables", measure, "metric == metric")


def beside(measure, low):
    """Ours, and the best of the peers, each table's own."""
    found, n = table(measure)
    peers = found.drop(columns=list(OURS))
    return found["combined"], peers.min(axis=1) if low else peers.max(axis=1), n


def ratios():
    """AURC of ours by that of the best peer, on tables with errors enough to compare."""
    ours, best, n = beside("aurc", low=True)
    wrong, _ = table("wrong")
    ratio = (ours / best)[wrong["combined"] >= FEW]
    return ratio, n


def own_ratio():
    """AURC of the confidence by that of the probability of its own classifier."""
    found, n = table("aurc")
    few = table("wrong")[0]["combined"] < FEW
    ratio = (found["combined"] / found["its probability"])[~few]
    return [geometric_mean(ratio, n), ratio.max()]


def mean_ratio():
    ratio, n = ratios()
    return [geometric_mean(ratio, n), len(ratio)]


def never_far():
    ratio, n = ratios()
    return [Number([(ratio <= WORST).sum()], n), len(ratio), ratio.max()]


def accurate():
    ours, best, n = beside("accuracy", low=False)
    near = ours >= best - BEHIND
    return [Number([near.sum()], n), len(ours), 100 * (best - ours).max()]


def coverage():
    found, n = table("coverage")
    found = found.dropna(axis=1)  # those who were asked on every table
    peer = found.drop(columns=[*OURS, PROMISELESS], errors="ignore").mean().max()
    return [Number([found["combined"].mean()], n), peer]


def headlines():
    yield claim(
        "AURC, in geometric mean, by that of each table's best peer",
        f"goal: at most {MOST}",
        "{:.3f}, {} tables",
        mean_ratio,
        lambda ratio, _: ratio <= MOST,
    )
    yield claim(
        "AURC, in geometric mean, by that of its own classifier's probability",
        f"goal: at most {MOST}",
        "{:.3f}, worst {:.2f}",
        own_ratio,
        lambda ratio, _: ratio <= MOST,
    )
    yield claim(
        f"AURC at most {WORST} times that of each table's best peer",
        "goal: on every table",
        "on {:.0f} of {}, worst {:.2f}",
        never_far,
        lambda some, of, _: part(some, of),
    )
    yield claim(
        "accuracy at most .7 points below each table's best peer",
        "goal: on every table",
        "on {:.0f} of {}, worst {:.1f} points",
        accurate,
        lambda some, of, _: part(some, of),
    )
    yield claim(
        "coverage under the promise: that of the best peer less two points",
        "goal: at least",
        "{:.3f}, peer {:.3f}",
        coverage,
        lambda ours, peer: ours >= peer - 0.02,
    )
