"""Scores on networks that someone else has trained, and the default combination of them.

    python examples/papers/networks.py selection --networks FOLDER   # how members were chosen
    python examples/papers/networks.py judged --networks FOLDER      # ten minutes a network

``FOLDER`` has the files ``NAMES``, which are networks for 32 x 32 images of all
or some classes of CIFAR-10, and ``models.py``, whose ``load(file)`` reads one. Half of the test
images of CIFAR-10, labelled, teach all scores; the other half, and sets of outliers, judge. A
network runs once over every image: the rest works on rows of its features, with the pixels
beside them.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

import lab
from sklearn_ood import CombinedClassifier, GenerativeClassifier, NetFeatures, SoftmaxClassifier
from sklearn_ood.combined._radii import PrincipalRadii
from sklearn_ood.detectors import last_linear, scores_of_network
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.metrics import aurc_score, auroc

NAMES = {
    "resnet18_cifar10": range(10),
    "vit_cifar10": range(10),
    "resnet18_cifar6": (0, 2, 3, 5, 8, 9),
}
IMAGE, N_PIXELS = (3, 32, 32), 3 * 32 * 32
KNOWN, UNSEEN, SHARES = "known", "unseen classes", (0.0005, 0.01, 0.05)
N_CORRUPTED, SIZES = 300, (32, 64)
GREY = ("mnist", "notmnist", "fashion_mnist")
DEFAULT = "ViM + NCI + energy + react + radii"
FORMER = "Mahalanobis++ + ViM + NCI + energy + pixels"
RULES = BY_AVERAGE, BY_FISHER, BY_CAUCHY = ", average", ", fisher", ", cauchy"
OTHERS = (
    *("Mahalanobis++ + ViM + NCI + energy + radii", "ViM + NCI + energy + react + pixels"),
    *("ViM + NCI + energy + react", "ViM + NCI + react + radii"),
    *("ViM + energy + react + radii", f"Mahalanobis + {DEFAULT}", f"Mahalanobis++ + {DEFAULT}"),
    *("Mahalanobis + NCI + energy + react + radii", "ViM + NCI + react + NNGuide + radii"),
    "Mahalanobis + NCI + energy + react + NNGuide + radii",
    *(f"{DEFAULT} of {size}" for size in SIZES),
)
CANDIDATES = [
    *(members + rule for members in (DEFAULT, FORMER) for rule in RULES),
    *(members + BY_AVERAGE for members in OTHERS),
]


def last_layer(weight, bias):
    """The last layer of a network, for rows that have pixels beside what it takes."""
    layer = nn.Linear(weight.shape[1] + N_PIXELS, len(bias)).double()
    layer.weight.data = torch.from_numpy(np.pad(weight, ((0, 0), (0, N_PIXELS))))
    layer.bias.data = torch.from_numpy(bias)
    return layer


def outliers():
    """Sets of outliers, near and far, by name."""
    rng, shape = np.random.RandomState(0), (500, *IMAGE)
    grey = np.broadcast_to(rng.random_sample((500, 1, 1, 1)), shape)
    sets = {k: lab.some_rows(*lab.test_images(k), 1000)[0] for k in ("tinyimagenet", *GREY)}
    sets |= {name: lab.in_colour(sets[name]) for name in GREY}
    sets["uniform noise"] = rng.random_sample(shape)
    sets["normal noise"] = rng.normal(0.5, 0.2, size=shape).clip(0, 1)
    return sets | {"grey": grey}


def corrupted(X):
    """Known images, spoilt: strange ones, without any outliers."""
    rng = np.random.RandomState(0)
    X = X[:N_CORRUPTED].reshape(-1, *IMAGE)
    tiles = X.reshape(-1, 3, 4, 8, 4, 8).transpose(2, 4, 0, 1, 3, 5).reshape(16, -1, 3, 8, 8)
    order = rng.random_sample(tiles.shape[:2]).argsort(axis=0)
    tiles = np.take_along_axis(tiles, order[:, :, None, None, None], axis=0)
    return {
        "pixels shuffled": X.reshape(-1, 3, 1024)[:, :, rng.permutation(1024)],
        "patches shuffled": tiles.reshape(4, 4, -1, 3, 8, 8).transpose(2, 3, 0, 4, 1, 5),
        "inverted": 1 - X,
        "flat": np.broadcast_to(X.mean(axis=(2, 3), keepdims=True), X.shape),
        "rotated": np.rot90(X, 1, (2, 3)),
    }


def seen(name, folder):
    """Rows of all images by the name of their set, the labels' codes, and the last layer."""
    sys.path.insert(0, str(folder))
    from models import load

    network, classes = load(Path(folder) / f"{name}.npz"), list(NAMES[name])
    classifier = SoftmaxClassifier.from_module(network, classes, IMAGE, device="cpu")
    X, y = lab.some_rows(*lab.test_images("cifar10"), None)
    known = np.isin(y, classes)
    sets = {KNOWN: X[known], UNSEEN: X[~known], **outliers(), **corrupted(X[known])}
    features = NetFeatures(FrozenEstimator(classifier)).fit(X[:1])
    rows = {}
    for label, each in sets.items():
        if len(each):
            flat = np.ascontiguousarray(each, dtype=np.float32).reshape(-1, N_PIXELS)
            rows[label] = np.hstack([features.transform(flat), flat])
    return rows, np.searchsorted(classes, y[known]), last_linear(classifier)


def members(linear, *sizes):
    """Every score of the network, and of the pixels: how likely, and how usual they are."""
    first = FunctionTransformer(lambda rows: rows[:, :-N_PIXELS])
    last = FunctionTransformer(lambda rows: rows[:, -N_PIXELS:])
    on_pixels = {
        "pixels": GenerativeClassifier(PCAGenerator(32), validation_fraction=0),
        "radii": PrincipalRadii(),
        **{f"radii of {size}": PrincipalRadii(size) for size in sizes},
    }
    scores = scores_of_network(linear, random_state=0)
    found = {name: make_pipeline(first, score) for name, score in scores.items()}
    return found | {name: make_pipeline(last, each) for name, each in on_pixels.items()}


def fitted(rows, codes, linear, members):
    """The combination of members that ``from_module`` makes around the last layer."""
    made = [(name, lambda _, each=each: each) for name, each in members.items()]
    settings = {"classes": range(len(linear[1])), "members": made, "random_state": 0}
    settings["device"] = "cpu"
    return CombinedClassifier.from_module(last_layer(*linear), rows, codes, **settings)


def recombined(model, candidate, X, y):
    """A combination of some of its members, calibrated on the same rows."""
    names, method = candidate.split(", ")
    some = [(name, FrozenEstimator(model.members_[name])) for name in names.split(" + ")]
    classifier, rows = FrozenEstimator(model.classifier_), model.calibration_indices_
    combined = CombinedClassifier(classifier, some, method=method, random_state=0)
    return combined.fit(X[rows], y[rows])


def evidence(log_p, candidate):
    """That of some members for which the logarithms of p-values are known."""
    names, method = candidate.split(", ")
    return lab.pooled(log_p, dict.fromkeys(names.split(" + "), 1.0), method)


def halves(rows):
    """What teaches, and what judges."""
    return np.array_split(rows, 2)


@lab.Experiment("selection, {data}", NAMES, seeds=5, effort="--networks networks")
def selection(args, name, seed):
    """Candidates on one choice of held-out classes, which the scores know nothing of."""
    rows, codes, (weight, bias) = look(name, args)
    held_out = held_out_classes(len(bias), seed)
    if held_out is None:
        return {}
    X, y = halves(rows[KNOWN])[0], halves(codes)[0]
    held = np.isin(y, held_out)
    sets = {k: v for k, v in rows.items() if len(v) == N_CORRUPTED}
    sets["held-out classes"] = X[held] if held.any() else halves(rows[UNSEEN])[0]
    taught = np.setdiff1d(np.arange(len(bias)), held_out)
    X, y = X[~held], np.searchsorted(taught, y[~held])
    learn, judge = np.split(np.random.RandomState(0).permutation(len(X)), [4 * len(X) // 5])
    (X, X_judge), (y, y_judge) = ((each[learn], each[judge]) for each in (X, y))
    linear = weight[taught], bias[taught]
    model = fitted(X, y, linear, members(linear, *SIZES))
    models = {DEFAULT + rule: recombined(model, DEFAULT + rule, X, y) for rule in RULES}
    found = compared(models, model, X_judge, y_judge, {})
    known = lab.members_of(model, X_judge)
    for name, some in sets.items():
        log_p = lab.members_of(model, some)
        best = max(auroc(*lab.both(known[single], log_p[single])) for single in log_p)
        for each in CANDIDATES:
            value = auroc(*lab.both(evidence(known, each), evidence(log_p, each)))
            found[name, each] = {"auroc": value, "below": max(0.0, best - value)}
    return found


@lab.Experiment("judged, {data}", NAMES, seeds=3, effort="--networks networks")
def judged(args, name, seed):
    """All single scores, the default and its confidence, on other images and outliers."""
    rows, codes, linear = look(name, args)
    (X, X_test), (y, y_test) = map(halves, lab.some_rows(rows[KNOWN], codes, None, seed))
    sets = {k: v for k, v in rows.items() if len(v) != N_CORRUPTED and k != KNOWN}
    if UNSEEN in sets:
        sets[UNSEEN] = halves(sets[UNSEEN])[1]
    single = members(linear)
    model = fitted(X, y, linear, {name: single[name] for name in DEFAULT.split(" + ")})
    fisher = {"combined by Fisher": recombined(model, DEFAULT + BY_FISHER, X, y)}
    single = {k: each.fit(X, y) for k, each in single.items()}
    found = compared({"combined": model} | fisher | single, model, X_test, y_test, sets)
    found[KNOWN, "combined"]["refused"] = (model.p_values(X_test) <= 0.1).mean()
    return found


def compared(models, classifier, X, y, sets):
    """By set of outliers how well each model tells them; by known rows alone its own errors."""
    answers, ranks, found = classifier.predict(X), {}, {}
    for label, model in models.items():
        ranks[label] = model.score_samples(X)
        for share in SHARES if isinstance(model, CombinedClassifier) else ():
            model.set_params(outlier_share=share)
            ranks[f"{label}: confidence, share {share}"] = model.confidence(X)
        for name, rows in sets.items():
            inside, scores = lab.both(ranks[label], model.score_samples(rows))
            found[name, label] = lab.measured(inside, scores)
    ranks["probability"] = classifier.predict_log_proba(X).max(axis=1)
    known = {(KNOWN, k): {"aurc": aurc_score(y, answers, each)} for k, each in ranks.items()}
    return known | found


def held_out_classes(n_classes, seed):
    """Which classes the scores do not learn: four draws, and those unknown to the network."""
    if seed == 4:
        return np.array([], dtype=int) if n_classes < 10 else None
    y = np.arange(20 * n_classes) % n_classes
    train, _ = lab.left_out(y, seed % 2, n_splits=2, random_state=seed // 2)
    return np.setdiff1d(y, y[train])


def look(name, args):
    """What the network says of all images; kept, as it takes minutes."""
    return lab.kept(args.cache / f"{name}.joblib", partial(seen, name, args.networks))[0]


if __name__ == "__main__":
    lab.main(__doc__, "networks")
