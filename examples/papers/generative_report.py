"""Judge the scores that ``generative.py`` kept, and write them beside the paper's numbers."""

import json
from pathlib import Path

import numpy as np
from generative_figures import draw_figures
from generative_markdown import as_markdown

from sklearn_ood.datasets import load_images
from sklearn_ood.metrics import (
    aurc_score,
    auroc,
    coverage_at_risk,
    risk_coverage_curve,
    tnr_at_tpr,
)

RESULTS = Path(__file__).parents[2] / "docs" / "results"
# The network that answers in the hybrid: the first of these that has been run.
NETS = ("cnn", "mlp")
GRID = np.linspace(0.02, 1, 50)


def write_report(cache):
    """Update ``generative.json`` from the cached scores and rewrite ``generative.md``."""
    path = RESULTS / "generative.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for taught in ("mnist", "fashion_mnist"):
        kept = {
            file.stem.split("-", 1)[1].replace("_", " "): dict(np.load(file))
            for file in sorted(cache.glob(f"{taught}-*.npz"))
        }
        for net in NETS:
            if net in kept:
                kept[f"{net}, float32"] = in_float32(kept[net])
        if kept:
            results[taught] = judge(taught, kept)
        if taught == "mnist":
            draw_figures(kept, RESULTS)
    for benchmark in ("latent_search", "stacked_training"):
        file = RESULTS / f"{benchmark}.json"
        if file.exists():
            results[benchmark] = json.loads(file.read_text())
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    (RESULTS / "generative.md").write_text(as_markdown(results))


def in_float32(arrays):
    """Max softmax as float32 has it: a block of ones that nothing can rank."""
    return {
        key: np.exp(value).astype(np.float32)
        if key.startswith("score_") and key != "score_seconds"
        else value
        for key, value in arrays.items()
    }


def judge(taught, kept):
    """All metrics of all models that were taught one data set."""
    truth = load_images(taught, split="test", return_X_y=True)[1]
    net = next((name for name in NETS if name in kept), None)
    answering = kept.get(net, {})
    judged = {}
    for name, arrays in kept.items():
        inside = arrays[f"score_{taught}"]
        entry = {
            "fit_seconds": round(float(arrays["fit_seconds"]), 1),
            "score_seconds": round(float(arrays["score_seconds"]), 1),
            "training_rows": int(arrays["rows"]),
        }
        own = arrays.get(f"label_{taught}")
        if own is not None:
            entry["accuracy"] = round(float(np.mean(own == truth)), 4)
        for key in sorted(arrays):
            outside = key.removeprefix("score_")
            if not key.startswith("score_") or outside in (taught, "seconds"):
                continue
            score = np.r_[inside, arrays[key]]
            is_in = np.repeat([True, False], [len(inside), len(arrays[key])])
            labels = np.r_[truth, np.full(len(arrays[key]), -1)]
            entry[outside] = {
                "auroc": round(float(auroc(is_in, score)), 4),
                "tnr95": round(float(tnr_at_tpr(is_in, score)), 4),
            }
            if own is not None:
                answers = np.r_[own, arrays[f"label_{outside}"]]
                entry[outside]["own_labels"] = selective(labels, answers, score)
            if f"label_{outside}" in answering:
                answers = np.r_[answering[f"label_{taught}"], answering[f"label_{outside}"]]
                entry[outside]["hybrid"] = selective(labels, answers, score)
        judged[name] = entry
    return judged


def selective(labels, answers, score):
    """The risk-coverage curve on a grid, and what is read off it."""
    coverage, risk, _ = risk_coverage_curve(labels, answers, score)
    return {
        "aurc": round(float(aurc_score(labels, answers, score)), 4),
        "errors_in_the_first_5_percent": _errors(coverage, risk, len(labels)),
        "lowest_risk": round(float(risk.min()), 5),
        "coverage_at_risk_0": _coverage(labels, answers, score, 0.0),
        "coverage_at_risk_1_percent": _coverage(labels, answers, score, 0.01),
        "risk_at_coverage": [
            round(float(value), 5) for value in np.interp(GRID, coverage, risk)
        ],
    }


def _errors(coverage, risk, n_samples):
    """Errors among the first rows that are 5 % of all, a tied block taken whole."""
    first = int(np.searchsorted(coverage, 0.05 * (1 - 1e-9)))
    return round(float(coverage[first] * risk[first] * n_samples))


def _coverage(labels, answers, score, risk):
    return round(float(coverage_at_risk(labels, answers, score, risk=risk)), 4)
