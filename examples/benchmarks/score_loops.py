"""Every score of a network beside what one would write by hand, and pytorch-ood does.

pytorch-ood was not at hand for these runs (``network_scores.py`` has it beside ours, in an
earlier state): so each score stands beside a function that computes it in a few lines of torch,
in float32 and in one go, as pytorch-ood does. Both get the same float32 features and the same
last layer; ours checks them, works in batches and in float64 from the logits on. They score the
same rows in turns, and each counts with the CPU time of its fastest run. "difference" is the
largest beside ours of the same features in float64, as a share of the scores' spread; what a
loop leaves out, such as a division, does not count.

Run ``python examples/benchmarks/score_loops.py [--rows 10000] [--json FILE]``.
"""

import argparse
import json
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from torch.nn.functional import linear, normalize

from sklearn_ood import MahalanobisDistance, NeighborDistance, Subspace
from sklearn_ood.detectors import (
    FDBD,
    NCI,
    ActivationShaping,
    KLMatching,
    LogitScore,
    NNGuide,
)

N_CLASSES, N_TRAINING, N_NEIGHBORS, SHARE, ALPHA = 10, 5000, 50, 0.9, 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    (Z, y), (rows, _) = drawn(N_TRAINING, args.features), drawn(args.rows, args.features, 1)
    found = {}
    for name, (ours, by_hand) in pairs(Z, y).items():
        ours.fit(Z, np.zeros(len(y)) if name == "nearest neighbours" else y)
        found[name] = beside(ours, by_hand, rows, args.repeats)
        print(name, found[name], flush=True)
    record = {
        **{name: getattr(args, name) for name in ("rows", "features", "repeats")},
        "training_rows": N_TRAINING,
        "classes": N_CLASSES,
        "torch": torch.__version__,
        "load_of_the_machine": round(os.getloadavg()[0]),
        "never_slower": sum(each["ratio"] <= 1 for each in found.values()),
        "scores": found,
    }
    if args.json:
        args.json.write_text(json.dumps(record, indent=2) + "\n")


@torch.no_grad()
def beside(ours, by_hand, rows, repeats):
    """CPU seconds of both, and how far ours in float32 is from float64."""
    runs = {
        "seconds": partial(ours.score_samples, rows),
        "by_hand_seconds": partial(by_hand, torch.from_numpy(rows)),
    }
    best = dict.fromkeys(runs, np.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    exact = ours.score_samples(rows.astype(np.float64))
    away = np.abs(ours.score_samples(rows) - exact).max() / exact.std()
    seconds, by_hand_seconds = best.values()
    return {
        **{name: round(value, 5) for name, value in best.items()},
        "ratio": round(seconds / by_hand_seconds, 2),
        "difference": float(f"{away:.1e}"),
    }


def drawn(n, n_features, seed=0):
    """Features of clusters behind a ReLU, and their classes."""
    centres = np.random.default_rng(7).normal(size=(N_CLASSES, n_features))
    rng = np.random.default_rng(seed)
    y = rng.integers(N_CLASSES, size=n)
    Z = np.maximum(centres[y] + 1.5 * rng.normal(size=(n, n_features)), 0)
    return Z.astype(np.float32), y


def last_layer(class_means):
    """Weight and bias of a layer along the means of the classes."""
    centred = class_means - class_means.mean(axis=0)
    weight = 0.5 * centred / np.linalg.norm(centred, axis=1).mean()
    return weight, -0.5 * (weight * centred).sum(axis=1)


def pairs(Z, y):
    """Ours and a function by hand, by the score's name."""
    class_means = np.stack([Z[y == k].mean(axis=0) for k in range(N_CLASSES)])
    weight, bias = last_layer(class_means)
    layer = {"linear": (weight.astype(np.float64), bias.astype(np.float64))}
    z, w, b, means = map(torch.from_numpy, (Z, weight, bias, class_means))
    mean, n_upper = z.mean(dim=0), z.shape[1] - round(SHARE * z.shape[1])

    def head(z):
        return linear(z, w, b)

    p = head(z).softmax(dim=1)
    usual = torch.stack([p[p.argmax(dim=1) == k].mean(dim=0) for k in range(N_CLASSES)]).log()
    within = z - means[torch.from_numpy(y)]
    precision = torch.linalg.pinv(within.T @ within / len(z))
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(normalize(z).numpy())
    vim = Subspace(**layer).fit(Z)
    axes, origin = (
        torch.from_numpy(each).float() for each in (vim.residual_axes_, vim.origin_)
    )
    between = torch.cdist(w, w) + 1e-30
    bank = normalize(z) * head(z).logsumexp(dim=1, keepdim=True)
    ceiling = float(np.percentile(Z, 100 * SHARE))

    def entropy(logits):
        p = logits.softmax(dim=1)
        return (p * p.clamp(min=1e-7).log()).sum(dim=1)

    def generalized_entropy(logits):
        p = logits.softmax(dim=1).sort(dim=1).values[:, -100:]
        return -(p**0.1 * (1 - p) ** 0.1).sum(dim=1)

    def kl(z):
        p = head(z).softmax(dim=1)
        log_p = p.clamp(min=1e-7).log()
        apart = [(p * (log_p - each)).sum(dim=1) for each in usual]
        return -torch.stack(apart, dim=1).min(dim=1).values

    def mahalanobis(z):
        away = [((z - mean) @ precision * (z - mean)).sum(dim=1) for mean in means]
        return -torch.stack(away, dim=1).min(dim=1).values

    def neighbors(z):
        return -torch.from_numpy(search.kneighbors(normalize(z).numpy())[0][:, -1])

    def of_vim(z):
        return head(z).logsumexp(dim=1) - vim.scale_ * ((z - origin) @ axes).norm(dim=1)

    def nci(z):
        away, best = z - mean, head(z).argmax(dim=1)
        return (w[best] * away).sum(dim=1) / away.norm(dim=1) + ALPHA * z.norm(p=1, dim=1)

    def fdbd(z):
        logits = head(z)
        top, best = logits.max(dim=1)
        return ((top[:, None] - logits) / between[best]).sum(dim=1) / (z - mean).norm(dim=1)

    def nnguide(z):
        nearest = (normalize(z) @ bank.T).topk(10, dim=1).values
        return nearest.mean(dim=1) * head(z).logsumexp(dim=1)

    def shaped(z, prune):
        upper, where = z.topk(n_upper, dim=1)
        growth = (z.sum(dim=1) / upper.sum(dim=1)).exp()[:, None]
        z = torch.zeros_like(z).scatter_(1, where, upper) if prune else z
        return head(z * growth).logsumexp(dim=1)

    of_logits = {
        "max_proba": lambda logits: logits.softmax(dim=1).amax(dim=1),
        "entropy": entropy,
        "max_logit": lambda logits: logits.amax(dim=1),
        "energy": lambda logits: logits.logsumexp(dim=1),
        "generalized_entropy": generalized_entropy,
    }
    return {
        **{
            name: (LogitScore(score_function=name, **layer), lambda z, f=f: f(head(z)))
            for name, f in of_logits.items()
        },
        "KL matching": (KLMatching(**layer), kl),
        "Mahalanobis": (MahalanobisDistance(normalize=False), mahalanobis),
        "nearest neighbours": (
            make_pipeline(Normalizer(), NeighborDistance(N_NEIGHBORS)),
            neighbors,
        ),
        "ViM": (Subspace(**layer), of_vim),
        "NCI": (NCI(alpha=ALPHA, **layer), nci),
        "fDBD": (FDBD(**layer), fdbd),
        "NNGuide": (NNGuide(**layer), nnguide),
        "react": (
            ActivationShaping(percentile=100 * SHARE, **layer),
            lambda z: head(z.clamp(max=ceiling)).logsumexp(dim=1),
        ),
        **{
            name: (
                ActivationShaping(method=name, percentile=100 * SHARE, **layer),
                partial(shaped, prune=name == "ash"),
            )
            for name in ("ash", "scale")
        },
    }


if __name__ == "__main__":
    main()
