"""How the default members were chosen: by classes held out within training rows.

    python examples/papers/combined_selection.py tables   # about ten minutes on two cores
    python examples/papers/combined_selection.py mnist    # likewise

For each table, the training rows of the first three splits of ``combined.py tables`` are split
again by classes, twice each; what tests in a split of that script is not seen in the same
split here, though a class may test in one and teach in another. Every candidate combines
log p-values of the same fitted members. For images, three digits are left out of 30,000
training images of MNIST, twice. The result, in ``docs/results/combined_selection.json``, is
shown by ``combined.py report``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn_ood._neighbors import DistinctLocalOutlierFactor

from sklearn_ood import (
    CombinedDetector,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    SoftmaxClassifier,
)
from sklearn_ood.datasets import load_images, load_tabular
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.metrics import aurc_score, auroc
from sklearn_ood.model_selection import LeaveClassesOut

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "combined_selection.json"
TABLES = ("dry_bean", "letter_recognition", "pendigits_multiclass")
N_OUTER, N_INNER, LEFT_OUT = 3, 2, 0.3
SIZES = {"mixture 1": 1e-3, "mixture 4": 1e-2, "mixture 8": 1e-2, "mixture 16": 1e-2}
CANDIDATES = (
    ("confidence", "mixture", "mixture 8", "mixture 16"),
    ("confidence", "mixture 4", "mixture 8", "mixture 16"),
    ("confidence", "mixture 1", "mixture 4", "mixture 8", "mixture 16"),
    ("confidence", "mixture 8", "mixture 16"),
    ("confidence", "mixture", "mixture 4"),
    ("confidence", "mixture", "mixture 8", "mixture 16", "neighbors"),
    ("confidence", "mixture", "neighbors"),
    ("confidence", "mixture", "local outlier factor"),
    ("confidence", "mixture", "neighbors", "local outlier factor"),
    ("confidence", "mixture", "pca"),
    ("confidence", "mixture"),
    ("mixture 4", "mixture 8", "mixture 16"),
    ("mixture",),
    ("neighbors",),
    ("5 neighbors",),
)


IMAGE = (1, 28, 28)
IMAGE_ROWS, LEARNED_ROWS, CALIBRATION_ROWS, JUDGED_ROWS = 30_000, 18_000, 3_000, 7_000
IMAGE_CANDIDATES = (
    ("confidence", "conv pca", "conv neighbors, angle"),
    ("confidence", "conv pca", "conv neighbors, angle", "pixel pca"),
    ("confidence", "conv neighbors, angle", "pixel pca"),
    ("confidence", "conv pca", "pixel pca"),
    ("confidence", "conv neighbors, angle"),
    ("confidence", "conv pca", "conv neighbors"),
    ("confidence", "conv pca", "pixel neighbors"),
    ("confidence", "conv pca"),
    ("energy", "conv pca", "conv neighbors, angle"),
    ("energy", "conv neighbors", "hidden neighbors", "pixel pca"),
    ("confidence",),
    ("energy",),
    ("conv pca",),
    ("conv neighbors, angle",),
    ("conv neighbors",),
    ("hidden neighbors",),
    ("pixel pca",),
    ("pixel neighbors",),
)


def generated(generator):
    """A generative classifier that needs no calibration of its own."""
    return GenerativeClassifier(generator, validation_fraction=0)


def image_members(net):
    """Everything that a candidate for images may consist of; ``net`` is trained."""
    conv = NetFeatures(FrozenEstimator(net), "conv")
    hidden = NetFeatures(FrozenEstimator(net))

    def neighbors():
        return NeighborDistance(max_samples=10_000, random_state=0)

    energy = SoftmaxClassifier.from_module(
        net.net_.module_.network, net.classes_, IMAGE, confidence="energy"
    )
    return {
        "confidence": "classifier",
        "energy": FrozenEstimator(energy),
        "conv pca": make_pipeline(conv, generated(PCAGenerator(32))),
        "conv neighbors": make_pipeline(conv, neighbors()),
        "conv neighbors, angle": make_pipeline(conv, Normalizer(), neighbors()),
        "hidden neighbors": make_pipeline(hidden, neighbors()),
        "pixel pca": generated(PCAGenerator(32)),
        "pixel neighbors": neighbors(),
    }


def members():
    """Everything that a candidate for tables may consist of."""

    def scaled(estimator):
        return make_pipeline(StandardScaler(), estimator)

    return [
        ("confidence", "classifier"),
        ("mixture", generated("gmm")),
        ("neighbors", scaled(NeighborDistance())),
        ("5 neighbors", scaled(NeighborDistance(5))),
        ("pca", scaled(generated("pca"))),
        ("local outlier factor", scaled(DistinctLocalOutlierFactor(novelty=True))),
        *(
            (name, generated(GaussianMixtureGenerator(int(name.split()[1]), ridge)))
            for name, ridge in SIZES.items()
        ),
    ]


def inner_splits(X, y):
    """Rows to learn from and to judge by, within the training rows of each outer split."""
    outer = LeaveClassesOut(LEFT_OUT, n_splits=5, random_state=0)
    for seed, (training, _) in enumerate(outer.split(X, y)):
        if seed == N_OUTER:
            return
        inner = LeaveClassesOut(LEFT_OUT, n_splits=N_INNER, random_state=100 + seed)
        for learn, judge in inner.split(X[training], y[training]):
            yield seed, training[learn], training[judge]


def judged(names, log_p, y, answers, is_in, candidates=CANDIDATES):
    """AUROC and AURC of every candidate on one inner split."""
    judged = {}
    for candidate in candidates:
        score = log_p[:, [names.index(name) for name in candidate]].sum(axis=1)
        judged[" + ".join(candidate)] = {
            "auroc": float(auroc(is_in, score)),
            "aurc": float(aurc_score(y, answers, score)),
        }
    return judged


def select_tables():
    """The candidates' measures on every inner split of every table."""
    return {
        table: [
            judge_split(
                CombinedDetector(detectors=members(), random_state=seed).fit(
                    X[learn], y[learn]
                ),
                X[judge],
                y[judge],
                CANDIDATES,
            )
            for seed, learn, judge in inner_splits(X, y)
        ]
        for table in TABLES
        for X, y in [load_tabular(table, return_X_y=True)]
    }


def select_images():
    """The same on MNIST, three digits left out."""
    X, y = load_images("mnist", split="train", return_X_y=True)
    rows = np.random.RandomState(7).permutation(len(X))[:IMAGE_ROWS]
    X, y = X[rows].astype(np.float32), y[rows]
    splits = LeaveClassesOut(LEFT_OUT, n_splits=N_INNER, random_state=5).split(X, y)
    results = []
    for seed, (learn, judge) in enumerate(splits):
        learn, judge = learn[:LEARNED_ROWS], judge[:JUDGED_ROWS]
        calibrate, learn = np.split(learn, [CALIBRATION_ROWS])
        net = SoftmaxClassifier(
            input_shape=IMAGE, max_epochs=5, lr_schedule="cosine", random_state=seed
        ).fit(X[learn], y[learn])
        fitted = [
            (name, member if isinstance(member, str) else member.fit(X[learn], y[learn]))
            for name, member in image_members(net).items()
        ]
        detector = CombinedDetector(
            FrozenEstimator(net), fitted, calibration="prefit", input_shape=IMAGE
        )
        detector.fit(X[calibrate], y[calibrate])
        results.append(judge_split(detector, X[judge], y[judge], IMAGE_CANDIDATES))
    return {"mnist": results}


def judge_split(detector, X, y, candidates):
    """The candidates' measures on one inner split."""
    log_p = detector._member_log_p(detector._for_members(X))
    is_in = np.isin(y, detector.classes_)
    return judged(list(detector.detectors_), log_p, y, detector.predict(X), is_in, candidates)


def main():
    """Run one part and update the results."""
    parts = {"tables": select_tables, "mnist": select_images}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=list(parts))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= parts[parser.parse_args().part]()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
