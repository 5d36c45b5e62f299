"""Spigler: denoising autoencoders against overgeneralisation, on images.

Table I (fooling on MNIST), the open set, the blind spot, and one class against the nine
others; rings and tables are in ``spigler_tables.py``:

    python examples/papers/spigler.py fooling --network mlp --epochs 60   # or --network cnn
    python examples/papers/spigler.py open-set
    python examples/papers/spigler.py blind-spot
    python examples/papers/spigler.py one-class --rows 3000 --data fashion_mnist
    python examples/papers/figures.py spigler

The paper trains for 100 epochs on a GPU; ``--epochs``, ``--rows`` (of one-class: of each
class) and ``--max-updates`` fit the runs to the machine at hand, and are recorded with the
numbers. ``--alpha tuned`` loses few right answers, ``--start linear`` begins with the best
linear denoiser, ``--lr`` is of the fooling generators, ``--trials`` are for each class.
``--noise`` is instead of one with which three classes are told best among held-out training
images. Trained networks are kept in ``--cache``, so that an interrupted run goes on.
"""

import copy
from functools import partial
from itertools import combinations

import joblib
import numpy as np
import torch
from sklearn.metrics import roc_curve
from sklearn.svm import OneClassSVM
from torch import nn

from lab import Store, both, chosen, images, kept, parser
from sklearn_ood import COOLClassifier, DAEConfidence, SoftmaxClassifier
from sklearn_ood.inspection import fooling_rate
from sklearn_ood.metrics import auroc, open_set_f_measure, openness

METHODS = ("softmax", "COOL", "DAE tied")
THRESHOLDS = (0.9, 0.99)
PAPER_ALPHA = {0.9: 20.0, 0.99: 3.0}
N_HELD_OUT, NOISE = 5_000, 0.2
LOST_TO_ALPHA = 0.003
QUANTILES = (0.5, 0.95, 0.99)
NOISES, FALSE_POSITIVES = (0.05, 0.15, 0.3), np.linspace(0, 1, 101)
TRAINING = ("network", "width", "start", "epochs", "batch_size", "train_lr")
TRAINING += ("reconstruction_weight",)


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
            auc = auroc(*both(inside[name], scores))
            found[name] = {"auroc": auc, "accepted": (scores >= cut).mean()}
        store.put(found, "blind spot", made, **settings)


def one_class_network(noise, args):
    """The network of one class."""
    own = {"noise": noise, "coverage": 0.95, "reconstruction_weight": 5.0, "typicality": True}
    own |= chosen(args, "lr_schedule", "weight_decay") | {"input_shape": None}
    return make_classifier("DAE tied", args, **own)


def chosen_noise(X, y, args, store, settings):
    """The noise with the best AUC of three classes on training images held out."""
    held_out, labels = X[-N_HELD_OUT:], y[-N_HELD_OUT:]
    X, y = X[:-N_HELD_OUT], y[:-N_HELD_OUT]
    means = {}
    for noise in NOISES:
        areas = []
        for digit in (2, 5, 8):
            model = one_class_network(noise, args).fit(X[y == digit][: args.rows // 2])
            areas.append(auroc(labels == digit, model.score_samples(held_out)))
        means[noise] = np.mean(areas)
    found = {f"noise {noise}": {"auroc": area} for noise, area in means.items()}
    store.put(found, "one class, noise", args.data, **settings)
    return max(means, key=means.get)


def one_class(args, store):
    """Figure 5: each class against the nine others, beside a one-class SVM."""
    X, y, X_test, y_test = train_and_test(args.data)
    names = ("rows", "epochs", "batch_size", "lr_schedule", "weight_decay")
    settings = chosen(args, *names)
    settings["noise"] = args.noise or chosen_noise(X, y, args, store, settings)
    curves = {}
    for digit in range(10):
        rows, inside = X[y == digit][: args.rows], y_test == digit
        typical = one_class_network(settings["noise"], args).fit(rows)
        scores = {
            "DAE": without_typicality(typical).score_samples(X_test),
            "DAE with typicality": typical.score_samples(X_test),
            "one-class SVM": OneClassSVM(nu=0.1, gamma=0.1).fit(rows).score_samples(X_test),
        }
        areas = {name: {"auroc": auroc(inside, score)} for name, score in scores.items()}
        store.put(areas, f"one class {args.data}", str(digit), **settings)
        for name, score in scores.items():
            rate, hits, _ = roc_curve(inside, score)
            curves.setdefault(name, []).append(np.interp(FALSE_POSITIVES, rate, hits))
    means = {name: {"hits": np.mean(each, axis=0).round(4)} for name, each in curves.items()}
    store.put(means, f"one class {args.data}", "all", **settings)


SECTIONS = {
    "fooling": fooling,
    "open-set": open_set,
    "blind-spot": blind_spot,
    "one-class": one_class,
}
OPTIONS = """
    --network mlp --width 400 --start --epochs 20 --batch-size 64 --train-lr 1e-3
    --reconstruction-weight 20.0 --rows 60000 --seed 0 --data mnist
    --trials 20 --max-updates 10000 --lr 1e-5 --alpha paper
    --repeats 3 --known 1 2 3 4 5 6 7 8 9 10
    --lr-schedule --weight-decay 0.0 --noise"""


def main():
    cli = parser(__doc__, "spigler", OPTIONS, SECTIONS)
    cli.add_argument("--methods", nargs="+", default=METHODS)
    cli.add_argument("--targets", nargs="*", default=["unscaled", "scaled"])
    args = cli.parse_args()
    SECTIONS[args.part](args, Store("spigler", args.results))


if __name__ == "__main__":
    main()
