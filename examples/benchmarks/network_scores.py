"""Every score of a network beside pytorch-ood's of the same name, in one run.

Both get the same features and the same last layer: K clusters behind a ReLU, as the features of
a trained network are, and a layer along their means, whose probabilities are not below 1e-7,
where pytorch-ood cuts them. "difference" is between the formulas: features and layer are in
float64, and whatever pytorch-ood makes float32 of is left in float64; scores are brought to one
sign and unit, and compared as shares of their spread. Times are of float32 features, as a
network gives them: each score is fitted and then scores other rows, ours and theirs in turns,
and each counts with the CPU time of its fastest run. Ours checks the rows, and takes logarithms
of probabilities in float64; "rounding" is how far its scores of float32 features are from those
in float64, and "peer_rounding" how far pytorch-ood's are.

Run ``python examples/benchmarks/network_scores.py [--json FILE]`` with the package's extra
"benchmark".
"""

import argparse
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytorch_ood
import torch
from pytorch_ood import detector as peer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer

from sklearn_ood import MahalanobisDistance, NeighborDistance, Subspace
from sklearn_ood.detectors import (
    FDBD,
    NCI,
    ActivationShaping,
    GradNorm,
    KLMatching,
    LogitScore,
    NNGuide,
)

ROWS = {10: 10_000, 1000: 2000}  # to be scored, by the number of classes
N_TRAINING, N_NEIGHBORS, SHARE, ALPHA, MOST = 5000, 50, 0.65, 1e-4, 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        f"{n_classes} classes": compared(n_classes, n_rows, args.features, args.repeats)
        for n_classes, n_rows in ROWS.items()
    }
    if args.json:
        record = {"settings": settings(args, found)} | by_score(found)
        args.json.write_text(json.dumps(record, indent=2) + "\n")


def compared(n_classes, n_rows, n_features, repeats):
    """Differences and times of every score."""
    training = drawn(N_TRAINING, n_features, n_classes)
    rows, _ = drawn(n_rows, n_features, n_classes, seed=1)
    found = {}
    for name in pairs(*training):
        if "Mahalanobis" in name and n_classes > 100:  # theirs takes a product for each class
            continue
        found[name] = one(name, training, rows, repeats)
        print(n_classes, name, found[name], flush=True)
    return found


def settings(args, found):
    """What was compared, where, and how it ended."""
    ratios = {
        where: np.array([each["ratio_of_scoring"] for each in scores.values()])
        for where, scores in found.items()
    }
    differences = [each["difference"] for scores in found.values() for each in scores.values()]
    return {
        "rows": {f"{n_classes} classes": n_rows for n_classes, n_rows in ROWS.items()},
        "training_rows": N_TRAINING,
        "features": args.features,
        "repeats": args.repeats,
        "torch": torch.__version__,
        "pytorch_ood": pytorch_ood.__version__,
        "load_of_the_machine": round(os.getloadavg()[0]),
        "scores": {where: len(each) for where, each in ratios.items()},
        "slower": {where: int((each > 1).sum()) for where, each in ratios.items()},
        "largest_difference": max(differences),
    }


def by_score(found):
    """What was found of each score, the slowest beside its peer first."""
    names = dict.fromkeys(name for scores in found.values() for name in scores)
    lines = {
        name: {where: scores[name] for where, scores in found.items() if name in scores}
        for name in names
    }

    def worst(name):
        return max(each["ratio_of_scoring"] for each in lines[name].values())

    return {name: lines[name] for name in sorted(lines, key=worst, reverse=True)}


@dataclass
class Pair:
    """Ours, and how the peer fits and scores.

    ``same`` makes the peer's score, of which more is stranger, ours.
    """

    ours: object
    fit: object
    predict: object
    same: object = np.negative


def pairs(Z, y):
    """The scores that both have, in the type of the features."""
    n_classes = y.max() + 1
    weight, bias = last_layer(np.stack([Z[y == k].mean(axis=0) for k in range(n_classes)]))
    linear = weight.astype(np.float64), bias.astype(np.float64)
    head = torch.nn.Linear(*weight.T.shape, dtype=torch.from_numpy(Z).dtype)
    head.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    of_maps = torch.nn.Sequential(torch.nn.Flatten(), head)

    def of_logits(name, theirs, same=np.negative):
        ours = LogitScore(score_function=name, linear=linear)
        return Pair(ours, nothing, lambda z: theirs.predict_logits(head(z)), same)

    def of_features(ours, theirs, same=np.negative):
        return Pair(ours, theirs.fit_features, theirs.predict_features, same)

    def shaped(method, theirs):
        ours = ActivationShaping(method=method, percentile=100 * SHARE, linear=linear)
        theirs = theirs(None, of_maps, percentile=SHARE)
        fit = theirs.fit_feature_maps if method == "react" else nothing
        return Pair(ours, fit, lambda z: theirs.predict_feature_maps(z[:, :, None, None]))

    most = min(MOST, n_classes)  # of the probabilities, as in the paper
    gen = peer.GEN(None, M=None if most == n_classes else most)
    kl, gradnorm = peer.KLMatching(None), peer.GradNorm(head, lambda name: name == "weight")
    near = make_pipeline(Normalizer(), NeighborDistance(N_NEIGHBORS))
    plain, relative = (
        MahalanobisDistance(normalize=False, relative=each) for each in (False, True)
    )
    return {
        "max_proba": of_logits("max_proba", peer.MaxSoftmax(None), lambda s: np.log(-s)),
        "entropy": of_logits("entropy", peer.Entropy(None)),
        "max_logit": of_logits("max_logit", peer.MaxLogit(None)),
        "energy": of_logits("energy", peer.EnergyBased(None)),
        "generalized_entropy": of_logits("generalized_entropy", gen, lambda s: -most * s),
        "KL matching": Pair(
            KLMatching(linear=linear),
            lambda z, _: kl.fit_logits(head(z)),
            lambda z: kl.predict_logits(head(z)),
        ),
        # Theirs are of a covariance that no number of rows divides.
        "Mahalanobis": of_features(plain, peer.Mahalanobis(None), lambda s: -2 * len(Z) * s),
        "relative Mahalanobis": of_features(relative, peer.RMD(None), lambda s: -len(Z) * s),
        "nearest neighbours": of_features(near, peer.KNN(None, k=N_NEIGHBORS)),
        "ViM": of_features(
            Subspace(linear=linear), peer.ViM(None, Z.shape[1] // 2, head.weight, head.bias)
        ),
        "NCI": of_features(NCI(linear=linear, alpha=ALPHA), peer.NCI(None, head, alpha=ALPHA)),
        "fDBD": of_features(FDBD(linear=linear), peer.fDBD(None, head)),
        "NNGuide": of_features(NNGuide(linear=linear), peer.NNGuide(None, head)),
        "GradNorm": Pair(GradNorm(linear=linear), nothing, gradnorm.to("cpu").predict),
        "react": shaped("react", peer.ReAct),
        "ash": shaped("ash", peer.ASH),
        "scale": shaped("scale", peer.SCALE),
    }


def nothing(z, y):
    """Of what needs no fit."""


def last_layer(class_means):
    """Weight and bias of a layer along the means of the classes."""
    centred = class_means - class_means.mean(axis=0)
    weight = 0.5 * centred / np.linalg.norm(centred, axis=1).mean()
    return weight, -0.5 * (weight * centred).sum(axis=1)


def drawn(n, n_features, n_classes, seed=0):
    """Features of clusters behind a ReLU, and their classes."""
    centres = np.random.default_rng(7).normal(size=(n_classes, n_features))
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % n_classes
    Z = np.maximum(centres[y] + 1.5 * rng.normal(size=(n, n_features)), 0)
    return Z.astype(np.float32), y


def one(name, training, rows, repeats):
    """Differences and times of a score."""
    Z, y = training
    seconds, said = timed(pairs(Z, y)[name], Z, y, rows, repeats)
    Z, rows = Z.astype(np.float64), rows.astype(np.float64)
    with in_double():
        _, exact = timed(pairs(Z, y)[name], Z, y, rows, 1)
    spread = exact["score"].std()

    def apart(first, second):
        return float(f"{np.abs(first - second).max() / spread:.1e}")

    return {
        "difference": apart(exact["score"], exact["peer_score"]),
        "rounding": apart(said["score"], exact["score"]),
        "peer_rounding": apart(said["peer_score"], exact["peer_score"]),
        **{f"{name}_seconds": float(f"{each:.3g}") for name, each in seconds.items()},
        "ratio_of_scoring": round(seconds["score"] / seconds["peer_score"], 2),
    }


@contextmanager
def in_double():
    """Nothing becomes float32."""
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def timed(pair, Z, y, rows, repeats):
    """CPU seconds of the fastest of some runs, and the scores."""
    z, labels, new = map(torch.from_numpy, (Z, y, rows))
    runs = {
        "fit": partial(
            pair.ours.fit, Z, np.zeros(len(y)) if type(pair.ours) is Pipeline else y
        ),
        "peer_fit": partial(pair.fit, z, labels),
        "score": partial(pair.ours.score_samples, rows),
        "peer_score": partial(pair.predict, new),
    }
    best, said = dict.fromkeys(runs, np.inf), {}
    for repeat in range(repeats):
        # Who comes second finds the rows in the processor's cache.
        order = list(runs)[:2] + list(runs)[2:][:: 1 if repeat % 2 else -1]
        for name in order:
            start = time.process_time()
            said[name] = runs[name]()
            best[name] = min(best[name], time.process_time() - start)
    return best, said | {"peer_score": pair.same(said["peer_score"].double().numpy())}


if __name__ == "__main__":
    main()
