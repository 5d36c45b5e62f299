"""The papers' figures, drawn into ``docs/results``.

    python examples/papers/figures.py vernekar    # trains six nets
    python examples/papers/figures.py lee         # trains six nets
    python examples/papers/figures.py generative  # from results, and trains a small VAE
    python examples/papers/figures.py gevaldi     # from results, and gevaldi.py ensemble
    python examples/papers/figures.py spigler     # from results and nets kept by spigler.py

Models and scores that the protocols keep are read from their folder, or from ``--cache``.
"""

import joblib
import matplotlib.pyplot as plt
import numpy as np

import generative
import lee
import sklearn_ood as ood
import spigler
import spigler_attack
import spigler_tables
import vernekar
from lab import IMAGE, Store, command_line, grid, images, kept
from sklearn_ood.generators import VAE
from sklearn_ood.inspection import FoolingDisplay

DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
CURVES = {
    "cnn": "network",
    "vae": "VAE",
    "gan": "GAN",
    "gan, adversarial loss alone": "GAN, adversarial loss alone",
    "knn": "nearest row",
    "pca 64, l2": "PCA, l2",
    "pca, likelihood": "PCA, likelihood",
}
ATTACKS = (
    *(("softmax", 0.9, "unscaled"), ("COOL", 0.9, "unscaled")),
    ("DAE tied", 0.99, "scaled"),
)
N_SHOWN_ROWS = 3000


def panels(n, height, n_rows=1, width=3.6, **layout):
    """Axes in a row, or in several."""
    size = width * n, height * n_rows
    return plt.subplots(n_rows, n, figsize=size, layout="constrained", **layout)


def plane(ax, values, size, title, **limits):
    """Values at the points of such a grid, as a picture."""
    n, extent = int(len(values) ** 0.5), (-size, size, -size, size)
    image = ax.imshow(values.reshape(n, n), extent=extent, origin="lower", **limits)
    ax.figure.colorbar(image, ax=ax)
    ax.set_title(title)


def scatter(ax, X, y, made=(), **settings):
    """Rows of the plane, and over them in red what was made."""
    ax.scatter(*X.T, c=y, s=2, cmap="viridis")
    if len(made):
        ax.scatter(*made.T, s=3, color="tab:red")
    ax.set(**settings)


def draw_vernekar(args, store):
    """Figures 3, 4 and 5: one classifier of each kind, and what the sources make."""
    args.epochs, args.sigma, args.width, box = args.epochs or 60, 2.0, 500, grid(50, 201)
    far, near = ({"xlim": (-x, x), "ylim": (-y, y)} for x, y in ((50, 50), (25, 15)))
    for number, source in ((3, "ring"), (4, "box")):
        figure, axes = panels(3, 3.2)
        scatter(axes[0], *vernekar.taught(source, 0, 2.0), title=source, **far)
        proba = vernekar.largest_proba(vernekar.fit(args, source, 0, "confident"), box)
        plane(axes[1], proba, 50, "confident: largest probability")
        reject = vernekar.fit(args, source, 0, "reject")
        classes = np.where(vernekar.rejected(reject, box), 2, reject.predict(box))
        plane(axes[2], classes, 50, "reject: class (2: reject)")
        yield f"vernekar_figure{number}", figure
    figure, axes = panels(2, 3.4)
    gan = vernekar.fit(args, "joint GAN", 0, "confident")
    for ax, source in zip(axes, ("joint GAN", "boundary sampler"), strict=True):
        rows, made = vernekar.taught(source, 0, 2.0), vernekar.made(gan, source, 0, 2.0)
        scatter(ax, *rows, made, title=source, **near)
    yield "vernekar_figure5", figure


def draw_lee(args, store):
    """Figures 1 and 2, the largest probability; figure 3, samples over the data."""
    lines = store.frame("figure 2")
    lines = lines[lines["settings"] == lines["settings"].iloc[-1]]
    lines = lines[lines["metric"].str.startswith("shares of ")]
    figure, axes = panels(2, 3.2, sharey=True)
    for ax, (method, found) in zip(axes, lines.groupby("method"), strict=True):
        for metric, shares in found.groupby("metric", sort=False)["value"]:
            label = metric.removeprefix("shares of ")
            ax.stairs(np.mean([*shares], axis=0), lee.SURENESS, label=label)
        ax.set(xlabel="Largest probability", title=method)
    axes[0].set_ylabel("Share of the images")
    axes[0].legend(fontsize=8)
    yield "lee_figure2", figure
    epochs, (figure, axes) = args.epochs or 100, panels(2, 3.4)
    for ax, box in zip(axes, (50, 20), strict=True):
        proba = np.exp(lee.confident(box, 0, epochs).score_samples(grid(50, 201)))
        plane(ax, proba, 50, f"100 outliers of [-{box}, {box}]²")
    yield "lee_figure1", figure
    figure, axes = panels(2, 3.4)
    for ax, name in zip(axes, lee.BESIDE, strict=True):
        samples, X, y = lee.generated(name == "joint GAN", 0, epochs)
        scatter(ax, X[:1000], y[:1000], samples[:1000], title=name)
    yield "lee_figure3", figure


def draw_mended(vae, knn, X, y, store):
    """Figure 8: digits that the nearest row misnames, it, and what the VAE makes of them."""
    right = {"vae": vae.predict(X) == y, "knn": knn.predict(X) == y}
    both, found = right["vae"] & right["knn"], {}
    for name, each in right.items():
        found[name] = {"accuracy": each.mean(), "right alone": (each & ~both).sum()}
    store.put(found, "figure 8", "mnist", rows=N_SHOWN_ROWS, test_rows=len(X))
    shown = np.flatnonzero(right["vae"] & ~both)[:8]
    told = [model.explain(X[shown]) for model in (knn, vae)]
    figure, axes = panels(4, 1.5, 2, width=2.8)
    for i, ax in enumerate(axes.flat):
        best = [each.distances[i].argmin() for each in told]
        made = [each.generations[i, k] for each, k in zip(told, best, strict=True)]
        triplet = [row.reshape(28, 28) for row in (X[shown[i]], *made)]
        ax.imshow(np.hstack(triplet), cmap="gray", vmin=0, vmax=1)
        title = f"{y[shown[i]]}: nearest row {best[0]}, VAE {best[1]}"
        ax.set(title=title, xticks=[], yticks=[])
    return figure


def draw_generative(args, store):
    """Figure 9 from the results; nearest generations (6 to 8, 10) of a small VAE a class."""
    lines = store.frame("risk").query("data == 'mnist and omniglot' and metric == 'risk'")
    found = {name: np.array([*risks]) for name, risks in lines.groupby("method")["value"]}
    figure, axes = panels(2, 4.2, sharey=True)
    titles = {
        "": "each with its own labels",
        generative.HYBRID: "hybrids: the network's labels",
    }
    for ax, (hybrid, title) in zip(axes, titles.items(), strict=True):
        for name, label in CURVES.items():
            method, width = (name, 2) if name == "cnn" else (name + hybrid, 1)
            if method in found:
                risks, x = found[method], generative.COVERAGES
                ax.fill_between(x, risks.min(axis=0), risks.max(axis=0), alpha=0.2, lw=0)
                ax.plot(x, risks.mean(axis=0), label=f"{label} ({len(risks)})", lw=width)
        ax.set(xlabel="Coverage", yscale="log", ylim=(3e-4, 1), title=title)
        ax.legend(fontsize=7, loc="lower right")
    axes[0].set_ylabel("Selective risk (0 is not drawn)")
    yield "generative_figure9", figure
    X, y = (part[:N_SHOWN_ROWS] for part in images("mnist"))
    vae = VAE(10, encoder="mlp", decoder="mlp", max_epochs=30, random_state=0)
    search = {"search": "both", "input_shape": IMAGE, "max_iter": 20, "random_state": 0}
    classifier = ood.GenerativeClassifier(vae, **search)
    classifier, _ = kept(args.cache / "nearest.joblib", classifier.fit, X, y)
    knn = ood.GenerativeClassifier("knn").fit(X, y)
    X, y = (part[:1000] for part in images("mnist", "test"))
    characters = images("omniglot", "all")[0][:1000]
    order, strange = (
        np.argsort(-classifier.score_samples(rows), kind="stable") for rows in (X, characters)
    )
    wrong = order[classifier.predict(X)[order] != y[order]]
    few = np.r_[wrong[:2], wrong[-2:]]
    yield "generative_figure6", classifier.plot_explanation(X[:4], y[:4])
    yield "generative_figure7", classifier.plot_explanation(X[few], y[few])
    yield "generative_figure8", draw_mended(classifier, knn, X, y, store)
    yield "generative_figure10", classifier.plot_explanation(characters[strange[:4]])


def draw_gevaldi(args, store):
    """Figures 1 to 6: from the results, and from the ensemble that was kept."""
    lines = store.frame("expressivity")
    for data, found in lines[lines["metric"].str.contains("path")].groupby("data"):
        metrics = found.groupby("metric")
        figure, axes = panels(len(metrics), 3.2)
        for ax, (metric, paths) in zip(axes, metrics, strict=True):
            for pair, values in paths.groupby("method")["value"]:
                mean, std = (f([*values], axis=0) for f in (np.mean, np.std))
                ax.errorbar(np.linspace(0, 100, len(mean)), mean, std, label=pair, capsize=2)
            ax.set(xlabel="Step", title=metric.replace(" path", ""))
        axes[0].legend(fontsize=7)
        yield f"gevaldi_figure2_{data}", figure
    name = "ensemble, one latent space, 0.joblib"
    gevaldi, found, X, y = joblib.load(args.cache / name)
    regions = gevaldi.failure_regions(found, space="latent")
    yield "gevaldi_figure1", ood.gevaldi.plot_samples(found, max_samples=6)
    yield "gevaldi_figure3", ood.gevaldi.plot_ascent(found)
    yield "gevaldi_figure5", ood.gevaldi.plot_map(found, regions[:10], X[:3000], y[:3000])
    yield "gevaldi_figure6", ood.gevaldi.plot_regions(found, regions, max_regions=6)


def draw_spigler(args, store):
    """Figures 2 to 5: the rings, what fooled the networks, the open set, ROC curves."""
    classifier, _ = spigler_tables.fit_rings(args.cache)
    points = grid(2, 201)
    parts = classifier.confidence_components(points)
    shown = {
        "log c(x) p(y|x)": classifier.score_samples(points),
        "unscaled labels": classifier.predict(points),
        "reconstruction": -classifier.alpha_ * parts.reconstruction_error,
        "curvature factor": parts.curvature_factor,
    }
    figure, axes = panels(4, 3.5)
    for ax, (title, values) in zip(axes, shown.items(), strict=True):
        plane(ax, values, 2, title, vmin=max(values.min(), -5))
    yield "spigler_figure2", figure
    figure, axes = panels(1, 2.2, len(ATTACKS), width=6)
    for ax, (name, threshold, target) in zip(axes, ATTACKS, strict=True):
        file = f"fooling, mlp, paper alpha-{name}-at {threshold:.0%}, {target}.joblib"
        result = joblib.load(args.cache / file)
        FoolingDisplay(result).plot(ax)
        title = f"{name}, {target} output at {threshold}: {result.rate:.1%} fooled"
        ax.set(title=title, xlabel="")
    yield "spigler_figure3", figure
    figure, axes = panels(2, 3.5, len(DATA), width=5, sharex=True, sharey=True)
    for row, (data, name) in zip(axes, DATA.items(), strict=True):
        lines = store.frame(f"open set {data}").astype({"data": float})
        lines[["name", "threshold"]] = lines["method"].str.split(" at ", expand=True)
        for ax, (threshold, found) in zip(row, lines.groupby("threshold"), strict=True):
            levels = found.groupby(["data", "name"])["value"]
            spread = {"yerr": levels.std(ddof=0).unstack(), "capsize": 2}
            levels.mean().unstack().plot(ax=ax, legend=False, **spread)
            ax.set(title=f"{name}, threshold {threshold}", ylim=(0, 1))
            ax.set(xlabel="Openness", ylabel="F-measure")
            ax.label_outer()
    axes[0, 0].legend(fontsize="small")
    yield "spigler_figure4", figure
    figure, axes = panels(2, 4, sharey=True)
    for ax, (data, name) in zip(axes, DATA.items(), strict=True):
        curves = store.frame(f"one class {data}").query("metric == 'hits'")
        for method, hits in curves.groupby("method", sort=False)["value"]:
            ax.plot(spigler.FALSE_POSITIVES, np.mean([*hits], axis=0), label=method)
        ax.set(xlabel="False positive rate", title=name, xlim=(0, 1), ylim=(0, 1.01))
    axes[0].set_ylabel("True positive rate")
    axes[0].legend(loc="lower right")
    yield "spigler_figure5", figure
    figure, axes = panels(1, 0.7, len(spigler_attack.NOISES), width=6)
    for ax, name in zip(axes, spigler_attack.NOISES, strict=True):
        FoolingDisplay(joblib.load(args.cache / f"attack-{name}.joblib")).plot(ax, n_rows=1)
        ax.set(title=name, xlabel="", xticks=[])
    yield "spigler_attack", figure


DRAW = (draw_vernekar, draw_lee, draw_generative, draw_gevaldi, draw_spigler)
DRAW = {draw.__name__.removeprefix("draw_"): draw for draw in DRAW}


def main():
    plt.switch_backend("Agg")
    args = command_line(__doc__, {paper: (paper, "--epochs") for paper in DRAW})
    for name, figure in DRAW[args.part](args, Store(args.part, args.results)):
        figure.savefig(args.results / f"{name}.png", dpi=80)
        plt.close(figure)


if __name__ == "__main__":
    main()
