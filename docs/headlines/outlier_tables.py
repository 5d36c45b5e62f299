"""Learning from made outliers on tables."""

from records import metric

from headlines import best, claim, part

LEFT_OUT = {"experiment": "classes left out"}


def headlines():
    for data in ("digits", "letter_recognition", "pendigits_multiclass", "dry_bean"):
        for method in ("confident", "reject"):
            yield claim(
                f"{method} net, every parameter as it comes, does no harm on {data} "
                "(AUROC; accuracy within half a point)",
                "goal: at least the plain net's",
                "{:.3f}, plain {:.3f}; {:.1p}, plain {:.1p} %",
                lambda data=data, method=method: [
                    metric("outlier_defaults", each, measure, data=data, **LEFT_OUT)
                    for measure in ("auroc", "accuracy")
                    for each in (method, "max softmax")
                ],
                lambda net, plain, right, plain_right: part(
                    (net >= plain) + (right >= plain_right - 0.005), 2
                ),
            )
    ours = ("confident, boundary", "reject, boundary")
    densities = ("GaussianMixture(4) a class", "local outlier factor", "nearest row")

    def auroc(methods, **where):
        return best("outlier_tables", "auroc", methods, **where | LEFT_OUT)

    for data in ("dry_bean", "pendigits_multiclass", "letter_recognition"):
        yield claim(
            f"the better of the two nets at or above the best density, AUROC ({data})",
            "goal: at or above",
            "{:.3f}, density {:.3f}",
            lambda data=data: [auroc(ours, data=data), auroc(densities, data=data)],
            lambda net, density: net >= density,
        )
    yield claim(
        "the better of the two nets at or above the best density, mean AUROC",
        "goal: at or above",
        "{:.3f}, density {:.3f}",
        lambda: [auroc(ours), auroc(densities)],
        lambda net, density: net >= density,
    )
    for method in ours:
        yield claim(
            f"{method.split(',')[0]} net above the largest probability of a plain net, AUROC",
            "goal: above",
            "{:.3f}, probability {:.3f}",
            lambda method=method: [auroc([method]), auroc(["max softmax"])],
            lambda net, softmax: net > softmax,
        )
    yield claim(
        "made outliers cost no accuracy (the worse net, mean of the tables)",
        "goal: at most half a point",
        "{:.1p} to {:.1p} %",
        lambda: [
            metric("outlier_tables", "max softmax", "accuracy", **LEFT_OUT),
            best("outlier_tables", "accuracy", ours, low=True, **LEFT_OUT),
        ],
        lambda before, after: after >= before - 0.005,
    )
