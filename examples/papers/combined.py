"""One default for tables, anomalies and images: combined evidence beside all peers.

``CombinedDetector(random_state=seed)`` throughout, its members alone, each member left out,
the other combinations, and what people would pick instead, on the same rows:

    python examples/papers/combined.py tables     # classes left out
    python examples/papers/combined.py anomalies  # trained on normal rows only
    python examples/papers/combined.py images     # MNIST beside three other sets
    python examples/papers/combined.py report     # writes docs/results/combined.md

Each dataset and seed is one entry of ``docs/results/combined.json``; entries that are there
are not run again. Peers train on all training rows; the combination holds a part of them out
to calibrate itself. AURC uses the labels of the combination's classifier for every score, so
that scores and not classifiers are compared. PyOD's detectors are among the peers for
tables and images where PyOD is installed.
"""

import argparse
import json
import pickle
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from net_peers import VirtualLogit, odin
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn_ood._conformal import combine
from sklearn_ood._scores import energy, max_proba

from sklearn_ood import (
    CombinedDetector,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    SoftmaxClassifier,
)
from sklearn_ood.datasets import load_images, load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import aurc_score, auroc, tnr_at_tpr
from sklearn_ood.model_selection import LeaveClassesOut

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined.json"
TABLES = ("pendigits_multiclass", "letter_recognition", "dry_bean")
ANOMALIES = (
    "cardio",
    "cover",
    "letter",
    "mammography",
    "musk",
    "pendigits",
    "satimage-2",
    "shuttle",
    "thyroid",
)
IMAGE = (1, 28, 28)
OUTSIDE = ("fashion_mnist", "omniglot", "notmnist")
METHODS = ("fisher", "cauchy", "min")
MAX_NORMAL_ROWS = 10_000
MAX_NEIGHBOR_ROWS = 10_000
LEVEL = 0.1


def scaled(estimator):
    """The estimator behind a standardisation."""
    return make_pipeline(StandardScaler(), estimator)


def score(estimator, X):
    """How in-distribution rows are, by whatever method the estimator has."""
    if hasattr(estimator, "decision_scores_"):  # PyOD: higher is more outlying
        return -estimator.decision_function(X)
    if hasattr(estimator, "score_samples"):
        return estimator.score_samples(X)
    return np.asarray(estimator.predict_proba(X)).max(axis=1)


def combinations(detector, X):
    """Scores of the fitted combination, its members, all but one of them, other methods.

    From one pass over the members. Calibrating a statistic again changes no rank, so that all
    but the combination itself are given as they are.
    """
    log_p = detector._member_log_p(X)
    names, method = list(detector.detectors_), detector.method_
    scores = {"combined": detector._scale.log_p(-combine(log_p, method))}
    for j, name in enumerate(names):
        scores[f"member: {name}"] = log_p[:, j]
        scores[f"without: {name}"] = -combine(np.delete(log_p, j, axis=1), method)
    others = [other for other in METHODS if other != method]
    return scores | {f"method: {other}": -combine(log_p, other) for other in others}


def table_peers(seed):
    """What people would pick for a table with classes."""
    four = GaussianMixtureGenerator(4, 1e-2, random_state=seed)
    one = GaussianMixtureGenerator(1, 1e-6, random_state=seed)
    net = SoftmaxClassifier(batch_size=256, max_epochs=60, random_state=seed)
    return {
        "Gaussian mixture a class": GenerativeClassifier(four),
        "Gaussian a class": GenerativeClassifier(one),
        "local outlier factor": scaled(LocalOutlierFactor(novelty=True)),
        "nearest row": scaled(NeighborDistance()),
        "random forest": RandomForestClassifier(random_state=seed),
        "gradient boosting": HistGradientBoostingClassifier(max_iter=60, random_state=seed),
        "MLP, max softmax": scaled(net),
        "isolation forest": IsolationForest(random_state=seed),
        "one-class SVM": scaled(OneClassSVM(nu=0.1)),
    } | pyod_peers(seed)


def pyod_peers(seed):
    """PyOD's autoencoder and ECOD, where PyOD is installed."""
    if not find_spec("pyod"):
        return {}
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.ecod import ECOD

    return {
        "PyOD AutoEncoder": AutoEncoder(random_state=seed, verbose=0),
        "PyOD ECOD": ECOD(),
    }


def anomaly_peers(seed):
    """What people would pick for a table of normal rows."""
    return {
        "local outlier factor": scaled(LocalOutlierFactor(novelty=True)),
        "k-NN (5)": scaled(NeighborDistance(5)),
        "isolation forest": IsolationForest(random_state=seed),
        "one-class SVM": scaled(OneClassSVM()),
    }


def run_table(name, seed, options):
    """Split ``seed`` of five: AUROC, TNR at 95 % TPR and AURC of every score."""
    X, y = load_tabular(name, return_X_y=True)
    splits = LeaveClassesOut(n_out=0.3, n_splits=5, random_state=0).split(X, y)
    train, test = list(splits)[seed]
    start = time.perf_counter()
    detector = CombinedDetector(random_state=seed).fit(X[train], y[train])
    seconds = time.perf_counter() - start
    answers = detector.predict(X[test])
    is_in = np.isin(y[test], detector.classes_)
    scores = combinations(detector, X[test])
    for label, peer in table_peers(seed).items():
        scores[label] = score(peer.fit(X[train], y[train]), X[test])
    return {
        "scores": {
            label: {
                "auroc": auroc(is_in, values),
                "tnr95": tnr_at_tpr(is_in, values),
                "aurc": aurc_score(y[test], answers, values),
            }
            for label, values in scores.items()
        },
        "accuracy": float((answers == y[test])[is_in].mean()),
        "refused": float((detector.p_values(X[test][is_in]) <= LEVEL).mean()),
        "fit seconds": seconds,
    }


def run_anomalies(name, seed, options):
    """Half of the normal rows train; the other half and the anomalies test."""
    X, y = load_tabular(name, return_X_y=True)
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(y == 0))[:MAX_NORMAL_ROWS]
    anomalies = rng.permutation(np.flatnonzero(y == 1))[: MAX_NORMAL_ROWS // 2]
    train, rest = np.array_split(normal, 2)
    test = np.append(rest, anomalies)
    detector = CombinedDetector(random_state=seed).fit(X[train])
    scores = combinations(detector, X[test])
    for label, peer in anomaly_peers(seed).items():
        scores[label] = score(peer.fit(X[train]), X[test])
    return {
        "scores": {
            label: {"auroc": auroc(y[test] == 0, values)} for label, values in scores.items()
        },
        "refused": float((detector.p_values(X[rest]) <= LEVEL).mean()),
    }


def some_rows(X, y, seed, n_rows):
    """A random part of the rows, at most ``n_rows``."""
    kept = np.random.RandomState(seed).permutation(len(X))[:n_rows]
    return X[kept].astype(np.float32), y[kept]


def taught(name, seed, options):
    """Training rows."""
    loaded = load_images(name, split="train", return_X_y=True)
    return some_rows(*loaded, seed, options.rows)


def fitted_on_images(name, seed, options):
    """The combination taught the images, from the cache where it was fitted before."""
    path = options.cache / f"combined_{name}_{seed}_{options.rows}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    X, y = taught(name, seed, options)
    start = time.perf_counter()
    detector = CombinedDetector(input_shape=IMAGE, random_state=seed)
    detector.fit(X, y)
    fitted = detector, time.perf_counter() - start
    options.cache.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(fitted))
    print(f"fitted in {fitted[1]:.0f} s", flush=True)
    return fitted


def image_peers(net, seed):
    """What people would pick for images; those that need a net share the combination's."""
    some = {"max_samples": MAX_NEIGHBOR_ROWS, "random_state": seed}
    peers = {
        "ODIN": FrozenEstimator(odin(net)),
        "ViM": VirtualLogit(net),
        f"k-NN (50), hidden layer, {MAX_NEIGHBOR_ROWS:,} rows": make_pipeline(
            NetFeatures(FrozenEstimator(net)), NeighborDistance(50, **some)
        ),
        f"nearest of {MAX_NEIGHBOR_ROWS:,} training images, pixels": NeighborDistance(**some),
        "PCA a class, reconstruction": GenerativeClassifier(
            PCAGenerator(64), similarity="l2", validation_fraction=0
        ),
        "isolation forest, pixels": IsolationForest(random_state=seed),
    }
    if find_spec("pyod"):
        peers["PyOD AutoEncoder, pixels"] = pyod_peers(seed)["PyOD AutoEncoder"]
    return peers


def fitted_image_peers(net, seed, X, y):
    """A function from rows to answers, and to scores of the same net and of others."""
    peers = image_peers(net, seed)
    for label, peer in peers.items():
        one_class = isinstance(peer, NeighborDistance) or label.startswith("k-NN")
        peer.fit(X, np.ones(len(X)) if one_class else y)

    def scores(rows):
        logits = net._logits(rows)
        return net.classes_[logits.argmax(axis=1)], {
            "max softmax": max_proba(logits),
            "energy": energy(logits),
            "max logit": logits.max(axis=1),
            "few lit pixels": -(rows > 0.5).sum(axis=1).astype(float),
        } | {label: score(peer, rows) for label, peer in peers.items()}

    return scores


def run_images(name, seed, options):
    """MNIST taught; AUROC against each other set, AURC with it and on MNIST alone."""
    detector, seconds = fitted_on_images(name, seed, options)
    peers = fitted_image_peers(detector.classifier_, seed, *taught(name, seed, options))
    X, y = some_rows(*load_images(name, split="test", return_X_y=True), seed, options.test_rows)
    answers, of_peers = peers(X)
    inside = combinations(detector, X) | of_peers
    scores = {label: {"aurc": aurc_score(y, answers, v)} for label, v in inside.items()}
    for outside in OUTSIDE:
        split = "all" if outside == "omniglot" else "test"
        loaded = load_images(outside, split=split, return_X_y=True)
        X_out, _ = some_rows(*loaded, seed, options.test_rows)
        is_in = np.arange(len(X) + len(X_out)) < len(X)
        truth = np.append(y, np.full(len(X_out), -1))
        answers_out, of_peers = peers(X_out)
        all_answers = np.append(answers, answers_out)
        for label, values in (combinations(detector, X_out) | of_peers).items():
            values = np.append(inside[label], values)
            scores[label][f"{outside} auroc"] = auroc(is_in, values)
            scores[label][f"{outside} tnr95"] = tnr_at_tpr(is_in, values)
            scores[label][f"{outside} aurc"] = aurc_score(truth, all_answers, values)
        print(outside, scores["combined"], flush=True)
    return {
        "scores": scores,
        "accuracy": float((answers == y).mean()),
        "refused": float((np.exp(inside["combined"]) <= LEVEL).mean()),
        "rows": options.rows,
        "test rows": options.test_rows,
        "fit seconds": seconds,
    }


PARTS = {
    "tables": (run_table, TABLES, 5),
    "anomalies": (run_anomalies, ANOMALIES, 3),
    "images": (run_images, ("mnist",), 3),
}


def read():
    """The results so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main():
    """Run what is not recorded yet, or write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*PARTS, "report"])
    parser.add_argument("--data", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--rows", type=int, default=60_000, help="images to teach")
    parser.add_argument("--test-rows", type=int, help="images of each set to test on")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    if arguments.part == "report":
        from combined_report import write

        write(read(), RESULTS.with_suffix(".md"))
        return
    run, names, n_seeds = PARTS[arguments.part]
    for seed in arguments.seeds or range(n_seeds):
        for name in arguments.data or names:
            scale = f" {arguments.rows}" if arguments.part == "images" else ""
            key = f"{arguments.part}/{name}{scale}/{seed}"
            if key in read():
                continue
            entry = run(name, seed, arguments)
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps(read() | {key: entry}, indent=1) + "\n")
            best = entry["scores"]["combined"]
            print(key, {k: round(v, 5) for k, v in best.items()}, flush=True)


if __name__ == "__main__":
    main()
