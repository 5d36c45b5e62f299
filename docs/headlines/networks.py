"""Combined evidence on networks that were trained elsewhere."""

from records import Number, by_method, metric

from headlines import claim, geometric_mean, part

NEAR = 0.02


def judged(measure, data):
    found, n = by_method(
        "networks",
        measure,
        f"experiment.str.startswith('judged') and {data}",
        ["experiment", "data"],
    )
    return found.drop(columns=[name for name in found if name.startswith("combined by")]), n


def ranks():
    """Mean rank of the combination, of how many; and of the best two single scores."""
    found, n = judged("auroc", "data != 'known'")
    mean = found.round(12).rank(axis=1, ascending=False).mean()
    ours, singles = mean.pop("combined"), mean.nsmallest(2)
    named = "; ".join(f"{name} {value:.1f}" for name, value in singles.items())
    return [Number([ours], n), len(mean) + 1, named, Number([singles.iloc[0]], n)]


def never_far():
    """On how many sets, and where it is not near, by how much it is behind which score."""
    found, n = judged("auroc", "data != 'known'")
    singles = found.drop(columns="combined")
    lost = found[found["combined"] < singles.max(axis=1) - NEAR].index
    named = "; ".join(
        f"{data} ({each[0].removeprefix('judged, ')}) {found['combined'][each]:.3f}, "
        f"{singles.loc[each].idxmax()} {singles.loc[each].max():.3f}"
        for each in lost
        for data in each[1:]
    )
    return [Number([len(found) - len(lost)], n), len(found), named]


def own_errors(share):
    """AURC of the confidence by that of the largest probability."""
    found, n = judged("aurc", "data == 'known'")
    ratio = found[f"combined: confidence, share {share}"] / found["probability"]
    return [geometric_mean(ratio, n), "; ".join(f"{value:.3f}" for value in ratio), ratio.max()]


def headlines():
    yield claim(
        "AUROC over all networks and sets: the best mean rank (the best single scores)",
        "goal: the least",
        "{:.1f} of {} ({})",
        ranks,
        lambda ours, of, named, single: ours < single,
    )
    yield claim(
        f"AUROC at most {NEAR} below the best single score of each set",
        "goal: on every set",
        "on {:.0f} of {}; {}",
        never_far,
        lambda some, of, _: part(some, of),
    )
    for share in ("0.0005", "0.01", "0.05"):
        yield claim(
            f"AURC of the confidence, `outlier_share={share}`, by that of the largest "
            "probability (geometric mean; each network)",
            "goal: at most 1.02 on each",
            "{:.3f} ({})",
            lambda share=share: own_errors(share),
            lambda ratio, named, worst: worst <= 1.02,
        )
    for network in ("resnet18_cifar10", "vit_cifar10", "resnet18_cifar6"):
        yield claim(
            f"known images with p at most .1 ({network})",
            "at most .1",
            "{:.3f}",
            lambda network=network: [
                metric("networks", "combined", "refused", experiment=f"judged, {network}")
            ],
            lambda refused: refused <= 0.1,
        )
