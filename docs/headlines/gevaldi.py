"""GeValDi: generated samples on which classifiers differ."""

from itertools import product

from records import Number, fact, metric

from headlines import claim, part

TABLES = ("dry_bean", "letter_recognition", "pendigits_multiclass")
GENERATORS = ("between neighbours", "mixture")
PAIRS = ("small, small twin", "large, large twin", "small, large", "large, small")
KINDS = ("one latent space", "one a class")
DATA = {"letter_recognition": "letters", "mnist": "digits"}


def pair(measure, method="js"):
    return metric("gevaldi", method, measure, experiment="pair")


def ensemble(measure, kind):
    return metric("gevaldi", kind, measure, experiment="ensemble")


def table(data, measure, method="between neighbours"):
    return metric("gevaldi", method, measure, experiment="tables", data=data)


def ends(measure):
    """The first and the last value of a curve."""
    curve = pair(measure)
    return [curve[0], curve[len(curve.values[0]) - 1]]


def sizes(data, pair, measure):
    return metric("gevaldi", pair, measure, experiment="expressivity", data=data)


def rise(data, n):
    """Mean set distance over all four pairs at the start and at the end of the ascent."""
    curves = [sizes(data, each, f"set distance path of {n}") for each in PAIRS]
    ends = ([float(curve[at]) for curve in curves] for at in (0, -1))
    return [Number(values, curves[0].n) for values in ends]


def expressivity(data, n):
    """Set distances of the small and the large pair, and the ranges of both."""
    found = [sizes(data, each, f"set distance of {n}") for each in PAIRS[:2]]
    return [*found, *(bound for each in found for bound in (each.min, each.max))]


def winners():
    """Accuracies of both CNNs by the order of the KL divergence; in how many runs one wins."""
    found = [
        pair(f"compared {which} accuracy", f"kl, {first} first")
        for first, order in (("cnn_16", ("first", "second")), ("cnn_12", ("second", "first")))
        for which in order
    ]
    runs = [*zip(*(number.values for number in found), strict=True)]
    return [*found, sum((a > b) == (c > d) for a, b, c, d in runs), len(runs)]


def named_worse(kind, generator):
    """How often the forest with a planted fault is named the worse one, on tables on record."""
    right, runs, least = 0, 0, []
    for data in TABLES:
        try:
            forest, other = (
                table(data, f"faulty, {kind}, {which}", generator)
                for which in ("forest", "other")
            )
        except LookupError:
            continue
        right += sum(a > b for a, b in zip(forest.values, other.values, strict=True))
        runs += len(forest.values)
        least.append(forest.n)
    if not runs:
        raise LookupError("gevaldi.csv has no planted fault.")
    return Number([right], min(least)), runs


def headlines():
    for n in (1, 3, 5):
        yield claim(
            f"two CNNs: prediction set distance of the {n} likeliest rises",
            "rises",
            "{:.2f} to {:.2f}",
            lambda n=n: ends(f"set distance path of {n}"),
            lambda start, end: end > 1.1 * start,
        )
    for (data, name), n in product(DATA.items(), (1, 3, 5)):
        yield claim(
            f"four pairs on {name}: prediction set distance of the {n} likeliest rises",
            "rises",
            "{:.2f} to {:.2f}",
            lambda data=data, n=n: rise(data, n),
            lambda start, end: end > 1.1 * start or ("part" if end > start else False),
        )
        yield claim(
            f"expressivity affects the set distance of the {n} likeliest ({name}; two small "
            "networks, two large ones)",
            "it does; goal: in every run",
            "{:.2f}, {:.2f}",
            lambda data=data, n=n: expressivity(data, n),
            lambda _, __, small, most_small, large, most_large: (
                most_small < large or most_large < small
            ),
        )
    yield claim(
        "which of two CNNs is better does not depend on the divergence (accuracy of cnn_16 and "
        "of cnn_12 where they differ; KL from the one, KL from the other)",
        "goal: same winner, every run",
        "{:.1p} and {:.1p} %; {:.1p} and {:.1p} %; same in {} of {} runs",
        winners,
        lambda *found: part(*found[-2:]),
    )
    for data in TABLES:
        for measure, said in (("lof", "local outlier factor"), ("nearest row", "nearest row")):
            yield claim(
                f"{data}: samples beyond 95 % of the test rows ({said}; between neighbours, "
                "mixture)",
                "goal: at most 10 %",
                "{:.1p} %, {:.1p} %",
                lambda data=data, measure=measure: [
                    table(data, f"{measure}, end", each) for each in GENERATORS
                ],
                lambda ours, _: ours <= 0.1,
            )
        yield claim(
            f"forest and boosting ({data}): the verdict on real rows near the samples",
            "goal: that of all test rows",
            "{:.1p} and {:.1p} % (least p {:.2g}), all {:.1p} and {:.1p} %",
            lambda data=data: [
                table(data, "boosting, nearest real rows, forest"),
                table(data, "boosting, nearest real rows, other"),
                table(data, "boosting, nearest real rows, p").min,
                table(data, "accuracy of forest"),
                table(data, "accuracy of boosting"),
            ],
            lambda a, b, p, c, d: (a > b) == (c > d) or ("part" if p > 0.05 else False),
        )
    for generator in GENERATORS:
        for kind in ("condition", "condition, judged", "nearest real rows"):
            yield claim(
                f"a planted fault is named the worse model by {kind} ({generator})",
                "goal: on every table, every run",
                "{:.0f} of {}",
                lambda kind=kind, generator=generator: named_worse(kind, generator),
                part,
            )
    for data in ("dry_bean", "letter_recognition"):
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
    for kind in KINDS:
        for measure, name, said in (
            *(("accuracy", "accuracy", "93.8 to 65.3 %"), ("auc", "AUC", ".95 to .80")),
            ("f1", "F1", ".83 to .66"),
        ):
            yield claim(
                f"ensemble, VAE of {kind}: {name} falls from test digits to different samples",
                said,
                "{:.1p} to {:.1p} %" if measure == "accuracy" else "{:.3f} to {:.3f}",
                lambda measure=measure, kind=kind: [
                    ensemble(f"{measure}, {where}", kind) for where in ("test", "end")
                ],
                lambda before, after: (
                    after < before - 0.1 or ("part" if after < before else False)
                ),
            )
        yield claim(
            f"ensemble, VAE of {kind}: a judge sees the class that was to be generated "
            "(before; after the ascent)",
            "goal: 90 %",
            "{:.1p} %; {:.1p} %",
            lambda kind=kind: [
                ensemble(f"judge agrees, {where}", kind) for where in ("start", "end")
            ],
            lambda start, end: part((start >= 0.9) + (end >= 0.9), 2),
        )
        yield claim(
            f"ensemble, VAE of {kind}: regions hold the samples (in latents; in probabilities)",
            "goal: nearly all",
            "{:.0p} %; {:.0p} %",
            lambda kind=kind: [
                ensemble(f"{space}, in regions", kind) for space in ("latent", "probability")
            ],
            lambda one, two: (
                part((one > 0.9) + (two > 0.9), 2) or ("part" if one > 0.5 else False)
            ),
        )
        yield claim(
            f"ensemble, VAE of {kind}: retraining with the samples, right on fresh ones "
            "(before; with generated rows without ascent; without any)",
            "better",
            "{:.1p} % ({:.1p}; {:.1p}; {:.1p})",
            lambda kind=kind: [
                ensemble(f"fresh, {how}", kind)
                for how in (
                    *("with samples", "before", "with generated rows, no ascent", "without"),
                )
            ],
            lambda ours, *others: ours > max(others),
        )
        yield claim(
            f"ensemble, VAE of {kind}: retraining costs no test digits (without any; with "
            "generated rows without ascent; with samples)",
            "goal: at most .2 points",
            "{:.1p}; {:.1p}; {:.1p} %",
            lambda kind=kind: [
                ensemble(f"test, {how}", kind)
                for how in ("without", "with generated rows, no ascent", "with samples")
            ],
            lambda without, _, ours: ours >= without - 0.002,
        )
    yield claim(
        "1,000 samples as one batch, beside one after the other",
        "goal: 10 times faster",
        "{:.0f} times",
        lambda: [fact("gevaldi_benchmark")["wall"]["ratio"]],
        lambda ratio: ratio >= 10,
    )
    yield claim("BigGAN and pairs of networks of ImageNet", "set distances", "")
