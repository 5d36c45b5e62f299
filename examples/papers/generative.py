"""Generative classification knows when it does not know: the paper's experiments.

A model learns the digits (or Fashion-MNIST's clothes) and meets, among the test images, others
that it was never taught: 31,460 Omniglot characters, notMNIST's letters, clothes or digits.
Every answer to one of those is an error. The generative classifiers, a convolutional network,
simple scores and the hybrid (the network answers where the generative score is high) are
judged by risk-coverage curves, as in the paper's figure 9, and by AUROC and TNR at 95 % TPR.
Each model is one run, and keeps its scores in the folder ``--cache``; ``judge`` makes results
of what has been run:

    python examples/papers/generative.py mnist vae
    python examples/papers/generative.py mnist cnn
    python examples/papers/generative.py mnist judge
    python examples/papers/figures.py generative

On tables, five splits leave 30 % of the classes out of training; their rows and 30 % of the
others' are the test. Features are standardised on the training part. The area under the
risk-coverage curve (AURC) is with one network's labels, an answer to a class left out being an
error. ``auto`` is ``GenerativeClassifier()`` as it comes: its mixture is chosen by classes held
out of the training part.

    python examples/papers/generative.py tables dry_bean   # and the other tables

On scikit-learn's digits (8x8) three splits say what a GAN names rightly, as rows and as images:

    python examples/papers/generative.py digits gan        # "gan, images", knn
"""

import copy
from functools import partial
from time import process_time

import joblib
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from lab import (
    CLASS_TABLES,
    Store,
    chosen,
    images,
    kept,
    measured,
    parser,
    table,
    test_images,
    timed,
)
from peers import ClassMixtures, LitPixels, detectors, odin, rescored, score, virtual_logit
from sklearn_ood import GenerativeClassifier, NeighborDistance, NetFeatures, SoftmaxClassifier
from sklearn_ood.generators import GAN, VAE, GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import aurc_score, coverage_at_risk, risk_coverage_curve
from sklearn_ood.model_selection import LeaveClassesOut

OUTSIDE = {
    "mnist": ("fashion_mnist", "omniglot", "notmnist"),
    "fashion_mnist": ("mnist", "notmnist"),
}
IMAGE = (1, 28, 28)
CNN = {"module": "small_cnn", "input_shape": IMAGE, "batch_size": 128, "lr": 2e-3}
CNN |= {"lr_schedule": "cosine", "random_state": 0}
COVERAGES = np.linspace(0.02, 1, 50)
N_DIGITS_SPLITS = 3

# Taught all rows: what ``predict_proba`` would be calibrated on is not held out.
generative = partial(GenerativeClassifier, validation_fraction=0, random_state=0)


def models(epochs=0, trained=None):
    """Everything that can be run, by name; ``trained`` gives the network of an earlier run."""
    seeded = {"random_state": 0}
    return {
        "cnn": lambda: SoftmaxClassifier(max_epochs=epochs or 5, **CNN),
        "vae": lambda: generative(VAE(max_epochs=epochs or 20, **seeded)),
        "gan": lambda: generative(
            GAN(max_epochs=epochs or 8, **seeded), n_candidates=1024, max_iter=4
        ),
        "knn": lambda: generative("knn"),
        "pca, likelihood": lambda: generative("pca"),
        "pca 64, l2": lambda: generative(PCAGenerator(64), similarity="l2"),
        "isolation forest": lambda: IsolationForest(**seeded),
        "lit pixels": LitPixels,
        "cnn conv features, knn": lambda: make_pipeline(
            NetFeatures(FrozenEstimator(trained("cnn")), layer="conv"),
            Normalizer(),
            generative("knn"),
        ),
    }


def in_its_layers(net, X, y):
    """A trained network's scores, and those of others in the space of its layers."""
    hidden, conv = (
        NetFeatures(FrozenEstimator(net), layer=layer) for layer in ("hidden", "conv")
    )
    nearest = make_pipeline(hidden, Normalizer(), NeighborDistance(50))
    return {
        "cnn": net,
        "cnn, energy": rescored(net, score_function="energy"),
        "cnn, ODIN": odin(net),
        "cnn, ViM": virtual_logit(net).fit(X),
        "cnn features, 50-NN": nearest.fit(X, np.ones(len(X))),
        "cnn features, pca": make_pipeline(hidden, generative("pca")).fit(X, y),
        "cnn conv features, pca": make_pipeline(conv, generative("pca")).fit(X, y),
    }


def at_the_mean(vae):
    """A VAE's other similarity: its terms at the encoder's mean, which are no bound."""
    vae = copy.copy(vae)
    vae.similarity_ = "likelihood"
    return vae


def settings_of(classifier):
    """What was chosen for a GAN and its search, for the key of its results."""
    parameters = classifier.get_params()
    names = ("max_epochs", "min_steps", "batch_size", "lr", "cycle_weight", "gradient_penalty")
    of_gan = {name: parameters[f"generator__{name}"] for name in names}
    return of_gan | chosen(classifier, "n_candidates", "max_iter")


def at_the_encoder(gan):
    """A GAN's answers at the latents that its discriminator tells, without a search."""
    gan = copy.copy(gan)
    gan.search, gan.steps_, gan.bank_ = "encoder", 0, None
    return gan


def answered(model, rows):
    """Scores, and labels where the model has any, of one test set."""
    if not hasattr(model, "predict_proba"):
        return {"score": model.score_samples(rows)}
    evidence = model.decision_function(rows)
    return {"score": evidence.max(axis=1), "label": model.classes_[evidence.argmax(axis=1)]}


def run(taught, name, args):
    """Fit one model and keep its scores of every test set, going on where it was stopped."""
    X, y = images(taught)
    if args.rows_a_class:
        some = [np.flatnonzero(y == k)[: args.rows_a_class] for k in range(10)]
        X, y = X[np.concatenate(some)], y[np.concatenate(some)]

    def trained(net):
        return joblib.load(args.cache / f"{taught}-{net}.joblib")[0][0]

    make = models(args.epochs, trained)[name]
    file = args.cache / f"{taught}-{name}.joblib"
    (model, spent), fit_seconds = kept(file, lambda: fitted(make(), X, y))
    variants = in_its_layers(model, X, y) if name == "cnn" else {name: model}
    if name == "vae":
        variants["vae, likelihood"] = at_the_mean(model)
    if name == "gan":
        variants = {"gan, encoder": at_the_encoder(model)} | variants
    for variant, scorer in variants.items():
        path = args.cache / f"{taught}-{variant}.scores"
        found = joblib.load(path) if path.exists() else {"score_seconds": 0.0}
        found |= {"fit_seconds": fit_seconds, "training_rows": len(X)}
        found["fit, processor seconds"] = spent
        found["settings"] = settings_of(model) if "gan" in name else {}
        for outside in (taught, *OUTSIDE[taught]):
            if outside not in found:
                rows = test_images(outside)[0][: args.test_rows]
                found[outside], seconds = timed(partial(answered, scorer, rows))
                if "cnn" in variants:
                    found[outside]["label"] = model.predict(rows)
                found["score_seconds"] += seconds
                joblib.dump(found, path)
                print(variant, outside, "done", flush=True)


def scored(taught, cache):
    """What ``run`` has kept, by model; the network also as float32 has it."""
    files = sorted(cache.glob(f"{taught}-*.scores"))
    found = {file.stem.removeprefix(f"{taught}-"): joblib.load(file) for file in files}
    if "cnn" in found:
        single = found["cnn, float32"] = dict(found["cnn"])
        for name in {taught, *OUTSIDE[taught]} & single.keys():
            score = np.exp(single[name]["score"]).astype(np.float32)
            single[name] = single[name] | {"score": score}
    return found


def judge(taught, args):
    """All metrics of all models that were taught one data set."""
    store, truth = Store("generative", args.results), test_images(taught)[1][: args.test_rows]
    found = scored(taught, args.cache)
    part = {"rows": 10 * args.rows_a_class} if args.rows_a_class else {}
    for model in found.values():
        if "label" in model[taught]:
            model["accuracy"] = (model[taught]["label"] == truth).mean()
    for outside in OUTSIDE[taught]:
        judged = {name: model for name, model in found.items() if outside in model}
        curves = curves_of(judged, taught, outside, truth)
        store.put(
            curves, "risk of a part" if part else "risk", f"{taught} and {outside}", **part
        )
    for name, model in found.items():
        numbers = {key: value for key, value in model.items() if not isinstance(value, dict)}
        settings = part | model.get("settings", {})
        store.put(
            {name: numbers}, "part of the images" if part else "images", taught, **settings
        )


def curves_of(judged, taught, outside, truth):
    """Risk and coverage of all that name classes, and of hybrids with the network's names.

    The models get their metrics beside another set.
    """
    curves, hybrids, network = {}, set(), judged.get("cnn")
    for name, model in judged.items():
        values = np.r_[model[taught]["score"], model[outside]["score"]]
        labels = np.r_[truth, np.full(len(values) - len(truth), -1)]
        found = measured(labels >= 0, values)
        model |= {f"{outside} {metric}": value for metric, value in found.items()}
        for is_hybrid, answering in enumerate((model, network)):
            if answering is not None and "label" in answering[taught]:
                answers = np.r_[answering[taught]["label"], answering[outside]["label"]]
                curve = selective(labels, answers, values)
                if is_hybrid:
                    model[f"{outside} aurc"] = curve["aurc"]
                    name += " + cnn's labels" if curve != curves.get(name) else ""
                    hybrids.add(name)
                curves[name] = curve
    for name in hybrids:
        above = np.subtract(curves[name]["risk"], curves["cnn"]["risk"]).max()
        curves[name]["most above the network"] = max(above, 0.0)
    return curves


def selective(labels, answers, score):
    """The risk-coverage curve at 50 coverages, and what is read off it."""
    coverage, risk, _ = risk_coverage_curve(labels, answers, score)
    # A tied block is taken whole.
    first = int(np.searchsorted(coverage, 0.05 * (1 - 1e-9)))
    return {
        "aurc": aurc_score(labels, answers, score),
        "lowest risk": risk.min(),
        "coverage without error": coverage_at_risk(labels, answers, score, risk=0.0),
        "errors in the first 5 %": round(coverage[first] * risk[first] * len(labels)),
        "coverage at 1 % risk": coverage_at_risk(labels, answers, score, risk=0.01),
        "risk": np.interp(COVERAGES, coverage, risk).round(5).tolist(),
    }


def table_models(seed):
    """Ours and peers, by the name they have in the results."""
    four = GaussianMixtureGenerator(4, reg_covar=1e-3)
    names = ("isolation forest", "local outlier factor", "nearest row")
    return {
        "GaussianMixture(1) a class": ClassMixtures(1, seed),
        "GaussianMixture(4) a class": ClassMixtures(4, seed),
        "MLP, max softmax": SoftmaxClassifier(
            hidden_layer_sizes=(128, 128), max_epochs=60, batch_size=128, random_state=seed
        ),
        "random forest": RandomForestClassifier(200, random_state=seed),
        "auto": GenerativeClassifier(random_state=seed),
        "gmm, 4 components": GenerativeClassifier(four, random_state=seed),
        "knn": GenerativeClassifier("knn", random_state=seed),
        "pca, l2": GenerativeClassifier("pca", similarity="l2", random_state=seed),
        "pca, likelihood": GenerativeClassifier("pca", random_state=seed),
    } | {name: detectors(seed)[name] for name in names}


def run_table(X, y, train, test, seed):
    """One split of a table: every model's score, judged with the network's answers."""
    scaler = StandardScaler().fit(X[train])
    rows, queries = scaler.transform(X[train]), scaler.transform(X[test])
    fitted = {name: model.fit(rows, y[train]) for name, model in table_models(seed).items()}
    inside, answers = np.isin(y[test], y[train]), fitted["MLP, max softmax"].predict(queries)
    found = {}
    for name, model in fitted.items():
        found[name] = measured(inside, score(model, queries), y[test], answers)
        if hasattr(model, "predict_proba"):
            found[name]["accuracy"] = (model.predict(queries) == y[test])[inside].mean()
    return found


def run_tables(name, args):
    """All splits of a table."""
    X, y = table(name, args.rows)
    store = Store("generative", args.results)
    for seed, split in enumerate(LeaveClassesOut(0.3, n_splits=5, random_state=0).split(X, y)):
        compute = partial(run_table, X, y, *split, seed)
        store.run(compute, "tables", name, seed=seed, rows=args.rows)


def run_digits(name, args):
    """Accuracy on scikit-learn's digits, 30 % of them to test, and seconds of the processor."""
    store = Store("generative", args.results)
    X, y = load_digits(return_X_y=True)
    for seed in range(N_DIGITS_SPLITS):
        rows, test, labels, truth = train_test_split(
            X / 16, y, test_size=0.3, stratify=y, random_state=seed
        )
        generators = {
            "gan": GAN(random_state=seed),
            "gan, images": GAN(input_shape=(1, 8, 8), random_state=seed),
            "knn": "knn",
        }
        classifier = generative(generators[name], n_candidates=512, max_iter=20)
        compute = partial(name_digits, classifier, rows, labels, test, truth)
        settings = settings_of(classifier) if "gan" in name else {}
        store.run(compute, "digits", "digits", name, seed=seed, **settings)


def name_digits(classifier, rows, labels, test, truth):
    """Accuracy of generative classification, and what fitting cost."""
    classifier, spent = fitted(classifier, rows, labels)
    return {"accuracy": classifier.score(test, truth), "fit, processor seconds": spent}


def fitted(model, X, y):
    """A model after its fit, and the seconds of the processor that this took."""
    start = process_time()
    return model.fit(X, y), process_time() - start


def main():
    options = "--epochs 0 --rows-a-class 0 --test-rows --rows --threads 2"
    cli = parser(__doc__, "generative", options, [*OUTSIDE, "tables", "digits"])
    cli.add_argument("model", choices=[*models(), "judge", "gan, images", *CLASS_TABLES])
    args = cli.parse_args()
    if args.part == "tables":
        run_tables(args.model, args)
    elif args.part == "digits":
        run_digits(args.model, args)
    elif args.model == "judge":
        judge(args.part, args)
    else:
        torch.set_num_threads(args.threads)
        run(args.part, args.model, args)


if __name__ == "__main__":
    main()
