"""Every score of a network beside pytorch-ood's of the same name, in one run.

Both get the same features and the same last layer: K clusters behind a ReLU, as the features of
a trained network are, and a layer along their means, whose probabilities are not below 1e-7,
where pytorch-ood cuts them. Each score is fitted and then scores other rows, ours and theirs in
turns; each counts with its fastest run. Scores are brought to one sign and unit, and compared
as shares of their spread. pytorch-ood computes most of them in float32; the last layer of ours
is in the features' type, all after it in float64: so the formula counts as the same where they
differ by no more than 1e-6 in float64, or by the rounding of float32, 1e-4, where one of them
takes nothing else. The run on record is of an earlier state, with ours in float64 throughout;
"score loops" has today's times.

Run ``python examples/benchmarks/network_scores.py [--rows 10000] [--json FILE]`` with the
package's extra "benchmark".
"""

import argparse
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_ood
import torch
from pytorch_ood import detector as peer
from score_loops import ALPHA, N_CLASSES, N_NEIGHBORS, N_TRAINING, drawn, last_layer
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

PERCENTILE = 0.65


@dataclass
class Pair:
    """Ours, and how the peer fits and scores.

    ``same`` makes the peer's score, of which more is stranger, ours.
    """

    ours: object
    fit: object
    predict: object
    same: object = np.negative
    in_single: bool = False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (Z, y), (rows, _) = drawn(N_TRAINING, args.features), drawn(args.rows, args.features, 1)
    found = {}
    for name, pair in pairs(Z, y).items():
        found[name] = one(pair, Z, y, rows, args.repeats)
        print(name, found[name], flush=True)
    record = {
        "rows": args.rows,
        "training_rows": N_TRAINING,
        "features": args.features,
        "classes": N_CLASSES,
        "repeats": args.repeats,
        "torch": torch.__version__,
        "pytorch_ood": pytorch_ood.__version__,
        "scores": found,
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")


def pairs(Z, y):
    """The scores that both have."""
    weight, bias = last_layer(np.stack([Z[y == k].mean(axis=0) for k in range(N_CLASSES)]))
    linear = weight.astype(np.float64), bias.astype(np.float64)
    head = torch.nn.Linear(*weight.T.shape)
    head.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    wide = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(*weight.T.shape).double())
    wide[1].load_state_dict(head.state_dict())

    def logits(theirs):
        return lambda z: theirs.predict_logits(wide(z.double()))

    def maps(theirs):
        return lambda z: theirs.predict_feature_maps(z.double()[:, :, None, None])

    def of_logits(name, theirs, same=np.negative):
        ours = LogitScore(score_function=name, linear=linear)
        return Pair(ours, nothing, logits(theirs), same)

    kl, knn = peer.KLMatching(None), peer.KNN(None, k=N_NEIGHBORS)
    fdbd, nci = peer.fDBD(None, head), peer.NCI(None, head, alpha=ALPHA)
    guide, vim = (
        peer.NNGuide(None, head),
        peer.ViM(None, Z.shape[1] // 2, head.weight, head.bias),
    )
    mahalanobis, relative = peer.Mahalanobis(None), peer.RMD(None)
    shaped = {"detector": None, "percentile": PERCENTILE}
    gradnorm = peer.GradNorm(wide[1], lambda name: name == "weight").to("cpu")
    react = peer.ReAct(None, wide, percentile=0.9)
    near = NeighborDistance(N_NEIGHBORS)
    return {
        "max_proba": of_logits("max_proba", peer.MaxSoftmax(None), lambda s: np.log(-s)),
        "entropy": of_logits("entropy", peer.Entropy(None)),
        "max_logit": of_logits("max_logit", peer.MaxLogit(None)),
        "energy": of_logits("energy", peer.EnergyBased(None)),
        "generalized_entropy": of_logits(
            "generalized_entropy", peer.GEN(None), lambda s: -N_CLASSES * s
        ),
        "KL matching": Pair(
            KLMatching(linear=linear), lambda z, _: kl.fit_logits(wide(z.double())), logits(kl)
        ),
        "Mahalanobis": Pair(
            MahalanobisDistance(normalize=False),
            mahalanobis.fit_features,
            mahalanobis.predict_features,
            lambda s: -2 * len(Z) * s,
            in_single=True,
        ),
        "relative Mahalanobis": Pair(
            MahalanobisDistance(normalize=False, relative=True),
            relative.fit_features,
            relative.predict_features,
            lambda s: -len(Z) * s,
            in_single=True,
        ),
        "nearest neighbours": Pair(
            make_pipeline(Normalizer(), near),
            lambda z, t: knn.fit_features(z.double(), t),
            lambda z: knn.predict_features(z.double()),
            in_single=True,  # here ours is: rows are normalised as they come
        ),
        "ViM": Pair(
            Subspace(linear=linear), vim.fit_features, vim.predict_features, in_single=True
        ),
        "NCI": Pair(
            NCI(linear=linear, alpha=ALPHA),
            nci.fit_features,
            nci.predict_features,
            in_single=True,
        ),
        "fDBD": Pair(
            FDBD(linear=linear), fdbd.fit_features, fdbd.predict_features, in_single=True
        ),
        "NNGuide": Pair(
            NNGuide(linear=linear), guide.fit_features, guide.predict_features, in_single=True
        ),
        "GradNorm": Pair(
            GradNorm(linear=linear), nothing, lambda z: gradnorm.predict(z.double())
        ),
        "react": Pair(
            ActivationShaping(linear=linear),
            lambda z, t: react.fit_feature_maps(z, t),
            maps(react),
        ),
        "ash": Pair(
            ActivationShaping(method="ash", percentile=100 * PERCENTILE, linear=linear),
            nothing,
            maps(peer.ASH(None, wide, **shaped)),
        ),
        "scale": Pair(
            ActivationShaping(method="scale", percentile=100 * PERCENTILE, linear=linear),
            nothing,
            maps(peer.SCALE(None, wide, **shaped)),
        ),
    }


def nothing(z, y):
    """Of what needs no fit."""


def one(pair, Z, y, rows, repeats):
    """Difference and times of a score."""
    z, labels, new = torch.tensor(Z), torch.tensor(y), torch.tensor(rows)
    seconds = {name: [] for name in ("fit", "peer_fit", "score", "peer_score")}
    data = (Z, np.zeros(len(y))) if isinstance(pair.ours, Pipeline) else (Z, y)
    runs = {
        "fit": partial(pair.ours.fit, *data),
        "peer_fit": partial(pair.fit, z, labels),
        "score": partial(pair.ours.score_samples, rows),
        "peer_score": partial(pair.predict, new),
    }
    said = {}
    with torch.no_grad():
        for _ in range(repeats):
            for name, run in runs.items():
                start = time.process_time()
                said[name] = run()
                seconds[name].append(time.process_time() - start)
    theirs = pair.same(said["peer_score"].double().numpy())
    difference = np.abs(said["score"] - theirs).max() / said["score"].std()
    best = {name: min(each) for name, each in seconds.items()}
    return {
        "difference": float(f"{difference:.1e}"),
        "one_in_float32": pair.in_single,
        **{f"{name}_seconds": round(each, 4) for name, each in best.items()},
        "ratio_of_scoring": round(best["score"] / best["peer_score"], 2),
    }


if __name__ == "__main__":
    main()
