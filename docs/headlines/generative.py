"""Generative classification knows when it does not know."""

import numpy as np
from records import Number, metric

from headlines import best, claim, part

EARLIER = "gan, adversarial loss alone"
PEERS_ON_IMAGES = (
    *("cnn", "cnn, ODIN", "cnn, ViM", "cnn, energy", "cnn features, 50-NN"),
    *("isolation forest", "lit pixels"),
)
PAIRS = (
    *(("mnist", "fashion_mnist"), ("mnist", "notmnist"), ("mnist", "omniglot")),
    *(("fashion_mnist", "mnist"), ("fashion_mnist", "notmnist")),
)
PEERS_ON_TABLES = ("GaussianMixture(1) a class", "GaussianMixture(4) a class")
PEERS_ON_TABLES += ("local outlier factor", "nearest row", "random forest", "isolation forest")


def headlines():
    def mnist(method, measure):
        return metric("generative", method, measure, experiment="images", data="mnist")

    def risk(method, measure="risk"):
        return metric(
            "generative", method, measure, experiment="risk", data="mnist and omniglot"
        )

    def above(method):
        """At how many coverages a hybrid is above the network of its seed, and where."""
        network, hybrid = (
            dict(zip(r.seeds, r.values, strict=True)) for r in map(risk, ("cnn", method))
        )
        over = [np.flatnonzero(np.subtract(hybrid[k], network[k]) > 1e-12) for k in hybrid]
        count = Number(map(len, over), len(over), range(len(over)))
        where = 2 * np.concatenate(over) + 2
        at = f", {min(where)} to {max(where)} % of all rows" if len(where) else ""
        return count, len(risk("cnn").values[0]), at

    def ahead(measure, low):
        won = 0
        for data, other in PAIRS:
            where = {"experiment": "images", "data": data}
            ours = metric("generative", "cnn conv features, knn", f"{other} {measure}", **where)
            peer = best("generative", f"{other} {measure}", PEERS_ON_IMAGES, low, **where)
            won += float(ours) < float(peer) if low else float(ours) > float(peer)
        return Number([won], peer.n), len(PAIRS)

    def mean_of_tables(methods):
        return best("generative", "auroc", methods, experiment="tables")

    for name, method, said in (
        ("GAN", "gan", 0.9781),
        ("GAN of the adversarial loss alone", EARLIER, 0.9781),
        *(("VAE", "vae", 0.9835), ("nearest neighbour", "knn", 0.9691)),
    ):
        yield claim(
            f"MNIST digits named rightly, {name}",
            f"{said:.2%}".replace("%", " %"),
            "{:.2p} %",
            lambda method=method: [mnist(method, "accuracy")],
            lambda ours, said=said: round(ours, 4) >= said,
        )
    for name, method, experiment, goal in (
        ("MNIST digits named rightly, GAN, at what cost", "gan", "images", 0.97),
        ("scikit-learn's digits named rightly, GAN", "gan", "digits", 0.95),
        ("scikit-learn's digits, GAN of the adversarial loss alone", EARLIER, "digits", 0.95),
        ("scikit-learn's digits named rightly, GAN of images", "gan, images", "digits", 0.95),
    ):
        yield claim(
            name,
            f"goal: {100 * goal:.0f} %",
            "{:.1p} % ({:.0f} s of a processor)",
            lambda method=method, experiment=experiment: [
                metric("generative", method, measure, experiment=experiment)
                for measure in ("accuracy", "fit, processor seconds")
            ],
            lambda ours, _, goal=goal: ours >= goal,
        )
    for name, method in (
        *(("VAE", "vae"), ("GAN", "gan"), ("GAN of the adversarial loss alone", EARLIER)),
        ("nearest neighbour", "knn"),
        *(("PCA", "pca 64, l2"), ("PCA's density", "pca, likelihood")),
        ("nearest neighbour in the CNN's features", "cnn conv features, knn"),
    ):
        yield claim(
            f"hybrid of the CNN and the {name} at or below the CNN's risk (Omniglot unknown)",
            "at every coverage",
            "above it at {:.0f} of {} coverages{}",
            lambda method=method: above(f"{method} + cnn's labels"),
            lambda over, *_: over == 0,
        )
    yield claim(
        "risk of the VAE's most confident answers falls to 0 (Omniglot unknown)",
        "at low coverage",
        "0 up to {:.1p} % coverage; {:.0f} errors in the first 5 %",
        lambda: [risk("vae", "coverage without error"), risk("vae", "errors in the first 5 %")],
        lambda coverage, errors: True if errors == 0 else "part" if coverage > 0 else False,
    )
    yield claim(
        "risk of the CNN never vanishes (Omniglot unknown)",
        "lowest .061",
        "lowest {:.4f} in float32, {:.4f} in log space",
        lambda: [risk("cnn, float32", "lowest risk"), risk("cnn", "lowest risk")],
        lambda single, log: part((single > 0) + (log > 0), 2),
    )
    yield claim(
        "neighbours in the CNN's features ahead of the best peer, AUROC",
        "goal: on every pair of image sets",
        "{:.0f} of {}",
        lambda: ahead("auroc", False),
        part,
    )
    yield claim(
        "neighbours in the CNN's features below the best peer, AURC with the CNN's labels",
        "goal: on every pair of image sets",
        "{:.0f} of {}",
        lambda: ahead("aurc", True),
        part,
    )
    yield claim(
        "default generators ahead of the best peer, tables with classes left out, mean AUROC",
        "goal: ahead",
        "{:.3f}, peer {:.3f}",
        lambda: [mean_of_tables(["auto"]), mean_of_tables(PEERS_ON_TABLES)],
        lambda ours, peer: ours > peer,
    )
