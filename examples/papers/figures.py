"""The papers' figures, drawn into ``docs/results``.

    python examples/papers/figures.py vernekar    # trains six nets
    python examples/papers/figures.py lee         # trains six nets
    python examples/papers/figures.py generative  # from results, and trains a small VAE
    python examples/papers/figures.py gevaldi     # from results, and gevaldi_ensemble.py
    python examples/papers/figures.py spigler     # from results and nets kept by spigler.py

Models and scores that the protocols keep are read from their folder, or from ``--cache``.
"""

import sys

import joblib
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import generative
import lee
import spigler
import spigler_rings
import vernekar
from lab import Store, images, kept, parser
from sklearn_ood import GenerativeClassifier
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.generators import VAE
from sklearn_ood.gevaldi import plot_ascent, plot_map, plot_regions, plot_samples
from sklearn_ood.inspection import FoolingDisplay

BOX = (-50, 50, -50, 50)
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
N_SHOWN_ROWS = 3000


def panels(n, size, **layout):
    """A row of axes."""
    return plt.subplots(1, n, figsize=size, layout="constrained", **layout)


def plane(function, ax):
    """Values of a function on the box [-50, 50]^2, as a picture."""
    axis = np.linspace(-50, 50, 201)
    values = function(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    image = ax.imshow(values.reshape(201, 201), extent=BOX, origin="lower")
    ax.figure.colorbar(image, ax=ax)


def draw_vernekar(args):
    """Figures 3, 4 and 5: one classifier of each kind, and what the sources make."""
    settings = {"seed": 0, "sigma": 2.0, "epochs": args.epochs or 60}
    for number, source in ((3, "ring"), (4, "box")):
        figure, axes = panels(3, (10, 3.2))
        outliers = {"ring": "boundary"}.get(source, source)
        X, y = make_two_gaussians(1000, sigma=2.0, outliers=outliers, random_state=0)
        axes[0].scatter(*X.T, c=y, s=2, cmap="viridis")
        axes[0].set(title=f"training data, {source}", xlim=(-50, 50), ylim=(-50, 50))
        confident, reject = (
            vernekar.fit(kind, source, **settings) for kind in ("confident", "reject")
        )
        plane(lambda rows, net=confident: vernekar.largest_proba(net, rows), axes[1])
        plane(
            lambda rows, net=reject: np.where(
                vernekar.rejected(net, rows), 2, net.predict(rows)
            ),
            axes[2],
        )
        axes[1].set_title("confident: largest probability")
        axes[2].set_title("reject: class (2: reject)")
        yield f"vernekar_figure{number}", figure, 70
    figure, axes = panels(2, (8, 3.4))
    X, y = make_two_gaussians(1000, sigma=2.0, random_state=0)
    gan = vernekar.fit("confident", "joint GAN", **settings)
    for ax, source in zip(axes, ("joint GAN", "boundary sampler"), strict=True):
        ax.scatter(*X.T, c=y, s=2, cmap="viridis")
        ax.scatter(*vernekar.made(gan, source, 0, 2.0).T, s=3, color="tab:red")
        ax.set(title=source, xlim=(-25, 25), ylim=(-15, 15))
    yield "vernekar_figure5", figure, 70


def draw_lee(args):
    """Figure 1, the largest probability; figure 3, samples over the data."""
    epochs = args.epochs or 100
    figure, axes = panels(2, (8, 3.4))
    for ax, box in zip(axes, (50, 20), strict=True):
        net = lee.confident(box, 0, epochs)
        plane(lambda rows, net=net: np.exp(net.score_samples(rows)), ax)
        ax.set_title(f"100 outliers of [-{box}, {box}]²")
    yield "lee_figure1", figure, 70
    figure, axes = panels(2, (8, 3.4))
    for ax, guided in zip(axes, (False, True), strict=True):
        samples, X, y = lee.generated(guided, 0, epochs)
        ax.scatter(*X[:1000].T, c=y[:1000], s=2)
        ax.scatter(*samples[:1000].T, s=3, color="tab:red")
        ax.set_title("joint GAN" if guided else "original GAN")
    yield "lee_figure3", figure, 70


def draw_generative(args):
    """Figure 9 from the results; nearest generations (6, 7, 10) of a small VAE a class."""
    runs = Store("generative", args.results).runs_of("risk")
    found = {
        name: values
        for data, name, metric, values in runs
        if (data, metric) == ("mnist and omniglot", "risk")
    }
    figure, axes = panels(2, (10, 4.2), sharey=True)
    for ax, suffix in zip(axes, ("", " + cnn's labels"), strict=True):
        for name, title in CURVES.items():
            name += suffix * (name != "cnn")
            if name in found:
                style = {"color": "black", "linewidth": 2} if name == "cnn" else {}
                ax.plot(generative.COVERAGES, found[name], label=title, **style)
        ax.set(xlabel="Coverage", yscale="log", ylim=(3e-4, 1))
        ax.set_title("hybrids: the network's labels" if suffix else "each with its own labels")
    axes[0].set_ylabel("Selective risk (0 is not drawn)")
    axes[0].legend(fontsize=8)
    yield "generative_figure9", figure, 80
    X, y = images("mnist")
    vae = VAE(10, encoder="mlp", decoder="mlp", max_epochs=30, random_state=0)
    classifier = GenerativeClassifier(
        vae, search="both", input_shape=generative.IMAGE, max_iter=20, random_state=0
    )
    classifier, _ = kept(
        args.cache / "nearest.joblib",
        lambda: classifier.fit(X[:N_SHOWN_ROWS], y[:N_SHOWN_ROWS]),
    )
    X, y = (part[:1000] for part in images("mnist", "test"))
    answers, confidence = classifier.predict(X), classifier.score_samples(X)
    characters = images("omniglot", "all")[0][:1000]
    strange = np.argsort(-classifier.score_samples(characters), kind="stable")[:4]
    order = np.argsort(-confidence, kind="stable")
    wrong = order[answers[order] != y[order]]
    yield "generative_figure6", classifier.plot_explanation(X[:4], y[:4]), 80
    few = np.r_[wrong[:2], wrong[-2:]]
    yield "generative_figure7", classifier.plot_explanation(X[few], y[few]), 80
    yield "generative_figure10", classifier.plot_explanation(characters[strange]), 80


def draw_gevaldi(args):
    """Figures 1 to 6: from the results, and from the ensemble kept by gevaldi_ensemble.py."""
    store = Store("gevaldi", args.results)
    for data in ("letter_recognition", "mnist"):
        curves = {}
        for where, pair, metric, path in store.runs_of("expressivity"):
            if where == data and "path" in metric:
                curves.setdefault(metric, {}).setdefault(pair, []).append(path)
        if curves:
            figure, axes = panels(len(curves), (3.4 * len(curves), 3.2))
            for ax, (metric, pairs) in zip(axes, sorted(curves.items()), strict=True):
                for pair, paths in pairs.items():
                    steps = np.linspace(0, 100, len(paths[0]))
                    mean, spread = np.mean(paths, axis=0), np.std(paths, axis=0)
                    ax.errorbar(steps, mean, spread, label=pair, capsize=2)
                ax.set(xlabel="Step", title=metric.replace(" path", ""))
            axes[0].legend(fontsize=7)
            yield f"gevaldi_figure2_{data}", figure, 80
    file = args.cache / "ensemble, one latent space, 0.joblib"
    gevaldi, found, X, y = joblib.load(file)
    regions = gevaldi.failure_regions(found, space="latent")
    yield "gevaldi_figure1", plot_samples(found, max_samples=6), 80
    yield "gevaldi_figure3", plot_ascent(found), 80
    yield "gevaldi_figure5", plot_map(found, regions[:10], X[:3000], y[:3000]), 80
    yield "gevaldi_figure6", plot_regions(found, regions, max_regions=6), 80


def draw_spigler(args):
    """Figures 2 to 5: the rings, what fooled the networks, the open set, ROC curves."""
    classifier, _ = spigler_rings.fit_rings(args.cache)
    points = spigler_rings.square()
    parts = classifier.confidence_components(points)
    shown = {
        "log c(x) p(y|x)": classifier.score_samples(points),
        "unscaled labels": classifier.predict(points),
        "reconstruction": -classifier.alpha_ * parts.reconstruction_error,
        "curvature factor": parts.curvature_factor,
    }
    figure, axes = panels(4, (14, 3.5))
    for ax, (title, values) in zip(axes, shown.items(), strict=True):
        ax.pcolormesh(*points.reshape(200, 200, 2).transpose(2, 0, 1), values.reshape(200, 200))
        ax.set(title=title, aspect="equal")
        ax.collections[0].set_clim(max(values.min(), -5))
    yield "spigler_figure2", figure, 120
    figure, axes = plt.subplots(3, 1, figsize=(6, 6.5), layout="constrained")
    attacks = (
        ("softmax", 0.9, "unscaled"),
        ("COOL", 0.9, "unscaled"),
        ("DAE tied", 0.99, "scaled"),
    )
    for ax, (name, threshold, target) in zip(axes, attacks, strict=True):
        file = f"fooling, mlp, paper alpha-{name}-at {threshold:.0%}, {target}.joblib"
        result = joblib.load(args.cache / file)
        FoolingDisplay(result).plot(ax)
        title = f"{name}, {target} output at {threshold}: {result.rate:.1%} fooled"
        ax.set(title=title, xlabel="")
    yield "spigler_figure3", figure, 120
    store = Store("spigler", args.results)
    yield "spigler_figure4", open_set(store), 120
    yield "spigler_figure5", one_class(store), 120


def open_set(store):
    """F-measure against openness, with standard deviations, from the results."""
    figure, axes = plt.subplots(
        2, 2, figsize=(10, 7), layout="constrained", sharex=True, sharey=True
    )
    for row, (data, name) in zip(axes, DATA.items(), strict=True):
        curves = {}
        for level, method, _, (value,) in store.runs_of(f"open set {data}"):
            label, at = method.split(" at ")
            levels = curves.setdefault((float(at), label), {})
            levels.setdefault(float(level), []).append(value)
        for ax, threshold in zip(row, spigler.THRESHOLDS, strict=True):
            for (at, label), levels in sorted(curves.items()):
                if at == threshold:
                    means, stds = ([f(v) for v in levels.values()] for f in (np.mean, np.std))
                    ax.errorbar(list(levels), means, stds, label=label, capsize=2)
            ax.set(title=f"{name}, threshold {threshold}", ylim=(0, 1))
            ax.set(xlabel="Openness", ylabel="F-measure")
            ax.label_outer()
    axes[0, 0].legend(fontsize="small")
    return figure


def one_class(store):
    """ROC curves, averaged over the ten classes, from the results."""
    figure, axes = panels(2, (9, 4), sharey=True)
    for ax, (data, name) in zip(axes, DATA.items(), strict=True):
        for _, method, metric, hits in store.runs_of(f"one class {data}"):
            if metric == "hits":
                ax.plot(spigler.FALSE_POSITIVES, hits, label=method)
        ax.set(xlabel="False positive rate", title=name, xlim=(0, 1), ylim=(0, 1.01))
    axes[0].set_ylabel("True positive rate")
    axes[0].legend(loc="lower right")
    return figure


DRAW = {
    "vernekar": draw_vernekar,
    "lee": draw_lee,
    "generative": draw_generative,
    "gevaldi": draw_gevaldi,
    "spigler": draw_spigler,
}


def main():
    cli = parser(__doc__, sys.argv[1] if len(sys.argv) > 1 else "")
    cli.add_argument("paper", choices=DRAW)
    cli.add_argument("--epochs", type=int, help="fewer, for a trial")
    args = cli.parse_args()
    for name, figure, dpi in DRAW[args.paper](args):
        figure.savefig(args.results / f"{name}.png", dpi=dpi)
        plt.close(figure)


if __name__ == "__main__":
    main()
