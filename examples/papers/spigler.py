"""Spigler: denoising autoencoders against overgeneralisation.

The rings, table I (fooling on MNIST), one-class MNIST and the open set, each printed beside
the paper's numbers and merged into ``docs/results/dae.json``:

    python examples/papers/spigler.py rings
    python examples/papers/spigler.py fooling --network cnn --epochs 15
    python examples/papers/spigler.py fooling-figure --network cnn
    python examples/papers/spigler.py one-class
    python examples/papers/spigler.py open-set
    python examples/papers/spigler.py blind-spot

The paper trains for 100 epochs on a GPU; ``--epochs``, ``--rows`` and ``--max-updates`` fit
the runs to the machine at hand, and are recorded with the numbers. Trained networks are kept
in ``--nets``, so that an interrupted run goes on where it was.
"""

import argparse
import copy
import json
import pickle
import tempfile
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.svm import OneClassSVM
from sklearn_ood.fooling import FoolingDisplay, FoolingResult, fooling_rate

from sklearn_ood import COOLClassifier, DAEConfidence, SoftmaxClassifier
from sklearn_ood.datasets import inside_rings, load_images, make_rings
from sklearn_ood.metrics import open_set_f_measure, openness

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "dae.json"
METHODS = ("softmax", "COOL", "DAE tied")
THRESHOLDS = (0.9, 0.99)
PAPER_ALPHA = {0.9: 20.0, 0.99: 3.0}
N_HELD_OUT = 5_000
LOST_TO_ALPHA = 0.003
NOISES = (0.05, 0.15, 0.3)


def record(section, value):
    """Print a section's numbers and merge them into the results file."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[section] = results.get(section, {}) | value
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(section, json.dumps(value, indent=1), flush=True)


def recorded(section, name, settings):
    """What is on record of one part of a section, if it was run with the same settings."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known = results.get(section, {}).get(name, {})
    return known if known.get("settings") == settings else {"settings": settings}


def with_alpha(classifier, alpha):
    """The same fitted classifier with another weight of the reconstruction error."""
    classifier = copy.copy(classifier)
    classifier.alpha_ = alpha
    return classifier


def rings(arguments):
    """Figure 2: share of the plane outside the rings that is accepted, and of the rings."""
    rng = np.random.RandomState(arguments.seed)
    n_rows = 32_000
    X, y = make_rings(n_rows, random_state=rng)
    epochs = max(1, round(arguments.steps * arguments.batch_size / n_rows))
    started = time.perf_counter()
    classifier = DAEConfidence(
        hidden_layer_sizes=(200, 200),
        noise=arguments.noise or 0.2,
        alpha=40.0,
        beta=5.0,
        max_epochs=epochs,
        batch_size=arguments.batch_size,
        lr_schedule=arguments.lr_schedule,
        random_state=arguments.seed,
    ).fit(X, y)
    seconds = time.perf_counter() - started
    axis = np.linspace(-2, 2, 200)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    outside = plane[~inside_rings(plane)]
    inside, labels = make_rings(3_000, random_state=rng)
    out, ring = (classifier.confidence_components(rows) for rows in (outside, inside))
    scores_out, scores_in = (classifier.score_samples(rows) for rows in (outside, inside))
    report = {
        "steps": epochs * n_rows // arguments.batch_size,
        "batch_size": arguments.batch_size,
        "lr_schedule": arguments.lr_schedule,
        "train_seconds": round(seconds, 1),
    }
    report["accuracy"] = classifier.score(inside, labels)
    cuts = {"confidence 0.5": np.log(0.5), "95 % of the rings": np.quantile(scores_in, 0.05)}
    for name, cut in cuts.items():
        report[f"{name}: outside accepted"] = float((scores_out >= cut).mean())
        report[f"{name}: inside rejected"] = float((scores_in < cut).mean())
    report["AUROC"] = auroc(scores_in, scores_out)
    report["AUROC without curvature"] = auroc(
        -ring.reconstruction_error, -out.reconstruction_error
    )
    record(f"rings, noise {arguments.noise or 0.2}", report)
    if arguments.figure:
        draw_rings(classifier, plane, axis, arguments.figure)


def draw_rings(classifier, plane, axis, path):
    import matplotlib.pyplot as plt

    parts = classifier.confidence_components(plane)
    panels = {
        "log c(x) p(y|x)": classifier.score_samples(plane),
        "unscaled labels": classifier.predict(plane),
        "reconstruction": -classifier.alpha_ * parts.reconstruction_error,
        "curvature factor": parts.curvature_factor,
    }
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        low = max(values.min(), -5)
        ax.pcolormesh(axis, axis, values.reshape(200, 200), vmin=low)
        ax.set(title=title, aspect="equal")
    figure.savefig(path, dpi=120)


def fooling(arguments):
    """Table I: accuracy at thresholds, and how many of 200 trials fool each network."""
    X, y, X_test, y_test = images("mnist")
    held_out = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT][: arguments.rows], y[:-N_HELD_OUT][: arguments.rows]
    of_training = ("network", "epochs", "batch_size", "lr_schedule", "reconstruction_weight")
    of_training += ("seed", "trials")
    settings = {key: getattr(arguments, key) for key in of_training} | {"rows": len(X)}
    section = f"fooling {arguments.network}"
    for name in arguments.methods:
        classifier, seconds = trained(name, X, y, arguments)
        classifier = without_typicality(classifier)
        tuned = tuned_alphas(classifier, *held_out)
        row = recorded(section, name, settings)
        row["train_seconds"] = round(seconds, 1)
        row |= accuracies(classifier, tuned, X_test, y_test)
        record(section, {name: row})
        for target in arguments.targets:
            for threshold, result in fooled(classifier, tuned, target, arguments):
                row[f"fooled at {threshold} {target}"] = judged_trials(result, arguments)
                record(section, {name: row})
                np.savez(kept_images(name, threshold, target, arguments), **vars(result))


def fooling_figure(arguments):
    """Figure 3: what fooled each network, or was left of the trials."""
    import matplotlib.pyplot as plt

    panels = [
        ("softmax", 0.9, "unscaled"),
        ("COOL", 0.9, "unscaled"),
        ("DAE tied", 0.99, "scaled"),
    ]
    figure, axes = plt.subplots(3, 1, figsize=(6, 6.5), layout="constrained")
    for ax, (name, threshold, target) in zip(axes, panels, strict=True):
        with np.load(kept_images(name, threshold, target, arguments)) as parts:
            result = FoolingResult(**{key: parts[key] for key in parts})
        FoolingDisplay(result).plot(ax)
        title = f"{name}, {target} output at {threshold}: {result.rate:.1%} fooled"
        ax.set(title=title, xlabel="")
    figure.savefig(arguments.figure or RESULTS.with_name("spigler_figure3.png"), dpi=120)


def kept_images(name, threshold, target, arguments):
    return Path(arguments.nets) / f"{arguments.network}-{name}-{threshold}-{target}.npz"


def accuracies(classifier, tuned, X_test, y_test):
    """Share of the test images that are answered correctly above each threshold."""
    log_proba, right, error = judged(classifier, X_test, y_test)
    row = {"accuracy": float(right.mean())}
    alphas = {"": dict.fromkeys(THRESHOLDS, 0.0)}
    if isinstance(classifier, DAEConfidence):
        alphas = {"": {T: model.alpha_ for T, model in tuned.items()}}
        row |= {f"alpha at {T}": alpha for T, alpha in alphas[""].items()}
        row["MSE quantiles .5 .95 .99"] = np.quantile(error, [0.5, 0.95, 0.99]).tolist()
        row["largest gamma of 200 rows"] = largest_gamma(classifier, X_test[:200])
        alphas[" (paper's alpha)"] = PAPER_ALPHA
        alphas[" (classifier alone)"] = dict.fromkeys(THRESHOLDS, 0.0)
    for variant, alpha in alphas.items():
        for threshold in THRESHOLDS:
            accepted = log_proba - alpha[threshold] * error >= np.log(threshold)
            row[f"accuracy at {threshold}{variant}"] = float((right & accepted).mean())
    return row


def judged(classifier, X, y):
    """Log-confidence without the autoencoder, right answers, and reconstruction errors.

    The networks of this section leave the curvature out: log c(x) is -alpha times the error.
    """
    right = classifier.predict(X) == y
    if not isinstance(classifier, DAEConfidence):
        return classifier.score_samples(X), right, np.zeros(len(X))
    error = classifier.confidence_components(X).reconstruction_error
    return classifier.predict_log_proba(X).max(axis=1), right, error


def fooled(classifier, tuned, target, arguments):
    """The outcome of the trials at each threshold, as pairs.

    Without scaling, the trials take the same way whatever the threshold and alpha: where
    none comes below the larger of the two limits on the error, at the lower threshold, none
    has fooled at either.
    """
    if target == "unscaled" and isinstance(classifier, DAEConfidence):
        limits = [-np.log(T) / model.alpha_ for T, model in tuned.items()]
        loosest = with_alpha(classifier, -np.log(min(THRESHOLDS)) / max(limits))
        result = attacked(loosest, min(THRESHOLDS), target, arguments)
        if not result.rate:
            yield from ((threshold, result) for threshold in THRESHOLDS)
            return
    for threshold in THRESHOLDS:
        yield threshold, attacked(tuned[threshold], threshold, target, arguments)


def attacked(classifier, threshold, target, arguments):
    return fooling_rate(
        classifier,
        threshold=np.log(threshold),
        target=target,
        n_trials=arguments.trials,
        max_updates=arguments.max_updates,
        lr=arguments.lr,
        random_state=arguments.seed,
    )


def judged_trials(result, arguments):
    return {
        "rate": result.rate,
        "mean_updates": result.mean_updates if result.rate else None,
        "lr": arguments.lr,
        "max_updates": arguments.max_updates,
    }


def tuned_alphas(classifier, X, y):
    """The paper's tuning of alpha for each threshold, on held-out rows.

    The largest alpha with which the share of right answers above the threshold is at most
    ``LOST_TO_ALPHA`` below that of the classifier alone; but never so small that an error
    larger than that of every held-out row would be accepted.
    """
    if not isinstance(classifier, DAEConfidence):
        return dict.fromkeys(THRESHOLDS, classifier)
    log_proba, right, error = judged(classifier, X, y)
    tuned = {}
    for threshold in THRESHOLDS:
        # Each row that the classifier alone answers bears alpha up to its own limit.
        limits = (log_proba - np.log(threshold))[right] / error[right]
        limits = np.sort(limits[limits >= 0])
        tolerable = limits[: int(LOST_TO_ALPHA * len(y)) + 1]
        smallest = -np.log(threshold) / error.max()
        tuned[threshold] = with_alpha(classifier, float(max([smallest, *tolerable])))
    return tuned


def at_threshold(classifier, threshold):
    """The weights hold for the 90 % threshold; another one gets the same limits."""
    if not isinstance(classifier, DAEConfidence):
        return classifier
    share = np.log(threshold) / np.log(0.9)
    classifier = with_alpha(classifier, classifier.alpha_ * share)
    classifier.typicality_weights_ = classifier.typicality_weights_ * share
    return classifier


def largest_gamma(classifier, rows):
    classifier = copy.copy(classifier)
    classifier.curvature = "hutchinson"
    return float(classifier.confidence_components(rows).gamma.max())


def trained(name, X, y, arguments):
    """The network of that name, from the cache where it was trained before."""
    settings = (arguments.network, arguments.epochs, len(X), arguments.batch_size)
    settings += (arguments.lr_schedule, arguments.reconstruction_weight, arguments.seed)
    path = Path(arguments.nets) / f"{'-'.join(map(str, (name, *settings)))}.pkl"
    if path.exists():
        return pickle.loads(path.read_bytes())
    started = time.perf_counter()
    own = {"typicality": True, "validation_fraction": 0.02} if "DAE" in name else {}
    classifier = make_classifier(name, arguments, **own).fit(X, y)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = classifier, time.perf_counter() - started
    path.write_bytes(pickle.dumps(stored))
    return stored


def without_typicality(classifier):
    """The paper's confidence of a classifier that was fitted with typicality."""
    if not isinstance(classifier, DAEConfidence):
        return classifier
    return copy.copy(classifier).set_params(typicality=False)


def make_classifier(name, arguments, **parameters):
    parameters = {
        "module": arguments.network,
        "hidden_layer_sizes": (400,),
        "input_shape": (1, 28, 28),
        "max_epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr_schedule": arguments.lr_schedule,
        "random_state": arguments.seed,
    } | parameters
    if name == "softmax":
        return SoftmaxClassifier(**parameters)
    if name == "COOL":
        return COOLClassifier(n_units_per_class=10, **parameters)
    autoencoder = {
        "decoder": name.removeprefix("DAE "),
        "noise": 0.2,
        "coverage": 0.99,
        "curvature": "off",
        "reconstruction_weight": arguments.reconstruction_weight,
    }
    return DAEConfidence(**autoencoder | parameters)


def one_class(arguments):
    """Figure 5: mean AUC of ten one-class problems."""
    X, y, X_test, y_test = images(arguments.data)
    noise = arguments.noise or chosen_noise(X, y, arguments)
    false_positives = np.linspace(0, 1, 101)
    areas, curves = {}, {}
    for digit in range(10):
        rows = X[y == digit][: arguments.rows]
        typical = one_class_autoencoder(noise, arguments).fit(rows)
        models = {
            "DAE": without_typicality(typical),
            "DAE with typicality": typical,
            "OneClassSVM": OneClassSVM(nu=0.1, gamma=0.1).fit(rows),
        }
        for name, model in models.items():
            scores, inside = model.score_samples(X_test), y_test == digit
            areas.setdefault(name, []).append(float(roc_auc_score(inside, scores)))
            rate, hits, _ = roc_curve(inside, scores)
            curves.setdefault(name, []).append(np.interp(false_positives, rate, hits))
        print(digit, {name: round(area[-1], 4) for name, area in areas.items()}, flush=True)
    settings = ("rows", "epochs", "batch_size", "lr_schedule", "weight_decay")
    report = {key: getattr(arguments, key) for key in settings} | {"noise": noise}
    for name, area in areas.items():
        report[name] = {
            "mean_auc": float(np.mean(area)),
            "auc": area,
            "mean_hits_at_each_percent": np.mean(curves[name], axis=0).round(4).tolist(),
        }
    record(f"one-class {arguments.data}", report)


def one_class_autoencoder(noise, arguments):
    return DAEConfidence(
        hidden_layer_sizes=(400,),
        noise=noise,
        curvature="off",
        typicality=True,
        weight_decay=arguments.weight_decay,
        lr_schedule=arguments.lr_schedule,
        max_epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        random_state=arguments.seed,
    )


def chosen_noise(X, y, arguments):
    """The noise with the best AUC of three classes on training images held out."""
    held_out, labels = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT], y[:-N_HELD_OUT]
    means = {}
    for noise in NOISES:
        areas = []
        for digit in (2, 5, 8):
            model = one_class_autoencoder(noise, arguments)
            model.fit(X[y == digit][: arguments.rows // 2])
            areas.append(roc_auc_score(labels == digit, model.score_samples(held_out)))
        means[noise] = float(np.mean(areas))
    record(f"one-class {arguments.data}", {"mean AUC on held-out training images": means})
    return max(means, key=means.get)


def open_set(arguments):
    """Figure 4: F-measure against openness."""
    X, y, X_test, y_test = images(arguments.data)
    rng = np.random.RandomState(arguments.seed)
    order = rng.permutation(len(X))
    train, held_out = order[: arguments.rows], order[-N_HELD_OUT:]
    settings = ("rows", "epochs", "network", "batch_size", "lr_schedule")
    settings += ("reconstruction_weight", "seed")
    settings = {key: getattr(arguments, key) for key in settings}
    for n_known in arguments.known:
        f_measures = {}
        choices = list(combinations(range(10), n_known))
        repeats = min(arguments.repeats, len(choices))
        for choice in rng.choice(len(choices), size=repeats, replace=False):
            known = choices[choice]
            taught, asked = (rows[np.isin(y[rows], known)] for rows in (train, held_out))
            models = open_set_models(
                (X[taught], y[taught]), (X[asked], y[asked]), n_known, arguments
            )
            for name, model, threshold in models:
                value = open_set_f_measure(
                    y_test,
                    model.predict(X_test),
                    model.score_samples(X_test),
                    classes=known,
                    threshold=np.log(threshold),
                )
                f_measures.setdefault(f"{name} at {threshold}", []).append(value)
        section, level = f"open set {arguments.data}", f"{openness(n_known, 10):.3f}"
        record(section, {level: recorded(section, level, settings) | f_measures})


def open_set_models(train, held_out, n_known, arguments):
    """Name, fitted classifier and threshold, of all that are compared."""
    for name in arguments.methods:
        if name == "softmax" and n_known == 1:
            continue
        own = {"typicality": True, "coverage": 0.95} if name == "DAE tied" else {}
        classifier = make_classifier(name, arguments, **own).fit(*train)
        variants = {name: classifier}
        if name == "DAE tied":
            plain = without_typicality(classifier)
            variants = {"DAE": plain, "DAE with typicality": classifier}
            for threshold, model in tuned_alphas(plain, *held_out).items():
                yield "DAE, alpha of table I", model, threshold
        for variant, model in variants.items():
            for threshold in THRESHOLDS:
                yield variant, at_threshold(model, threshold), threshold


def blind_spot(arguments):
    """Images that are too simple, with typicality and without; and real outliers."""
    X, y, X_test, _ = images("mnist")
    X, y = X[:-N_HELD_OUT][: arguments.rows], y[:-N_HELD_OUT][: arguments.rows]
    fitted, _ = trained("DAE tied", X, y, arguments)
    plain = without_typicality(fitted)
    levels = np.linspace(0.02, 1, 50, dtype=np.float32)[:, None]
    outliers = {
        "blank": np.zeros((1, 784), dtype=np.float32),
        "constant": levels * np.ones((1, 784), dtype=np.float32),
        **{f"contrast {share}": share * X_test[:2000] for share in (0.1, 0.3, 0.5)},
        "fashion_mnist": load_images("fashion_mnist", split="test").data[:5000],
        "notmnist": load_images("notmnist", split="test").data[:5000],
        "omniglot": load_images("omniglot", split="test").data[:5000],
    }
    settings = ("network", "epochs", "batch_size", "lr_schedule", "reconstruction_weight")
    report = {key: getattr(arguments, key) for key in settings} | {"rows": len(X)}
    for name, model in {"without typicality": plain, "with typicality": fitted}.items():
        inside = model.score_samples(X_test)
        cut = np.quantile(inside, 0.05)
        for made, rows in outliers.items():
            scores = model.score_samples(rows)
            report.setdefault(made, {})[name] = {
                "auroc": auroc(inside, scores),
                "accepted at 95 % of the digits": float((scores >= cut).mean()),
            }
    record("blind spot", report)


def images(name):
    parts = (load_images(name, split=split, return_X_y=True) for split in ("train", "test"))
    (X, y), (X_test, y_test) = parts
    return X, y, X_test, y_test


def auroc(inside, outside):
    labels = np.arange(len(inside) + len(outside)) < len(inside)
    return float(roc_auc_score(labels, np.concatenate([inside, outside])))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--data", default="mnist", choices=("mnist", "fashion_mnist"))
    parser.add_argument("--network", default="mlp", choices=("mlp", "cnn"))
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--targets", nargs="*", default=["unscaled", "scaled"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3, help="of open-set")
    parser.add_argument("--known", type=int, nargs="+", default=range(1, 11), help="classes")
    parser.add_argument("--trials", type=int, default=20, help="for each class")
    parser.add_argument("--max-updates", type=int, default=10_000)
    parser.add_argument("--lr", type=float, default=1e-5, help="of the fooling generators")
    parser.add_argument("--lr-schedule", choices=("cosine", "step"), help="of all training")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--reconstruction-weight", type=float, default=1.0)
    parser.add_argument("--weight-decay", type=float, default=0.0, help="of one-class")
    parser.add_argument("--noise", type=float, help="of rings (0.2) or one-class (chosen)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", help="file for the picture")
    parser.add_argument("--nets", default=Path(tempfile.gettempdir()) / "sklearn_ood_spigler")
    return parser.parse_args()


SECTIONS = {
    "rings": rings,
    "fooling": fooling,
    "fooling-figure": fooling_figure,
    "one-class": one_class,
    "open-set": open_set,
    "blind-spot": blind_spot,
}

if __name__ == "__main__":
    arguments = parse()
    SECTIONS[arguments.section](arguments)
