"""The user guide's table of what to use when: a query on the results in ``docs/results``.

``conf.py`` writes it anew for every build: no number here is older than the results, and a
number that is not there fails the build.
"""

import json

from records import RESULTS, read

HEADER = ("I have", "use", "measured")
CLASSES_LEFT_OUT = {
    "combined": "combined",
    "its mixture alone": "member: mixture",
    "local outlier factor": "local outlier factor",
    "random forest": "random forest",
    "a network's largest probability": "MLP, max softmax",
}
ONE_CLASS = {
    "combined": "combined",
    "5 nearest neighbours": "k-NN (5)",
    "one-class SVM": "one-class SVM",
    "isolation forest": "isolation forest",
}
IMAGES = {
    "PCA a class, likelihood": "pca, likelihood",
    "nearest rows in a network's features": "cnn conv features, knn",
    "the network's probability": "cnn",
    "its energy": "cnn, energy",
}
MADE_OUTLIERS = {
    "confident": "confident, boundary",
    "reject": "reject, boundary",
    "without outliers": "max softmax",
    "a Gaussian mixture a class, no network": "GaussianMixture(4) a class",
}


TABLE_I = {"experiment": "fooling, mlp, paper alpha"}


def mean(page, method, metric, **where):
    """The mean of a metric over all that is on record of a method."""
    lines = read(page)
    where |= {"method": method}
    chosen = (lines[list(where)] == list(where.values())).all(axis=1)
    found = lines[chosen & lines["metric"].str.fullmatch(metric)]["value"]
    if found.empty:
        raise LookupError(f"{page}.csv has no {metric!r} of {where}. Run examples/papers.")
    return found.mean()


def scores(labels, page, metric, **where):
    """``label value, label value``, each a mean."""
    return ", ".join(
        f"{label} {mean(page, method, metric, **where):.3f}" for label, method in labels.items()
    )


def data_of(page, **where):
    """The data sets on record."""
    lines = read(page)
    for column, value in where.items():
        lines = lines[lines[column] == value]
    return sorted(set(lines["data"]))


def table_with_unknown_classes():
    tables = ", ".join(data_of("combined", experiment="tables"))
    values = scores(CLASSES_LEFT_OUT, "combined", "auroc", experiment="tables")
    return f"mean AUROC with classes left out of {tables}: {values}"


def table_of_one_class():
    values = scores(ONE_CLASS, "combined", "auroc", experiment="anomalies")
    own = mean("spigler", "DAE with typicality", "auroc", experiment="anomalies")
    return (
        f"mean AUROC on {len(data_of('combined', experiment='anomalies'))} anomaly tables: "
        f"{values}; in runs of its own ``DAEConfidence(typicality=True)`` {own:.3f}"
    )


def images():
    taught = {"experiment": "images", "data": "mnist"}
    rows = mean("generative", "cnn", "training_rows", **taught)
    both = {"combined": "combined", "its network's probability": "member: confidence"}
    return (
        f"MNIST taught ({rows:.0f} images), mean AUROC against Fashion-MNIST, Omniglot and "
        f"notMNIST: {scores(IMAGES, 'generative', '.* auroc', **taught)}; "
        f"60000 images taught: {scores(both, 'combined', '.* auroc', **taught)}"
    )


def made_outliers():
    taught = {"experiment": "classes left out"}
    values = [
        f"{table}: {scores(MADE_OUTLIERS, 'outlier_tables', 'auroc', data=table, **taught)}"
        for table in data_of("outlier_tables")
    ]
    return f"AUROC with classes left out; {'; '.join(values)}"


def far_away():
    reject, confident = (
        mean("vernekar", method, "box answered", data="ring", experiment="two Gaussians")
        for method in ("reject", "confident")
    )
    return (
        "share of a wide box around two classes that is answered: reject "
        f"{reject:.1%}, confident {confident:.1%}"
    )


def attackers():
    names = {"softmax": "softmax", "COOL": "COOL", "autoencoder": "DAE tied"}
    fooled = {
        target: ", ".join(
            f"{label} {mean('spigler', method, f'fooled at 90%, {target}', **TABLE_I):.0%}"
            for label, method in names.items()
        )
        for target in ("unscaled", "scaled")
    }
    right = ", ".join(
        f"{mean('spigler', each, 'accuracy at 90%', **TABLE_I):.1%}" for each in names.values()
    )
    return (
        "attacks on a dense MNIST network that do not see its confidence fool "
        f"{fooled['unscaled']}; those that do {fooled['scaled']}; digits answered rightly at "
        f"the same threshold: {right}"
    )


def trained_network():
    ratios = json.loads((RESULTS / "training_benchmark.json").read_text())
    scoring = ratios["scoring"]["score_samples"]["ratio"]
    training = ratios["training"]["SoftmaxClassifier"]["ratio"]
    return (
        f"``score_samples`` takes {scoring:.2f} times the bare network's time, training "
        f"{training:.2f} times that of a hand-written loop"
    )


def two_models():
    growth = mean("gevaldi", "js", "growth", experiment="pair")
    return f"divergence of two MNIST networks {growth:.0f} times that at the start"


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


def write_decision_table(path):
    """Write the rows as a list-table for the user guide."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 20 35 45", ""]
    for row in (HEADER, *((have, use, measured()) for have, use, measured in ROWS)):
        lines += [f"   {'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    path.write_text("\n".join(lines) + "\n")
