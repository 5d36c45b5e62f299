"""How the default members were chosen: by classes held out within training rows.

    python examples/papers/combined_selection.py tables   # about ten minutes on two cores
    python examples/papers/combined_selection.py mnist    # likewise

For each table, the training rows of the first three splits of ``combined.py tables`` are split
again by classes, twice each; what tests in a split of that script is not seen in the same
split here, though a class may test in one and teach in another. Every candidate combines the
same fitted members. For images, three digits are left out of 30,000 training images of MNIST,
twice.
"""

from functools import partial

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from combined import IMAGE, recombined, some_images
from lab import CLASS_TABLES, Store, images, measured, parser, table
from peers import DistinctLocalOutlierFactor, rescored, scaled
from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    SoftmaxClassifier,
)
from sklearn_ood.generators import GaussianMixtureGenerator, PCAGenerator
from sklearn_ood.model_selection import LeaveClassesOut

N_OUTER, N_INNER, LEFT_OUT = 3, 2, 0.3
SIZES = {"mixture 1": 1e-3, "mixture 4": 1e-2, "mixture 8": 1e-2, "mixture 16": 1e-2}
CANDIDATES = (
    "confidence + mixture + mixture 8 + mixture 16",
    "confidence + mixture 4 + mixture 8 + mixture 16",
    "confidence + mixture 1 + mixture 4 + mixture 8 + mixture 16",
    "confidence + mixture 8 + mixture 16",
    "confidence + mixture + mixture 4",
    "confidence + mixture + mixture 8 + mixture 16 + neighbors",
    "confidence + mixture + neighbors",
    "confidence + mixture + local outlier factor",
    "confidence + mixture + neighbors + local outlier factor",
    "confidence + mixture + pca",
    "confidence + mixture",
    "mixture 4 + mixture 8 + mixture 16",
    "mixture",
    "neighbors",
    "5 neighbors",
)
IMAGE_CANDIDATES = (
    "confidence + conv pca + conv neighbors, angle",
    "confidence + conv pca + conv neighbors, angle + pixel pca",
    "confidence + conv neighbors, angle + pixel pca",
    "confidence + conv pca + pixel pca",
    "confidence + conv neighbors, angle",
    "confidence + conv pca + conv neighbors",
    "confidence + conv pca + pixel neighbors",
    "confidence + conv pca",
    "energy + conv pca + conv neighbors, angle",
    "energy + conv neighbors + hidden neighbors + pixel pca",
)
IMAGE_ROWS, LEARNED_ROWS, CALIBRATION_ROWS, JUDGED_ROWS = 30_000, 18_000, 3_000, 7_000


def generated(generator):
    """A generative classifier that needs no calibration of its own."""
    return GenerativeClassifier(generator, validation_fraction=0)


def table_members():
    """Everything that a candidate for tables may consist of."""
    return {
        "confidence": "classifier",
        "mixture": generated("gmm"),
        "neighbors": scaled(NeighborDistance()),
        "5 neighbors": scaled(NeighborDistance(5)),
        "pca": scaled(generated("pca")),
        "local outlier factor": scaled(DistinctLocalOutlierFactor(novelty=True)),
    } | {
        name: generated(GaussianMixtureGenerator(int(name.split()[1]), reg_covar=ridge))
        for name, ridge in SIZES.items()
    }


def image_members(net):
    """Everything that a candidate for images may consist of; ``net`` is trained."""
    conv, hidden = NetFeatures(FrozenEstimator(net), "conv"), NetFeatures(FrozenEstimator(net))
    nearest = NeighborDistance(max_samples=10_000, random_state=0)
    return {
        "confidence": "classifier",
        "energy": FrozenEstimator(rescored(net, score_function="energy")),
        "conv pca": make_pipeline(conv, generated(PCAGenerator(32))),
        "conv neighbors": make_pipeline(conv, nearest),
        "conv neighbors, angle": make_pipeline(conv, Normalizer(), nearest),
        "hidden neighbors": make_pipeline(hidden, nearest),
        "pixel pca": generated(PCAGenerator(32)),
        "pixel neighbors": nearest,
    }


def judged(candidates, detector, X, y, X_test, y_test):
    """How well every candidate does on one inner split."""
    is_in, answers = np.isin(y_test, detector.classes_), detector.predict(X_test)
    found = {}
    for candidate in candidates:
        model = recombined(detector, candidate.split(" + "), X, y)
        found[candidate] = measured(is_in, model.score_samples(X_test), y_test, answers)
    return found


def judge_table(X, y, learn, judge, seed):
    """One inner split of a table."""
    detector = CombinedClassifier(members=list(table_members().items()), random_state=seed)
    detector.fit(X[learn], y[learn])
    return judged(CANDIDATES, detector, X[learn], y[learn], X[judge], y[judge])


def judge_images(X, y, learn, judge, seed):
    """One split of the images; the members learn and are calibrated on different rows."""
    calibrate, learn = np.split(learn[:LEARNED_ROWS], [CALIBRATION_ROWS])
    judge = judge[:JUDGED_ROWS]
    net = SoftmaxClassifier(
        input_shape=IMAGE, max_epochs=5, lr_schedule="cosine", random_state=seed
    ).fit(X[learn], y[learn])
    members = [
        (name, m if isinstance(m, str) else FrozenEstimator(m.fit(X[learn], y[learn])))
        for name, m in image_members(net).items()
    ]
    detector = CombinedClassifier(FrozenEstimator(net), members, input_shape=IMAGE).fit(
        X[calibrate], y[calibrate]
    )
    candidates = *IMAGE_CANDIDATES, *dict(members)
    return judged(candidates, detector, X[calibrate], y[calibrate], X[judge], y[judge])


def inner_splits(X, y):
    """Rows to learn from and to judge by, within the training rows of each outer split."""
    outer = LeaveClassesOut(LEFT_OUT, n_splits=5, random_state=0)
    for seed, (training, _) in zip(range(N_OUTER), outer.split(X, y), strict=False):
        inner = LeaveClassesOut(LEFT_OUT, n_splits=N_INNER, random_state=100 + seed)
        for learn, judge in inner.split(X[training], y[training]):
            yield seed, training[learn], training[judge]


def main():
    cli = parser(__doc__, "combined")
    cli.add_argument("part", choices=("tables", "mnist"))
    cli.add_argument("--data", nargs="+", default=CLASS_TABLES)
    cli.add_argument("--rows", type=int, help="of the data, for a trial")
    args = cli.parse_args()
    store = Store("combined", args.results)
    if args.part == "mnist":
        X, y = some_images(images("mnist"), args.rows or IMAGE_ROWS, 7)
        splits = LeaveClassesOut(LEFT_OUT, n_splits=N_INNER, random_state=5).split(X, y)
        for seed, split in enumerate(splits):
            compute = partial(judge_images, X, y, *split, seed)
            store.run(compute, "selection", "mnist", seed=seed, rows=args.rows)
        return
    for name in args.data:
        X, y = table(name, args.rows)
        for number, (seed, *split) in enumerate(inner_splits(X, y)):
            compute = partial(judge_table, X, y, *split, seed)
            store.run(compute, "selection", name, seed=number, rows=args.rows)


if __name__ == "__main__":
    main()
