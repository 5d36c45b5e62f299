"""Generative classification knows when it does not know: the paper's experiments.

A model learns the digits (or Fashion-MNIST's clothes) and meets, among the test images, others
that it was never taught: 31,460 Omniglot characters, notMNIST's letters, clothes or digits.
Every answer to one of those is an error. The generative classifiers, a convolutional network,
simple scores and the hybrid (the network answers where the generative score is high) are
judged by AUROC and TNR at 95 % TPR (``images``), and by risk-coverage curves, as in the paper's
figure 9 (``risk``). Models and their scores are kept in the folder ``--cache``.

    python examples/papers/generative.py images --data mnist --methods cnn vae
    python examples/papers/generative.py risk --data "mnist and omniglot" --methods cnn vae
    python examples/papers/figures.py generative

On tables, five splits leave 30 % of the classes out of training; their rows and 30 % of the
others' are the test. Features are standardised on the training part. The area under the
risk-coverage curve (AURC) is with one network's labels, an answer to a class left out being an
error. ``auto`` is ``GenerativeClassifier()`` as it comes: its mixture is chosen by classes held
out of the training part.

    python examples/papers/generative.py tables --data dry_bean

On scikit-learn's digits (8x8) three splits say what a GAN names rightly, as rows and as images:

    python examples/papers/generative.py digits
"""

from collections import ChainMap
from functools import partial
from time import process_time

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import Normalizer

import lab
import sklearn_ood as ood
from peers import LitPixels, OneClass, named, odin, on_layer, rescored, virtual_logit
from sklearn_ood.generators import GAN, VAE, GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import coverage_at_risk, risk_coverage_curve

OUTSIDE = {
    "mnist": ("fashion_mnist", "omniglot", "notmnist"),
    "fashion_mnist": ("mnist", "notmnist"),
}
PAIRS = [f"{taught} and {other}" for taught, others in OUTSIDE.items() for other in others]
COVERAGES = np.linspace(0.02, 1, 50)
HYBRID = " + cnn's labels"
ALONE = "gan, adversarial loss alone"
SMALL = "knn", "gan", "gan, images", ALONE, "gan, images, adversarial loss alone"
PEERS = (
    *("GaussianMixture(1) a class", "GaussianMixture(4) a class", "random forest"),
    *("isolation forest", "local outlier factor", "nearest row"),
)
EFFORT = "--rows --epochs 0 --test-rows"
OF_A_GAN = ("max_epochs", "min_steps", "batch_size", "lr", "cycle_weight", "gradient_penalty")

# Taught all rows: what ``predict_proba`` would be calibrated on is not held out.
taught_all = partial(ood.GenerativeClassifier, validation_fraction=0)


def makers(epochs=0, fitted=None, seed=0):
    """How models are made, by name; ``fitted`` gives another one that has learned the same.

    The network; what has its labels, in the space of its layers; and what stands by itself.
    """
    seeded = {"random_state": seed}
    generative, conv = partial(taught_all, **seeded), partial(on_layer, layer="conv")
    cnn = {"module": "small_cnn", "input_shape": lab.IMAGE, "max_epochs": epochs or 5}
    cnn |= {"batch_size": 128, "lr": 2e-3, "lr_schedule": "cosine"}
    gan, few = GAN(max_epochs=epochs or 8, **seeded), {"n_candidates": 1024, "max_iter": 4}
    of_the_cnn = {
        "cnn, energy": lambda: rescored(fitted("cnn"), score_function="energy"),
        "cnn, ODIN": lambda: odin(fitted("cnn")),
        "cnn, ViM": lambda: virtual_logit(fitted("cnn")),
        "cnn features, 50-NN": lambda: on_layer(fitted("cnn"), Normalizer(), OneClass(50)),
        "cnn features, pca": lambda: on_layer(fitted("cnn"), generative("pca")),
        "cnn conv features, pca": lambda: conv(fitted("cnn"), generative("pca")),
    }
    by_themselves = {
        "vae": lambda: generative(VAE(max_epochs=epochs or 20, **seeded)),
        "vae, likelihood": lambda: at_the_mean(fitted("vae")),
        "gan": lambda: generative(gan, **few),
        ALONE: lambda: generative(clone(gan).set_params(cycle_weight=0.0), **few),
        "gan, encoder": lambda: at_the_encoder(fitted("gan")),
        "knn": lambda: generative("knn"),
        "pca, likelihood": lambda: generative("pca"),
        "pca 64, l2": lambda: generative(PCAGenerator(64), similarity="l2"),
        "isolation forest": lambda: IsolationForest(**seeded),
        "lit pixels": LitPixels,
        "cnn conv features, knn": lambda: conv(fitted("cnn"), Normalizer(), generative("knn")),
    }
    return {"cnn": lambda: ood.SoftmaxClassifier(**cnn, **seeded)}, of_the_cnn, by_themselves


_, OF_THE_CNN, BY_THEMSELVES = makers()
NAMES = ("cnn", "cnn, float32", *OF_THE_CNN, *BY_THEMSELVES)
HYBRIDS = [*NAMES, *(name + HYBRID for name in BY_THEMSELVES)]


def at_the_mean(vae):
    """A VAE's other similarity: its terms at the encoder's mean, which are no bound."""
    return FrozenEstimator(lab.altered(vae, similarity_="likelihood"))


def at_the_encoder(gan):
    """A GAN's answers at the latents that its discriminator tells, without a search."""
    return FrozenEstimator(lab.altered(gan, search="encoder", steps_=0, bank_=None))


def of_digits(name, seed=0):
    """A classifier of small digits, by the name of its generator."""
    shape = (1, 8, 8) if "images" in name else None
    cycle = {"cycle_weight": 0.0} if "alone" in name else {}
    gan = GAN(input_shape=shape, random_state=seed, **cycle)
    generator = gan if "gan" in name else name
    return taught_all(generator, n_candidates=512, max_iter=20, random_state=0)


def told(args, name):
    """What was chosen for a GAN and its search, for the key of its results."""
    if "gan" not in name:
        return {}
    if args.part == "digits":
        classifier = of_digits(name)
    else:
        classifier = makers(args.epochs)[2][name if name == ALONE else "gan"]()
    of_gan = {key: getattr(classifier.generator, key) for key in OF_A_GAN}
    return of_gan | lab.chosen(classifier, "n_candidates", "max_iter")


def trained(name, taught, args, seed=0):
    """A model, what its fit cost, and on how many rows; from the cache where it is there."""
    X, y = (part[: args.rows] for part in lab.images(taught))
    file = args.cache / f"{taught}-{name}-{len(X)}-{args.epochs}-{seed}.joblib"

    def fitted(other):
        return trained(other, taught, args, seed)[0]

    def fit():
        model = ChainMap(*makers(args.epochs, fitted, seed))[name]()
        return lab.timed(model.fit, X, y, clock=process_time)

    (model, spent), seconds = lab.kept(file, fit)
    cost = {"fit_seconds": seconds, "fit, processor seconds": spent, "training_rows": len(X)}
    return model, cost


def asked(name, taught, args, seed):
    """Scores, and labels where a model has any, of all test sets, and what that cost."""
    model, cost = trained(name, taught, args, seed)

    def answered(where):
        rows = lab.test_images(where)[0][: args.test_rows]
        if not hasattr(model, "predict_proba"):
            return {"score": model.score_samples(rows)}
        evidence = model.decision_function(rows)
        return {"score": evidence.max(axis=1), "label": model.classes_[evidence.argmax(axis=1)]}

    sets = taught, *OUTSIDE[taught]
    said, seconds = lab.timed(lambda: {where: answered(where) for where in sets})
    return said, cost | {"score_seconds": seconds}


def scores_of(name, taught, args, seed):
    """The same from the cache; the network also as float32 has it."""
    if name == "cnn, float32":
        said, cost = scores_of("cnn", taught, args, seed)
        for each in said.values():
            each["score"] = np.exp(each["score"]).astype(np.float32)
        return said, cost
    size = f"{args.rows}-{args.epochs}-{args.test_rows}-{seed}"
    file = args.cache / f"{taught}-{name}-{size}.scores"
    return lab.kept(file, asked, name, taught, args, seed)[0]


def both(said, naming, taught, outside, args):
    """Labels of what was taught, and of both sets the answers of ``naming`` and the scores."""
    truth = lab.test_images(taught)[1][: args.test_rows]
    sets = ((naming[each]["label"], said[each]["score"]) for each in (taught, outside))
    return truth, *sets


@lab.Experiment("images", OUTSIDE, NAMES, 3, settings=told, effort=EFFORT)
def images(args, taught, seed, name):
    """Accuracy, costs and scores of one model; the AURC is with the network's labels."""
    said, metrics = scores_of(name, taught, args, seed)
    cnn, _ = scores_of("cnn", taught, args, seed)
    for outside in OUTSIDE[taught]:
        truth, *sets = both(said, cnn, taught, outside, args)
        metrics |= lab.beside(outside, truth, *sets)
    naming = cnn if name in OF_THE_CNN else said
    if "label" in naming[taught]:
        metrics["accuracy"] = (naming[taught]["label"] == truth).mean()
    return metrics


@lab.Experiment("risk", PAIRS, HYBRIDS, 5, effort=EFFORT)
def risk(args, pair, seed, method):
    """The curve of all that name classes, and of hybrids with the network's names."""
    (taught, outside), name = pair.split(" and "), method.removesuffix(HYBRID)
    is_one = method.endswith(HYBRID) and not name.startswith("cnn")  # for all networks
    said, _ = scores_of(name, taught, args, 0 if is_one else seed)
    cnn, _ = scores_of("cnn", taught, args, seed)
    naming = cnn if method in OF_THE_CNN or method not in NAMES else said
    if "label" not in naming[taught]:
        return {}
    curve = selective(*lab.joined(*both(said, naming, taught, outside, args)))
    if method not in BY_THEMSELVES:
        least = selective(*lab.joined(*both(cnn, cnn, taught, outside, args)))["risk"]
        curve["most above the network"] = max(np.subtract(curve["risk"], least).max(), 0.0)
    return curve


def selective(labels, answers, score):
    """The risk-coverage curve at 50 coverages, and what is read off it."""
    coverage, risk, _ = risk_coverage_curve(labels, answers, score)
    # A tied block is taken whole.
    first = int(np.searchsorted(coverage, 0.05 * (1 - 1e-9)))
    return {
        "lowest risk": risk.min(),
        "coverage without error": coverage_at_risk(labels, answers, score, risk=0.0),
        "errors in the first 5 %": round(coverage[first] * risk[first] * len(labels)),
        "coverage at 1 % risk": coverage_at_risk(labels, answers, score, risk=0.01),
        "risk": np.interp(COVERAGES, coverage, risk).round(5).tolist(),
    }


@lab.Experiment("tables", lab.CLASS_TABLES, seeds=5, options="--rows")
def tables(args, name, seed):
    """One split of a table: every model's score, judged with the network's answers."""
    X, y = lab.table(name, args.rows)
    net, seeded = {"hidden_layer_sizes": (128, 128), "max_epochs": 60}, {"random_state": seed}
    four = GaussianMixtureGenerator(4, reg_covar=1e-3)
    models = {
        "MLP, max softmax": ood.SoftmaxClassifier(batch_size=128, **net, **seeded),
        "auto": ood.GenerativeClassifier(**seeded),
        "gmm, 4 components": ood.GenerativeClassifier(four, **seeded),
        "knn": ood.GenerativeClassifier("knn", **seeded),
        "pca, l2": ood.GenerativeClassifier("pca", similarity="l2", **seeded),
        "pca, likelihood": ood.GenerativeClassifier("pca", **seeded),
    } | named(seed, *PEERS)
    return lab.compared(models, X, y, *lab.left_out(y, seed), answering="MLP, max softmax")


@lab.Experiment("digits", ("digits",), SMALL, 3, settings=told)
def digits(args, data, seed, name):
    """Accuracy on scikit-learn's digits, 30 % of them to test, and seconds of the processor."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X / 16, y, test_size=0.3, stratify=y, random_state=seed
    )
    classifier = of_digits(name, seed)
    _, spent = lab.timed(classifier.fit, X, y, clock=process_time)
    return {"accuracy": classifier.score(X_test, y_test), "fit, processor seconds": spent}


if __name__ == "__main__":
    lab.main(__doc__, "generative")
