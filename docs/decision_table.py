"""The user guide's table of what to use when, with numbers read from ``docs/results``.

``conf.py`` writes it anew for every build: a number here cannot be older than its result file,
and where a run is not on record the table says so.
"""

import json
from statistics import mean

HEADER = ("I have", "use", "measured")


def read(results, name):
    """A result file's content."""
    return json.loads((results / f"{name}.json").read_text())


def average(results, name, prefix, *path):
    """Mean of one number over all runs whose name begins with ``prefix``."""
    runs = [run for key, run in read(results, name).items() if key.startswith(prefix)]
    if not runs:
        raise KeyError(f"{name}.json has no run that begins with {prefix!r}.")
    values = []
    for run in runs:
        for key in path:
            run = run[key]
        values.append(run)
    return mean(values)


def names(results, name, prefix):
    """What the runs whose name begins with ``prefix`` are called, without group and seed."""
    runs = [key for key in read(results, name) if key.startswith(prefix)]
    return sorted({run.split("/")[1] for run in runs})


def scores(results, name, prefix, numbers):
    """``label value, label value, ...`` of mean scores; ``numbers`` maps labels to paths."""
    return ", ".join(
        f"{label} {average(results, name, prefix, *path):.3f}"
        for label, path in numbers.items()
    )


def table_with_unknown_classes(results):
    def auroc(score):
        return "scores", score, "auroc"

    tables = names(results, "combined", "tables/")
    return f"mean AUROC with classes left out of {', '.join(tables)}: " + scores(
        results,
        "combined",
        "tables/",
        {
            "combined": auroc("combined"),
            "its mixture alone": auroc("member: mixture"),
            "local outlier factor": auroc("local outlier factor"),
            "random forest": auroc("random forest"),
            "a network's largest probability": auroc("MLP, max softmax"),
        },
    )


def table_of_one_class(results):
    def auroc(score):
        return "scores", score, "auroc"

    combined = scores(
        results,
        "combined",
        "anomalies/",
        {
            "combined": auroc("combined"),
            "5 nearest neighbours": auroc("k-NN (5)"),
            "one-class SVM": auroc("one-class SVM"),
            "isolation forest": auroc("isolation forest"),
        },
    )
    autoencoder = read(results, "dae")["adbench"]["summary"]["DAE with typicality"]
    return (
        f"mean AUROC on {len(names(results, 'combined', 'anomalies/'))} anomaly tables: "
        f"{combined}; in runs of its own "
        f"``DAEConfidence(typicality=True)`` {autoencoder['mean_auroc']:.3f}"
    )


def images(results):
    unknown = ("fashion_mnist", "omniglot", "notmnist")
    mnist = read(results, "generative")["mnist"]
    labels = {
        "PCA a class, likelihood": "pca, likelihood",
        "nearest rows in a network's features": "cnn conv features, knn",
        "the network's probability": "cnn",
        "its energy": "cnn, energy",
    }
    parts = [
        f"{label} {mean(mnist[run][key]['auroc'] for key in unknown):.3f}"
        for label, run in labels.items()
    ]
    text = (
        f"MNIST taught ({mnist['cnn']['training_rows']} images), mean AUROC against "
        f"Fashion-MNIST, Omniglot and notMNIST: {', '.join(parts)}"
    )
    runs = names(results, "combined", "images/mnist")
    if not runs:
        return text
    largest = max(runs, key=lambda run: int(run.split()[-1]))

    def auroc(score):
        run = f"images/{largest}/"
        return mean(
            average(results, "combined", run, "scores", score, f"{key} auroc")
            for key in unknown
        )

    return (
        f"{text}; {largest.split()[-1]} images taught: combined {auroc('combined'):.3f}, its "
        f"network's probability {auroc('member: confidence'):.3f}"
    )


def made_outliers(results):
    numbers = {
        "confident": ("confident, boundary", "auroc"),
        "reject": ("reject, boundary", "auroc"),
        "without outliers": ("max softmax", "auroc"),
        "a Gaussian mixture a class, no network": ("GaussianMixture(4) a class", "auroc"),
    }
    tables = sorted({run.split(",")[0] for run in read(results, "outlier_tables")})
    parts = [
        f"{table}: {scores(results, 'outlier_tables', table, numbers)}" for table in tables
    ]
    return f"AUROC with classes left out; {'; '.join(parts)}"


def far_away(results):
    def answered(prefix):
        return average(results, "vernekar", prefix, "box answered")

    return (
        "share of a wide box around two classes that is answered: reject "
        f"{answered('reject, boundary'):.1%}, confident {answered('confident, boundary'):.1%}"
    )


def attackers(results):
    runs = read(results, "dae")["fooling cnn"]

    def fooled(name):
        return f"{runs[name]['fooled at 0.9 unscaled']['rate']:.0%}"

    def right(name):
        return f"{runs[name]['accuracy at 0.9']:.1%}"

    return (
        f"attacks that fool an MNIST network: softmax {fooled('softmax')}, COOL "
        f"{fooled('COOL')}, "
        f"autoencoder {fooled('DAE tied')}; digits answered rightly at the same thresholds: "
        f"{right('softmax')}, {right('COOL')}, {right('DAE tied')}"
    )


def trained_network(results):
    scoring = read(results, "training_benchmark")["scoring"]["score_samples"]["ratio"]
    training = read(results, "training_benchmark")["training"]["SoftmaxClassifier"]["ratio"]
    return (
        f"``score_samples`` takes {scoring:.2f} times the bare network's time, training "
        f"{training:.2f} times that of a hand-written loop"
    )


def two_models(results):
    path = read(results, "gevaldi")["pair"]["js"]["divergence_at_tenths"]
    return f"divergence of two MNIST networks {path[-1] / path[0]:.0f} times that at the start"


ROWS = [
    (
        "a table, and classes to come that nobody labelled",
        ":class:`CombinedClassifier`, the default",
        table_with_unknown_classes,
    ),
    (
        "a table of one class",
        ":class:`NoveltyDetector` around :class:`CombinedClassifier`, or "
        ":class:`DAEConfidence`",
        table_of_one_class,
    ),
    (
        "images",
        ":class:`CombinedClassifier` with ``input_shape=(C, H, W)``, or a network with "
        ":class:`GenerativeClassifier` as ``detector=``",
        images,
    ),
    (
        "one network that must do it all, on a table",
        ":class:`ConfidentClassifier` or :class:`RejectClassifier` with "
        '``outliers="boundary"``, or ``"given"`` where there are examples',
        made_outliers,
    ),
    (
        "inputs far from all data",
        ":class:`RejectClassifier`: a confident network grows sure again far away",
        far_away,
    ),
    (
        "attackers",
        ":class:`DAEConfidence`, and :mod:`sklearn_ood.inspection` to try it",
        attackers,
    ),
    (
        "a trained network, or little time",
        ":meth:`SoftmaxClassifier.from_module`",
        trained_network,
    ),
    (
        "two models, and a choice to make",
        ":class:`GeValDi`",
        two_models,
    ),
]


def measured(measure, results):
    """A row's numbers, or that there are none."""
    try:
        return measure(results)
    except (KeyError, FileNotFoundError):
        return "no run on record"


def write_decision_table(path, results):
    """A list-table for the user guide.

    Parameters
    ----------
    path : Path
        Of the file to write.
    results : Path
        Folder of the result files.
    """
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 35 45", ""]
    for row in (HEADER, *((have, use, measured(what, results)) for have, use, what in ROWS)):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    path.write_text("\n".join(lines) + "\n")
