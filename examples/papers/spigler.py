"""Spigler: denoising autoencoders against overgeneralisation, on images.

Table I (fooling on MNIST), the open set, the blind spot, and one class against the nine
others; rings and tables are in ``spigler_tables.py``:

    python examples/papers/spigler.py fooling --network mlp --epochs 60   # or cnn, or sigmoid
    python examples/papers/spigler.py open-set
    python examples/papers/spigler.py blind-spot
    python examples/papers/spigler.py one-class --rows 3000 --data fashion_mnist
    python examples/papers/spigler.py one-class-l2 --rows 1000 --weight-decay 10.0
    python examples/papers/figures.py spigler

The paper trains for 100 epochs on a GPU; ``--epochs``, ``--rows`` (of one-class: of each
class) and ``--max-updates`` fit the runs to the machine at hand, and are recorded with the
numbers. ``--alpha tuned`` loses few right answers (``answers``: whatever errors it accepts),
``--start linear`` begins with the best linear denoiser, ``--trials`` are for each class;
``fgn`` names its ``--fgn-lr``, too. ``noise`` tells with which noise three classes are told
best among held-out training images.
Trained networks are kept in ``--cache``, so that an interrupted run goes on.
"""

from functools import partial
from itertools import combinations

import joblib
import numpy as np
import torch
from sklearn.metrics import roc_curve
from sklearn.svm import OneClassSVM
from torch import nn

import sklearn_ood as ood
from lab import IMAGE, Experiment, altered, both, chosen, images, kept, main, written
from sklearn_ood.inspection import fooling_rate
from sklearn_ood.metrics import auroc, open_set_f_measure, openness

METHODS = ("softmax", "COOL", "DAE tied")
THRESHOLDS = (0.9, 0.99)
PAPER_ALPHA = {0.9: 20.0, 0.99: 3.0}
N_HELD_OUT, NOISE, LOST_TO_ALPHA = 5_000, 0.2, 0.003
NOISES = ("noise 0.05", "noise 0.15", "noise 0.3")
FALSE_POSITIVES, REPEATS = np.linspace(0, 1, 101), 3
MNIST, CLOTHES_TOO = ("mnist",), ("mnist", "fashion_mnist")
STRANGE = (
    *("blank", "constant", "contrast 0.1", "contrast 0.3", "contrast 0.5"),
    *("fashion_mnist", "notmnist", "omniglot"),
)
LEVELS = {f"{openness(n_known, 10):.3f}": n_known for n_known in range(1, 11)}
TRAINING = """--network mlp --width 400 --start --epochs 20 --batch-size 64 --train-lr 1e-3
    --reconstruction-weight 20.0"""
DIGITS, ALL = TRAINING + " --rows 55000", TRAINING + " --rows 60000"
TRIALS = "--alpha paper --trials 20 --max-updates 10000 --fgn-lr 1e-5"
TABLE_I = {"options": DIGITS, "effort": TRIALS}
ONE_CLASS = "--rows 3000 --epochs 20 --batch-size 64 --lr-schedule cosine --weight-decay 1e-4"
DENSE = " --network mlp --width 400 --train-lr 1e-3 --reconstruction-weight 5.0"
FIGURE_5 = {"options": ONE_CLASS + " --noise 0.3", "effort": DENSE}


def sigmoid_units(n_features, n_outputs, width):
    """A dense network with one hidden layer of sigmoid units."""
    layers = nn.Flatten(), nn.Linear(n_features, width), nn.Sigmoid()
    return nn.Sequential(*layers, nn.Linear(width, n_outputs))


def make_classifier(name, args, seed=0, **own):
    """A network of the paper by its name."""
    sigmoid = partial(sigmoid_units, width=args.width)
    module = sigmoid if args.network == "sigmoid" else args.network
    net = {"module": module, "hidden_layer_sizes": (args.width,), "input_shape": IMAGE}
    net |= {"max_epochs": args.epochs, "batch_size": args.batch_size, "lr": args.train_lr}
    net |= {"lr_schedule": "cosine", "random_state": seed}
    if name == "softmax":
        return ood.SoftmaxClassifier(**net)
    if name == "COOL":
        return ood.COOLClassifier(n_units_per_class=10, **net)
    net |= {"decoder": name.removeprefix("DAE "), "noise": NOISE, "curvature": "off"}
    net |= {"coverage": 0.99, "reconstruction_weight": args.reconstruction_weight}
    return ood.DAEConfidence(**net | own)


def linear_start(X, width, seed):
    """A dense network whose tied autoencoder starts as the best linear denoiser.

    Pairs of ReLU units, that sum to a linear one, are the leading principal axes and their
    negatives, each shrunk as the noise asks for.
    """
    values, axes = np.linalg.eigh(X.T @ X / len(X))
    values, axes = (each[..., ::-1][..., : width // 2] for each in (values.clip(0), axes))
    half = axes.T * np.sqrt(values / (values + NOISE**2))[:, np.newaxis]
    weight = torch.as_tensor(np.concatenate([half, -half]), dtype=torch.float32)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))
    network[0].weight.data = weight
    nn.init.zeros_(network[0].bias)
    return nn.Sequential(nn.Flatten(), *network)


def trained(name, args, seed, **own):
    """A network of table I, from the cache where it was trained before."""
    X, y = (part[:-N_HELD_OUT][: args.rows] for part in images("mnist"))
    if "DAE" in name:
        own["validation_fraction"] = 0.02
        if args.start == "linear":
            own["module"] = linear_start(X, args.width, seed)
    file = "; ".join([name, written(args.recorded), str(seed), *own])
    classifier = make_classifier(name, args, seed, **own)
    return kept(args.cache / f"{file}.joblib", classifier.fit, X, y)[0]


def judged(classifier, X, y):
    """Log-confidence without the autoencoder, right answers, and reconstruction errors.

    The networks of table I leave the curvature out: log c(x) is -alpha times the error.
    """
    right = classifier.predict(X) == y
    if not isinstance(classifier, ood.DAEConfidence):
        return classifier.score_samples(X), right, np.zeros(len(X))
    error = classifier.confidence_components(X).reconstruction_error
    return classifier.predict_log_proba(X).max(axis=1), right, error


def alphas(classifier, how, X, y):
    """The classifier with an alpha for each threshold: the "paper"'s, or chosen on rows.

    By "answers" it is the largest with which the share of right answers above the threshold is
    at most ``LOST_TO_ALPHA`` below that of the classifier alone; "tuned" is never so small that
    an error larger than that of every one of the rows would be accepted.
    """
    if not isinstance(classifier, ood.DAEConfidence):
        return dict.fromkeys(THRESHOLDS, classifier)
    if how == "paper":
        return {T: altered(classifier, alpha_=alpha) for T, alpha in PAPER_ALPHA.items()}
    log_proba, right, error = judged(classifier, X, y)
    tuned = {}
    for threshold in THRESHOLDS:
        # Each row that the classifier alone answers bears alpha up to its own limit.
        limits = (log_proba - np.log(threshold))[right] / error[right]
        limits = np.sort(limits[limits >= 0])
        tolerable = limits[: int(LOST_TO_ALPHA * len(y)) + 1]
        smallest = -np.log(threshold) / error.max() if how == "tuned" else 0.0
        tuned[threshold] = altered(classifier, alpha_=float(max([smallest, *tolerable])))
    return tuned


def accuracies(classifier, tuned, X, y):
    """Share of the test images that are answered rightly above each threshold."""
    log_proba, right, error = judged(classifier, X, y)
    metrics = {"accuracy": right.mean()}
    for T, model in tuned.items():
        alpha, above = getattr(model, "alpha_", 0.0), log_proba - np.log(T)
        metrics[f"accuracy at {T:.0%}"] = (right & (above >= alpha * error)).mean()
        if alpha:
            alone = (right & (above >= 0)).mean()
            metrics[f"accuracy at {T:.0%} of the classifier alone"] = alone
            metrics[f"alpha at {T:.0%}"] = alpha
            metrics[f"passes at {T:.0%}"] = (error <= -np.log(T) / alpha).mean()
            if alpha != PAPER_ALPHA[T]:
                named = f"accuracy at {T:.0%} with the paper's alpha"
                metrics[named] = (right & (above >= PAPER_ALPHA[T] * error)).mean()
    if isinstance(classifier, ood.DAEConfidence):
        for q in (0.5, 0.95, 0.99):
            metrics[f"squared error quantile {q:.0%}"] = np.quantile(error, q)
        curved = altered(classifier, curvature="hutchinson")
        gamma = curved.confidence_components(X[:200]).gamma
        metrics["largest gamma of 200 rows"] = gamma.max()
    return metrics


@Experiment("FGN at {fgn_lr}, {network}, {alpha} alpha", MNIST, METHODS, part="fgn", **TABLE_I)
@Experiment("fooling, {network}, {alpha} alpha", MNIST, METHODS, **TABLE_I)
def fooling(args, data, seed, name):
    """Table I: accuracy at thresholds, and how many of 200 trials fool each network."""
    held_out = (part[-N_HELD_OUT:] for part in images(data))
    classifier = trained(name, args, seed)
    tuned = alphas(classifier, args.alpha, *held_out)
    metrics = accuracies(classifier, tuned, *images(data, "test")) | {"trials": args.trials}
    effort = {"n_trials": args.trials, "max_updates": args.max_updates, "random_state": seed}
    effort["lr"] = args.fgn_lr
    for target in ("unscaled", "scaled"):
        for T, model in tuned.items():
            at = f"at {T:.0%}, {target}"
            result = fooling_rate(model, threshold=np.log(T), target=target, **effort)
            file = f"fooling, {args.network}, {args.alpha} alpha-{name}-{at}.joblib"
            joblib.dump(result, args.cache / file)
            metrics |= {f"fooled {at}": result.rate, f"allowed {at}": args.max_updates}
            if result.rate:
                metrics[f"updates {at}"] = result.mean_updates
    return metrics


def same_limits(classifier, threshold):
    """The weights hold for the 90 % threshold; another one gets the same limits."""
    if not isinstance(classifier, ood.DAEConfidence):
        return classifier
    share = np.log(threshold) / np.log(0.9)
    weights = share * classifier.typicality_weights_
    return altered(classifier, alpha_=share * classifier.alpha_, typicality_weights_=weights)


def reconstruction_alone(typical):
    """An autoencoder without what it knows of typical codes."""
    return altered(typical, code_statistics_=None, typicality_weights_=np.empty(0))


def open_set_models(train, held_out, args):
    """Name, fitted classifier and threshold, of all that are compared."""
    own, n_classes = {"typicality": True, "coverage": 0.95}, len(np.unique(train[1]))
    names = ("softmax", "COOL") if n_classes > 1 else ("COOL",)
    fitted = {name: make_classifier(name, args).fit(*train) for name in names}
    typical = make_classifier("DAE tied", args, **own).fit(*train)
    plain = reconstruction_alone(typical)
    for threshold, model in alphas(plain, "tuned", *held_out).items():
        yield "DAE, alpha of table I", model, threshold
    for name, model in (fitted | {"DAE": plain, "DAE with typicality": typical}).items():
        for threshold in THRESHOLDS:
            yield name, same_limits(model, threshold), threshold


@Experiment("open set {images}", LEVELS, seeds=3, options=ALL, effort="--images mnist")
def open_set(args, level, seed):
    """Figure 4: F-measure against openness."""
    X, y = images(args.images)
    X_test, y_test = images(args.images, "test")
    rng = np.random.RandomState(0)
    order = rng.permutation(len(X))
    for n_known in range(1, LEVELS[level] + 1):
        choices = list(combinations(range(10), n_known))
        drawn = rng.choice(len(choices), size=min(REPEATS, len(choices)), replace=False)
    if seed >= len(drawn):
        return {}
    known, found = choices[drawn[seed]], {}
    parts = order[: args.rows], order[-N_HELD_OUT:]
    parts = (rows[np.isin(y[rows], known)] for rows in parts)
    for name, model, threshold in open_set_models(*((X[i], y[i]) for i in parts), args):
        said = y_test, model.predict(X_test), model.score_samples(X_test)
        value = open_set_f_measure(*said, classes=known, threshold=np.log(threshold))
        found[f"{name} at {threshold}"] = {"f measure": value}
    return found


def strange(name, digits):
    """Images that are too simple, digits at a lower contrast, or those of another set."""
    what, _, share = name.partition(" ")
    if what == "contrast":
        return float(share) * digits[:2000]
    levels = {"blank": np.zeros(1), "constant": np.linspace(0.02, 1, 50)}
    if what in levels:
        return np.repeat(levels[what].astype(np.float32)[:, None], digits.shape[1], axis=1)
    return images(name, "test")[0][:5000]


@Experiment("blind spot", STRANGE, options=DIGITS)
def blind_spot(args, name, seed):
    """Images that are too simple, with typicality and without; and real outliers."""
    typical = trained("DAE tied", args, seed, typicality=True)
    digits, found = images("mnist", "test")[0], {}
    plain = reconstruction_alone(typical)
    for variant, model in (("without typicality", plain), ("with typicality", typical)):
        inside, scores = model.score_samples(digits), model.score_samples(strange(name, digits))
        accepted = (scores >= np.quantile(inside, 0.05)).mean()
        found[variant] = {"auroc": auroc(*both(inside, scores)), "accepted": accepted}
    return found


def one_class_network(args, noise, seed):
    """The network of one class."""
    own = {"noise": noise, "coverage": 0.95, "typicality": True, "input_shape": None}
    own |= chosen(args, "lr_schedule", "weight_decay")
    return make_classifier("DAE tied", args, seed, **own)


@Experiment("one class, noise", CLOTHES_TOO, NOISES, options=ONE_CLASS, effort=DENSE)
def noise(args, data, seed, name):
    """AUC of three classes on training images held out."""
    (X, held_out), (y, labels) = (np.split(part, [-N_HELD_OUT]) for part in images(data))
    areas = []
    for digit in (2, 5, 8):
        model = one_class_network(args, float(name.split()[1]), seed)
        model.fit(X[y == digit][: args.rows // 2])
        areas.append(auroc(labels == digit, model.score_samples(held_out)))
    return {"auroc": np.mean(areas)}


@Experiment("L2, one class {data}", MNIST, part="one-class-l2", **FIGURE_5)
@Experiment("one class {data}", CLOTHES_TOO, **FIGURE_5)
def one_class(args, data, seed):
    """Figure 5: each class against the nine others; a seed has other rows where there are."""
    X, y = images(data)
    X_test, y_test = images(data, "test")
    found, curves = {}, {}
    for digit in range(10):
        rows = np.roll(X[y == digit], -seed * args.rows, axis=0)[: args.rows]
        inside = y_test == digit
        typical = one_class_network(args, args.noise, seed).fit(rows)
        models = {
            "DAE": reconstruction_alone(typical),
            "DAE with typicality": typical,
            "COOL": make_classifier("COOL", args, seed).fit(rows, np.zeros(len(rows))),
            "one-class SVM": OneClassSVM(nu=0.1, gamma=0.1).fit(rows),
        }
        for name, model in models.items():
            scores = model.score_samples(X_test)
            found[str(digit), name] = {"auroc": auroc(inside, scores)}
            rate, hits, _ = roc_curve(inside, scores)
            curves.setdefault(name, []).append(np.interp(FALSE_POSITIVES, rate, hits))
    for name, each in curves.items():
        found["all", name] = {"hits": np.mean(each, axis=0).round(4)}
    return found


if __name__ == "__main__":
    main(__doc__, "spigler")
