"""Spigler: denoising autoencoders against overgeneralisation.

Table I (fooling on MNIST), the open set, and the blind spot; the rings are in
``spigler_rings.py``, one class of images in ``spigler_one_class.py``, tables in
``spigler_tables.py``:

    python examples/papers/spigler.py fooling --network mlp --epochs 60
    python examples/papers/spigler.py open-set
    python examples/papers/spigler.py blind-spot
    python examples/papers/figures.py spigler

The paper trains for 100 epochs on a GPU; ``--epochs``, ``--rows`` and ``--max-updates`` fit
the runs to the machine at hand, and are recorded with the numbers. Trained networks are kept
in ``--cache``, so that an interrupted run goes on where it was.
"""

import copy
from functools import partial
from itertools import combinations

import joblib
import numpy as np
import torch
from torch import nn

from lab import Store, images, kept, parser
from sklearn_ood import COOLClassifier, DAEConfidence, SoftmaxClassifier
from sklearn_ood.inspection import fooling_rate
from sklearn_ood.metrics import auroc, open_set_f_measure, openness

METHODS = ("softmax", "COOL", "DAE tied")
THRESHOLDS = (0.9, 0.99)
PAPER_ALPHA = {0.9: 20.0, 0.99: 3.0}
N_HELD_OUT, NOISE = 5_000, 0.2
LOST_TO_ALPHA = 0.003
QUANTILES = (0.5, 0.95, 0.99)
TRAINING = (
    "network",
    "width",
    "start",
    "epochs",
    "batch_size",
    "train_lr",
    "reconstruction_weight",
)


def with_alpha(classifier, alpha):
    """The same fitted classifier with another weight of the reconstruction error."""
    classifier = copy.copy(classifier)
    classifier.alpha_ = alpha
    return classifier


def without_typicality(classifier):
    """The paper's confidence of a classifier that was fitted with typicality."""
    if not isinstance(classifier, DAEConfidence):
        return classifier
    return copy.copy(classifier).set_params(typicality=False)


def chosen(args, *names):
    """Some of the settings."""
    return {name: getattr(args, name) for name in names}


def separation(inside, outside):
    labels = np.arange(len(inside) + len(outside)) < len(inside)
    return auroc(labels, np.concatenate([inside, outside]))


def make_classifier(name, args, **parameters):
    """A network of the paper by its name."""
    parameters = {
        "module": args.network,
        "hidden_layer_sizes": (args.width,),
        "input_shape": (1, 28, 28),
        "max_epochs": args.epochs,
        "batch_size": args.batch_size,
        "lr": args.train_lr,
        "lr_schedule": "cosine",
        "random_state": args.seed,
    } | parameters
    if name == "softmax":
        return SoftmaxClassifier(**parameters)
    if name == "COOL":
        return COOLClassifier(n_units_per_class=10, **parameters)
    autoencoder = {
        "decoder": name.removeprefix("DAE "),
        "noise": NOISE,
        "coverage": 0.99,
        "curvature": "off",
        "reconstruction_weight": args.reconstruction_weight,
    }
    return DAEConfidence(**autoencoder | parameters)


def train_and_test(name):
    """Training images and labels, then those of the test."""
    return *images(name), *images(name, "test")


def linear_start(X, args):
    """A dense network whose tied autoencoder starts as the best linear denoiser.

    Pairs of ReLU units, that sum to a linear one, are the leading principal axes and their
    negatives, each shrunk as the noise asks for.
    """
    values, axes = np.linalg.eigh(X.T @ X / len(X))
    values, axes = (each[..., ::-1][..., : args.width // 2] for each in (values.clip(0), axes))
    half = axes.T * np.sqrt(values / (values + NOISE**2))[:, np.newaxis]
    weight = torch.as_tensor(np.concatenate([half, -half]), dtype=torch.float32)
    torch.manual_seed(args.seed)
    network = nn.Sequential(nn.Linear(784, args.width), nn.ReLU(), nn.Linear(args.width, 10))
    network[0].weight.data = weight
    nn.init.zeros_(network[0].bias)
    return nn.Sequential(nn.Flatten(), *network)


def trained(name, X, y, args, **own):
    """A network of table I, from the cache where it was trained before, and seconds."""
    if "DAE" in name:
        own["validation_fraction"] = 0.02
        if args.start == "linear":
            own["module"] = linear_start(X, args)
    settings = map(str, (name, len(X), *chosen(args, *TRAINING, "seed").values(), *own))
    path = args.cache / f"{'-'.join(settings)}.joblib"
    return kept(path, lambda: make_classifier(name, args, **own).fit(X, y))


def judged(classifier, X, y):
    """Log-confidence without the autoencoder, right answers, and reconstruction errors.

    The networks of table I leave the curvature out: log c(x) is -alpha times the error.
    """
    right = classifier.predict(X) == y
    if not isinstance(classifier, DAEConfidence):
        return classifier.score_samples(X), right, np.zeros(len(X))
    error = classifier.confidence_components(X).reconstruction_error
    return classifier.predict_log_proba(X).max(axis=1), right, error


def alphas(classifier, how, X, y):
    """The classifier with an alpha for each threshold: the "paper"'s, or "tuned" on rows.

    Tuned is the largest alpha with which the share of right answers above the threshold is at
    most ``LOST_TO_ALPHA`` below that of the classifier alone; but never so small that an error
    larger than that of every one of the rows would be accepted.
    """
    if not isinstance(classifier, DAEConfidence):
        return dict.fromkeys(THRESHOLDS, classifier)
    if how == "paper":
        return {T: with_alpha(classifier, alpha) for T, alpha in PAPER_ALPHA.items()}
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


def accuracies(classifier, tuned, X, y):
    """Share of the test images that are answered rightly above each threshold."""
    log_proba, right, error = judged(classifier, X, y)
    metrics, weights = {"accuracy": right.mean()}, {"": dict.fromkeys(THRESHOLDS, 0.0)}
    if isinstance(classifier, DAEConfidence):
        weights = {
            "": {threshold: model.alpha_ for threshold, model in tuned.items()},
            " of the classifier alone": weights[""],
        }
        for T, alpha in weights[""].items():
            metrics[f"alpha at {T:.0%}"] = alpha
            metrics[f"passes at {T:.0%}"] = (error <= -np.log(T) / alpha).mean()
        for q, quantile in zip(QUANTILES, np.quantile(error, QUANTILES), strict=True):
            metrics[f"squared error quantile {q:.0%}"] = quantile
        curved = copy.copy(classifier).set_params(curvature="hutchinson")
        gamma = curved.confidence_components(X[:200]).gamma
        metrics["largest gamma of 200 rows"] = gamma.max()
    for variant, alpha in weights.items():
        for T in THRESHOLDS:
            accepted = log_proba - alpha[T] * error >= np.log(T)
            metrics[f"accuracy at {T:.0%}{variant}"] = (right & accepted).mean()
    return metrics


def attacks(classifier, tuned, target, args):
    """The outcome of the trials at each threshold, as pairs.

    Without scaling, the trials take the same way whatever the threshold and alpha: where
    none comes below the larger of the two limits on the error, at the lower threshold, none
    has fooled at either.
    """
    effort = {"n_trials": args.trials, "max_updates": args.max_updates, "lr": args.lr}
    attack = partial(fooling_rate, target=target, random_state=args.seed, **effort)
    if target == "unscaled" and isinstance(classifier, DAEConfidence):
        limits = [-np.log(T) / model.alpha_ for T, model in tuned.items()]
        loosest = with_alpha(classifier, -np.log(min(THRESHOLDS)) / max(limits))
        result = attack(loosest, threshold=np.log(min(THRESHOLDS)))
        if not result.rate:
            yield from ((threshold, result) for threshold in THRESHOLDS)
            return
    for threshold in THRESHOLDS:
        yield threshold, attack(tuned[threshold], threshold=np.log(threshold))


def fooling(args, store):
    """Table I: accuracy at thresholds, and how many of 200 trials fool each network."""
    X, y, X_test, y_test = train_and_test("mnist")
    held_out = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT][: args.rows], y[:-N_HELD_OUT][: args.rows]
    experiment = f"fooling, {args.network}, {args.alpha} alpha"
    experiment += f", lr {args.lr}" * (args.lr != 1e-5)
    keep = partial(store.put, experiment=experiment, data="mnist", seed=args.seed)
    settings = chosen(args, *TRAINING) | {"rows": len(X)}
    for name in args.methods:
        classifier, seconds = trained(name, X, y, args)
        tuned = alphas(classifier, args.alpha, *held_out)
        metrics = accuracies(classifier, tuned, X_test, y_test)
        keep({name: metrics | {"seconds": seconds, "trials": args.trials}}, **settings)
        for target in args.targets:
            for threshold, result in attacks(classifier, tuned, target, args):
                at = f"at {threshold:.0%}, {target}"
                metrics = {f"fooled {at}": result.rate, f"allowed {at}": args.max_updates}
                if result.rate:
                    metrics[f"updates {at}"] = result.mean_updates
                keep({name: metrics}, **settings)
                joblib.dump(result, args.cache / f"{experiment}-{name}-{at}.joblib")


def same_limits(classifier, threshold):
    """The weights hold for the 90 % threshold; another one gets the same limits."""
    if not isinstance(classifier, DAEConfidence):
        return classifier
    share = np.log(threshold) / np.log(0.9)
    classifier = with_alpha(classifier, classifier.alpha_ * share)
    classifier.typicality_weights_ = classifier.typicality_weights_ * share
    return classifier


def open_set_models(train, held_out, n_known, args):
    """Name, fitted classifier and threshold, of all that are compared."""
    for name in args.methods:
        if name == "softmax" and n_known == 1:
            continue
        own = {"typicality": True, "coverage": 0.95} if name == "DAE tied" else {}
        classifier = make_classifier(name, args, **own).fit(*train)
        variants = {name: classifier}
        if name == "DAE tied":
            plain = without_typicality(classifier)
            variants = {"DAE": plain, "DAE with typicality": classifier}
            for threshold, model in alphas(plain, "tuned", *held_out).items():
                yield "DAE, alpha of table I", model, threshold
        for variant, model in variants.items():
            for threshold in THRESHOLDS:
                yield variant, same_limits(model, threshold), threshold


def open_set(args, store):
    """Figure 4: F-measure against openness."""
    X, y, X_test, y_test = train_and_test(args.data)
    rng = np.random.RandomState(args.seed)
    order = rng.permutation(len(X))
    train, held_out = order[: args.rows], order[-N_HELD_OUT:]
    settings = chosen(args, *TRAINING, "rows")
    for n_known in args.known:
        choices = list(combinations(range(10), n_known))
        repeats = min(args.repeats, len(choices))
        for repeat, choice in enumerate(rng.choice(len(choices), size=repeats, replace=False)):
            known, found = choices[choice], {}
            taught, asked = (rows[np.isin(y[rows], known)] for rows in (train, held_out))
            models = open_set_models(
                (X[taught], y[taught]), (X[asked], y[asked]), n_known, args
            )
            for name, model, threshold in models:
                value = open_set_f_measure(
                    y_test,
                    model.predict(X_test),
                    model.score_samples(X_test),
                    classes=known,
                    threshold=np.log(threshold),
                )
                found[f"{name} at {threshold}"] = {"f measure": value}
            level = f"{openness(n_known, 10):.3f}"
            store.put(found, f"open set {args.data}", level, repeat, **settings)


def blind_spot(args, store):
    """Images that are too simple, with typicality and without; and real outliers."""
    X, y, X_test, _ = train_and_test("mnist")
    X, y = X[:-N_HELD_OUT][: args.rows], y[:-N_HELD_OUT][: args.rows]
    fitted, _ = trained("DAE tied", X, y, args, typicality=True)
    models = {"without typicality": without_typicality(fitted), "with typicality": fitted}
    inside = {name: model.score_samples(X_test) for name, model in models.items()}
    levels = np.linspace(0.02, 1, 50, dtype=np.float32)[:, None]
    outliers = {
        "blank": np.zeros((1, 784), dtype=np.float32),
        "constant": levels * np.ones((1, 784), dtype=np.float32),
        **{f"contrast {share}": share * X_test[:2000] for share in (0.1, 0.3, 0.5)},
    }
    for name in ("fashion_mnist", "notmnist", "omniglot"):
        outliers[name] = images(name, "test")[0][:5000]
    settings = chosen(args, *TRAINING) | {"rows": len(X)}
    for made, rows in outliers.items():
        found = {}
        for name, model in models.items():
            scores, cut = model.score_samples(rows), np.quantile(inside[name], 0.05)
            auc = separation(inside[name], scores)
            found[name] = {"auroc": auc, "accepted": (scores >= cut).mean()}
        store.put(found, "blind spot", made, **settings)


SECTIONS = {
    "fooling": fooling,
    "open-set": open_set,
    "blind-spot": blind_spot,
}


def options():
    """The command line, which the figures share."""
    cli = parser(__doc__, "spigler")
    cli.add_argument("--data", default="mnist", choices=("mnist", "fashion_mnist"))
    cli.add_argument("--network", default="mlp", choices=("mlp", "cnn"))
    cli.add_argument("--width", type=int, default=400, help="of mlp")
    cli.add_argument("--start", choices=("linear",), help="of the weights of DAE in mlp")
    cli.add_argument("--methods", nargs="+", default=METHODS)
    cli.add_argument("--targets", nargs="*", default=["unscaled", "scaled"])
    cli.add_argument("--epochs", type=int, default=20)
    cli.add_argument("--rows", type=int, default=60_000)
    cli.add_argument("--repeats", type=int, default=3, help="of open-set")
    cli.add_argument("--known", type=int, nargs="+", default=range(1, 11), help="classes")
    cli.add_argument("--trials", type=int, default=20, help="for each class")
    cli.add_argument("--max-updates", type=int, default=10_000)
    cli.add_argument("--lr", type=float, default=1e-5, help="of the fooling generators")
    cli.add_argument("--alpha", default="paper", choices=("paper", "tuned"))
    cli.add_argument("--train-lr", type=float, default=1e-3)
    cli.add_argument("--batch-size", type=int, default=64)
    cli.add_argument("--reconstruction-weight", type=float, default=20.0)
    cli.add_argument("--seed", type=int, default=0)
    return cli


if __name__ == "__main__":
    cli = options()
    cli.add_argument("section", choices=SECTIONS)
    args = cli.parse_args()
    SECTIONS[args.section](args, Store("spigler", args.results))
