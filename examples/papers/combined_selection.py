"""How the default members for images were chosen: by classes held out within training rows.

Three digits are left out of 30,000 training images of MNIST, twice. Every candidate combines
the same fitted members.

    python examples/papers/combined_selection.py    # about ten minutes on two cores
"""

from functools import partial

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from combined import IMAGE, some_images
from lab import Store, images, measured, parser
from peers import rescored
from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    NetFeatures,
    SoftmaxClassifier,
)
from sklearn_ood.combined._conformal import combine
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.model_selection import LeaveClassesOut

N_SPLITS, LEFT_OUT = 2, 0.3
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
IMAGE_ROWS = 30_000
# Of all rows, those that members learn from or that calibrate, and those that judge.
LEARNED, CALIBRATING, JUDGED = 0.6, 0.1, 0.23


def generated(generator):
    """A generative classifier that needs no calibration of its own."""
    return GenerativeClassifier(generator, validation_fraction=0)


def image_members(net):
    """Everything that a candidate for images may consist of; ``net`` is trained."""
    conv = NetFeatures(FrozenEstimator(net), layer="conv")
    hidden = NetFeatures(FrozenEstimator(net))

    def nearest():
        return NeighborDistance(max_samples=10_000, random_state=0)

    return {
        "confidence": "classifier",
        "energy": FrozenEstimator(rescored(net, score_function="energy")),
        "conv pca": make_pipeline(conv, generated(PCAGenerator(32))),
        "conv neighbors": make_pipeline(conv, nearest()),
        "conv neighbors, angle": make_pipeline(conv, Normalizer(), nearest()),
        "hidden neighbors": make_pipeline(hidden, nearest()),
        "pixel pca": generated(PCAGenerator(32)),
        "pixel neighbors": nearest(),
    }


def judged(candidates, detector, X, y):
    """How well every candidate does on rows of known and of unknown classes."""
    is_in, answers = np.isin(y, detector.classes_), detector.predict(X)
    log_p, names = detector.member_score_samples(X), list(detector.members_)
    found = {}
    for candidate in candidates:
        columns = [names.index(name) for name in candidate.split(" + ")]
        found[candidate] = measured(is_in, -combine(log_p[:, columns], "fisher"), y, answers)
    return found


def judge_images(X, y, learn, judge, seed):
    """One split of the images; the members learn and are calibrated on different rows."""
    calibrate, learn = np.split(learn[: int(LEARNED * len(X))], [int(CALIBRATING * len(X))])
    judge = judge[: int(JUDGED * len(X))]
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
    return judged(candidates, detector, X[judge], y[judge])


def main():
    cli = parser(__doc__, "combined")
    cli.add_argument("--rows", type=int, default=IMAGE_ROWS, help="for a trial")
    args = cli.parse_args()
    store = Store("combined", args.results)
    X, y = some_images(images("mnist"), args.rows, 7)
    splits = LeaveClassesOut(LEFT_OUT, n_splits=N_SPLITS, random_state=5).split(X, y)
    for seed, split in enumerate(splits):
        compute = partial(judge_images, X, y, *split, seed)
        store.run(compute, "selection", "mnist", seed=seed)


if __name__ == "__main__":
    main()
