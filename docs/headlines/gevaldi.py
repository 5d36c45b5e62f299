"""GeValDi: generated samples on which classifiers differ."""

from records import Number, fact, metric, read

from headlines import claim, part

TREES = ("dry_bean", "letter_recognition")


def pair(measure, method="js"):
    return metric("gevaldi", method, measure, experiment="pair")


def ensemble(measure, method="adam"):
    return metric("gevaldi", method, measure, experiment="ensemble")


def trees(data, measure):
    return metric("gevaldi", "forest, boosting", measure, experiment="trees", data=data)


def ends(measure):
    """The first and the last value of a curve."""
    curve = pair(measure)
    return [curve[0], curve[len(curve.values[0]) - 1]]


def quality(measure):
    rows = ("test digits", "10,000 maximally different")
    where = {"experiment": "ensemble, quality"}
    return [metric("gevaldi", "ensemble", measure, **where, data=data) for data in rows]


def retrained(measure, *methods):
    return [metric("gevaldi", f"{m}", measure, experiment="retraining") for m in methods]


def real_rows(data):
    where = {"experiment": "trees, real rows", "data": data}
    rows = ("nearest to the samples", "all")
    return [metric("gevaldi", each, "answers differ", **where) for each in rows]


def headlines():
    for n in (1, 3, 5):
        yield claim(
            f"two CNNs: prediction set distance of the {n} likeliest rises",
            "rises",
            "{:.2f} to {:.2f}",
            lambda n=n: ends(f"set distance path of {n}"),
            lambda start, end: end > 1.1 * start,
        )
    yield claim(
        "expressivity of the networks affects the set distance (small and large pairs)",
        "it does",
        "",
    )
    yield claim(
        "which of two CNNs is better does not depend on the divergence (accuracy of each where "
        "they differ; KL from the first, KL from the second)",
        "goal: same winner",
        "{:.1p} and {:.1p} %; {:.1p} and {:.1p} %",
        lambda: [
            pair(f"compared {which} accuracy", f"kl, {cnn} first")
            for cnn in ("cnn_16", "cnn_12")
            for which in ("first", "second")
        ],
        lambda a, b, c, d: (a > b) == (c > d),
    )
    for data in TREES:
        yield claim(
            f"forest and boosting ({data}): the samples' verdict is that of the test rows",
            "goal: same winner",
            "samples {:.1p} and {:.1p} % (p = {:.2g}), test rows {:.1p} and {:.1p} %",
            lambda data=data: [
                *(trees(data, f"compared {which} accuracy") for which in ("first", "second")),
                trees(data, "compared adjusted p value"),
                *(trees(data, f"accuracy of {which}") for which in ("forest", "boosting")),
            ],
            lambda a, b, p, c, d: (a > b) == (c > d) or ("part" if p > 0.05 else False),
        )
        yield claim(
            f"forest and boosting ({data}): answers differ more on real rows near the samples",
            "goal: more than on all",
            "{:.1p} %, on all {:.1p} %",
            lambda data=data: real_rows(data),
            lambda near, everywhere: near > everywhere,
        )
        yield claim(
            f"evolution reaches what gradients reach ({data}; one start; as many evaluations)",
            "goal: 0.9 of it",
            "{:.2f}; {:.2f}",
            lambda data=data: [
                metric("gevaldi", "evolution", measure, experiment="networks", data=data)
                for measure in ("over gradients", "over as many evaluations")
            ],
            lambda one, many: part((one >= 0.9) + (many >= 0.9), 2),
        )
    for climb, method in (("Adam", "js"), ("plain gradients", "js, plain gradients")):
        yield claim(
            f"two CNNs, {climb}: divergence rises",
            "rises; goal: 10 times",
            "{:.1f} times",
            lambda method=method: [pair("growth", method)],
            lambda growth: growth >= 10,
        )
        yield claim(
            f"two CNNs, {climb}: drift of the latents",
            "about 25 %",
            "{:.0p} %",
            lambda method=method: [pair("drift", method)],
            lambda drift: abs(drift - 0.25) < 0.1,
        )
    yield claim(
        "two CNNs: samples stay on the manifold (log prior and a judge that the VAE never saw)",
        "goal: 80 %",
        "{:.0p} %",
        lambda: [pair("manifold both")],
        lambda share: share >= 0.8,
    )
    yield claim("tables: samples stay on the manifold", "goal: 80 %", "")
    for measure, name, said in (
        *(("accuracy", "accuracy", "93.8 to 65.3 %"), ("auc", "AUC", ".95 to .80")),
        ("f1", "F1", ".83 to .66"),
    ):
        yield claim(
            f"ensemble: {name} falls from test digits to 10,000 different samples",
            said,
            "{:.1p} to {:.1p} %" if measure == "accuracy" else "{:.3f} to {:.3f}",
            lambda measure=measure: quality(measure),
            lambda before, after, measure=measure: (
                after < before - 0.1 or ("part" if after < before else False)
            ),
        )

    def regions():
        lines = read("gevaldi").query("experiment == 'ensemble, regions' and metric == 'size'")
        if lines.empty:
            raise LookupError("gevaldi.csv has no regions.")
        return len(lines), Number([lines["value"].sum()]), ensemble("n_samples")

    yield claim(
        "ensemble: regions of uncertainty hold the samples",
        "goal: nearly all",
        "{} regions hold {:,.0f} of {:,.0f}",
        regions,
        lambda _, held, of: True if held > 0.9 * of else "part" if held > 0.5 * of else False,
    )
    yield claim(
        "retraining with the samples: right on fresh ones (before; without the samples)",
        "better",
        "{2:.1p} % ({0:.1p}; {1:.1p})",
        lambda: retrained(
            "fresh", "before", "retrained without them", "retrained with the samples"
        ),
        lambda before, without, with_them: with_them > max(before, without),
    )
    yield claim(
        "retraining costs no test digits",
        "goal: at most .2 points",
        "{:.1p} to {:.1p} %",
        lambda: retrained("test", "before", "retrained with the samples"),
        lambda before, after: after >= before - 0.002,
    )
    yield claim(
        "1,000 samples as one batch, beside one after the other",
        "goal: 10 times faster",
        "{:.0f} times",
        lambda: [fact("gevaldi_benchmark")["wall"]["ratio"]],
        lambda ratio: ratio >= 10,
    )
    yield claim("BigGAN and pairs of networks of ImageNet", "set distances", "")
