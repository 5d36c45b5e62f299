"""The paper's figure 9, and the characters that are answered with the most confidence."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ood.datasets import load_images
from sklearn_ood.metrics import RiskCoverageDisplay

NET, BEST = "cnn", "cnn conv features, knn"
CURVES = {
    "cnn, float32": "network, float32",
    "cnn": "network",
    "vae": "VAE, its own labels",
    "pca, likelihood": "PCA, its own labels",
    BEST: "nearest rows in features, its own labels",
}
MAX_SHOWN = 12


def draw_figures(kept, folder):
    """Draw what the scores kept of MNIST and Omniglot show.

    Parameters
    ----------
    kept : dict of str to dict of arrays
        Scores and labels by model.
    folder : Path
        Where the two figures go.
    """
    if not {NET, BEST} <= set(kept):
        return
    truth = load_images("mnist", split="test", return_X_y=True)[1]
    n_characters = len(kept[NET]["score_omniglot"])
    labels = np.r_[truth, np.full(n_characters, -1)]
    draw_curves(kept, labels).savefig(folder / "generative_figure9.png", dpi=80)
    draw_errors(kept, labels).savefig(folder / "generative_confident_errors.png", dpi=80)
    plt.close("all")


def draw_curves(kept, labels):
    """Risk against coverage, on a logarithmic scale."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    shown = {
        title: (joined(kept[name], "label"), joined(kept[name], "score"))
        for name, title in CURVES.items()
        if name in kept and "score_omniglot" in kept[name]
    }
    answers = joined(kept[NET], "label")
    shown["hybrid: network, nearest rows in features"] = answers, joined(kept[BEST], "score")
    for title, (predicted, score) in shown.items():
        style = "-" if title.startswith("hybrid") else "--"
        RiskCoverageDisplay.from_predictions(
            labels, predicted, score, name=title, ax=axes, optimal=False, linestyle=style
        )
    axes.set(yscale="log", ylim=(3e-4, 1), ylabel="Selective risk (0 is not drawn)")
    axes.set_title("MNIST test and 31,460 Omniglot characters")
    axes.legend(fontsize=8)
    return figure


def draw_errors(kept, labels):
    """The characters among the first 5 % of all rows, with what they were taken for."""
    score, answers = joined(kept[BEST], "score"), joined(kept[NET], "label")
    first = np.argsort(-score, kind="stable")[: int(0.05 * len(score))]
    wrong = first[(labels[first] != answers[first]) & (labels[first] == -1)][:MAX_SHOWN]
    images, _ = load_images("omniglot", split="all", return_X_y=True)
    figure, axes = plt.subplots(
        1, max(1, len(wrong)), figsize=(1.3 * max(2, len(wrong)), 1.6), squeeze=False
    )
    n_taught = int((labels >= 0).sum())
    for place, row in zip(axes[0], wrong, strict=False):
        place.imshow(images[row - n_taught].reshape(28, 28), cmap="gray_r")
        place.set_title(f"as {answers[row]}", fontsize=9)
    for place in axes[0]:
        place.axis("off")
    return figure


def joined(arrays, kind):
    """What is kept of the digits, then of the characters."""
    return np.r_[arrays[f"{kind}_mnist"], arrays[f"{kind}_omniglot"]]
