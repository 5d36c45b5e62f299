"""Training confidence-calibrated classifiers: the experiments of Lee et al. (2018).

``toys``, over several seeds. Figure 1: two Gaussians and only 100 outliers, from the box
[-50, 50]^2 or, nearer to the data, from [-20, 20]^2: how much of the large box does the
confident net still answer with more than .95? Figure 3: a net taught with outliers of
[-10, 10]^2 is held fixed while a GAN learns the data; guided by the net, it should make points
on the boundary. Measured: how far its points are from the nearest mean, and how many of the
two rings' 72 sectors they reach.

``collapse``: why a joint classifier dies at beta 1. A net that is sure of digits is given
outliers that are digits, as from a generator that has learned to imitate.

``images``, tables 1, 2, 3, 5 and 6, by name. One net a way of training: cross entropy, the
confidence loss with known outliers ("explicit"), with an original GAN that learns beside the
net or, as in the paper, has learned before, with the joint GAN, with the joint GAN and the
pull-away term, and the K + 1 class net with known outliers. Each is judged by its own
confidence and by ODIN, and by how many outliers it is sure of with more than .9 (figure 2, for
which there is ``--net simple_cnn``). beta and ODIN's temperature and step are chosen by AUROC
on two classes held out of the training rows, for the GANs once, with the joint GAN: no outlier
of a test set is seen before the test. ``--seen`` names the set whose first half (or training
part, where it has one) supplies the known outliers; its other half is tested too. Table 3's
temperature is fitted on 1,000 images that nothing else sees.

    python examples/papers/lee.py toys
    python examples/papers/lee.py collapse --epochs 10 --lr 1e-3 --seeds 3
    python examples/papers/lee.py images --in mnist --rows 2000 --epochs 4 --channels 16 \\
        --test-rows 1000 --lr 1e-3

The paper's run is that of ``lee_gpu.py``.
"""

import warnings
from functools import partial
from itertools import pairwise, product

import numpy as np
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from lab import Store, both, chosen, images, parser, sectors, test_images, timed, toy_network
from peers import rescored
from sklearn_ood import ConfidentClassifier, GANOutliers, RejectClassifier, UniformOutliers
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.metrics import auroc, expected_calibration_error, ood_report
from sklearn_ood.model_selection import LeaveClassesOut
from sklearn_ood.nets._heads import fit_temperature

OOD = -1
MEANS = np.array([[-5.0, 0.0], [5.0, 0.0]])
TOY_NET = {"module": toy_network, "beta": 1.0, "ood_label": OOD}
# A learning rate that leaves the net as it is.
FIXED = 1e-12
GANS = {
    "original GAN": GANOutliers(guided=False),
    "joint GAN": GANOutliers(),
    "joint GAN + PT": GANOutliers(pull_away=1.0),
}
PRETRAINED = "original GAN, pre-trained"
METHODS = ("cross entropy", "explicit", PRETRAINED, *GANS, "K+1")
SURE = np.log(0.9)
TEMPERATURES = (1.0, 1000.0)
STEPS = (0.0, 1e-3, 1e-2)


def fit(classifier, X, y):
    """As the package does it."""
    return classifier.fit(X, y)


def confident(box, seed, epochs):
    """A net that learns 100 outliers of a box."""
    X, y = make_two_gaussians(1000, outliers="box", n_outliers=100, box=box, random_state=seed)
    classifier = ConfidentClassifier(
        outliers="given", max_epochs=epochs, batch_size=128, random_state=seed, **TOY_NET
    )
    return classifier.fit(X, y)


def figure_1(box, seed, epochs):
    """Shares of points that are answered with more than .95."""
    classifier = confident(box, seed, epochs)
    X, y = make_two_gaussians(2000, outliers="box", n_outliers=20_000, random_state=1000 + seed)
    sure = np.exp(classifier.score_samples(X)) > 0.95
    inside = y != OOD
    near = ~inside & (np.abs(X) <= 20).all(axis=1)
    return {
        "accuracy": classifier.score(X[inside], y[inside]),
        "box confident": sure[~inside].mean(),
        "known confident": sure[inside].mean(),
        "near box confident": sure[near].mean(),
    }


def pretrained(seed):
    """The net of figure 3, taught with the box [-10, 10]^2: half the scale of our toy."""
    X, y = make_two_gaussians(
        4000, sigma=2.0, outliers="box", box=20.0, n_outliers=4000, random_state=seed
    )
    classifier = ConfidentClassifier(
        outliers="given", max_epochs=20, batch_size=400, random_state=seed, **TOY_NET
    )
    return classifier.fit(X / 2, y), X[y != OOD] / 2, y[y != OOD]


def generated(guided, seed, epochs):
    """2,000 samples of a GAN that learns beside the fixed net, and the data."""
    taught, X, y = pretrained(seed)
    gan = ConfidentClassifier(
        outliers=GANOutliers(guided=guided, lr=2e-3),
        lr=FIXED,
        max_epochs=epochs,
        batch_size=400,
        random_state=seed,
        **TOY_NET | {"module": taught.net_.module_},
    )
    return gan.fit(X, y).sample_outliers(2000, random_state=seed), X, y


def figure_3(guided, seed, epochs):
    """Where a GAN's samples are: shares by distance, and the sectors that they reach."""
    samples, _, _ = generated(guided, seed, epochs)
    radius = np.hypot(*(samples[:, None] - MEANS).transpose(2, 0, 1))
    nearest, distance = radius.argmin(axis=1), radius.min(axis=1)
    ring = (distance > 3) & (distance <= 5)
    reached = [
        len(np.unique(sectors(samples[ring & (nearest == k)] - mean)))
        for k, mean in enumerate(MEANS)
    ]
    return {
        "farther": (distance > 5).mean(),
        "inside": (distance <= 3).mean(),
        "ring": ring.mean(),
        "sectors": sum(reached),
    }


def toys(args):
    """Figures 1 and 3, every seed."""
    store = Store("lee", args.results)
    keys = {"epochs": args.epochs, "net": "500-500", "beta": 1.0, "sigma": 1.0}
    for seed in range(args.seeds):
        for box in (50, 20):
            data = f"100 outliers of [-{box}, {box}]^2"
            compute = partial(figure_1, box, seed, args.epochs)
            store.run(compute, "figure 1", data, "confident", seed, batch_size=128, **keys)
        for guided, method in ((False, "original GAN"), (True, "joint GAN")):
            compute = partial(figure_3, guided, seed, args.epochs)
            data = "box [-10, 10]^2"
            store.run(compute, "figure 3", data, method, seed, batch_size=400, **keys)


def deep_network(batch_norm):
    """Eight convolutions and three dense layers, as VGG13 is made, for images of 16 x 16."""

    def network(n_features, n_outputs):
        layers = []
        for narrow, wide in pairwise((1, 16, 32, 64, 64)):
            for before in (narrow, wide):
                conv = nn.Conv2d(before, wide, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out")
                layers += [conv, *[nn.BatchNorm2d(wide)] * batch_norm, nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        layers += [nn.Flatten()]
        for _ in range(2):
            layers += [nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5)]
        return nn.Sequential(*layers, nn.Linear(64, n_outputs))

    return network


def collapse(beta, batch_norm, lr, seed, epochs):
    """A net that knows the digits and noise, then taught outliers that are digits, too.

    So it is for a joint net whose generator has, within an epoch, learned to imitate.
    """
    X, y = load_digits(return_X_y=True)
    X = np.kron(X.reshape(-1, 1, 8, 8) / 16, np.ones((2, 2))).astype(np.float32)
    train, fresh = np.arange(len(X)) % 4 > 0, np.arange(len(X)) % 4 == 0
    shared = {"beta": beta, "lr": lr, "random_state": seed}
    noise = UniformOutliers(margin=0)
    before = ConfidentClassifier(
        deep_network(batch_norm), outliers=noise, max_epochs=epochs, **shared
    ).fit(X[train], y[train])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        after = ConfidentClassifier(
            before.net_.module_, outliers=imitations, max_epochs=5, **shared
        ).fit(X[train], y[train])
    return {
        "accuracy before": before.score(X[fresh], y[fresh]),
        "accuracy after": after.score(X[fresh], y[fresh]),
        "spread": np.log(after.predict_proba(X[fresh])).std(axis=0).max(),
        "told": float(any(each.category is ConvergenceWarning for each in told)),
    }


def imitations(X, y, n, random_state):
    """What a perfect generator makes: rows of the data."""
    return X[np.random.RandomState(random_state).randint(len(X), size=n)]


def collapses(args):
    """At which weights a deep net dies, with and without batch normalisation."""
    store = Store("lee", args.results)
    keys = {"epochs": args.epochs, "net": "8 conv, 3 dense", "lr": args.lr}
    for seed, norm, beta in product(range(args.seeds), (False, True), (0.1, 1.0)):
        compute = partial(collapse, beta, norm, args.lr, seed, args.epochs)
        data = "batch norm" if norm else "no batch norm"
        store.run(compute, "collapse", data, "confident", seed, beta=beta, **keys)


def simple_cnn(n_features, n_outputs):
    """Figure 2's: two 5 x 5 convolutions of 128 and 256, pooled by 2, three dense layers."""
    channels = 1 if n_features == 784 else 3
    size = n_features // channels // 16
    return nn.Sequential(
        *(nn.Conv2d(channels, 128, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(128, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256 * size, 128), nn.ReLU()),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, n_outputs)),
    )


NETS = {"simple_cnn": simple_cnn}


def flat(X, args):
    """Rows of images as the set that is taught has them: in one channel or three."""
    X = np.asarray(X, dtype=np.float32).reshape(len(X), -1)
    if args.inside == "cifar10" and X.shape[1] == 784:
        X = np.pad(X.reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
        X = np.repeat(X, 3, axis=1).reshape(len(X), -1)
    return X


def known_outliers(args):
    """Rows to train on, and rows to test on."""
    if args.seen == "tinyimagenet":
        rows = flat(images(args.seen, "test")[0], args)
        return rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return [flat(images(args.seen, part)[0], args) for part in ("train", "test")]


def network(method, beta, args):
    """One way of training."""
    shared = {
        "hidden_layer_sizes": (128,),
        "input_shape": (1, 28, 28) if args.inside == "mnist" else (3, 32, 32),
        "max_epochs": args.epochs,
        "batch_size": args.batch_size,
        "lr": args.lr,
        "lr_schedule": "step",
        "ood_label": OOD,
        "random_state": args.seed,
    }
    net = NETS.get(args.net, args.net)
    if method == "K+1":
        return RejectClassifier(
            net, outliers="given", beta=1.0, score_function="1-reject", **shared
        )
    outliers = "given"
    if method in GANS:
        gan = {"n_channels": args.channels, "lr": args.lr}
        outliers = clone(GANS[method]).set_params(**gan)
    return ConfidentClassifier(net, beta=beta, outliers=outliers, **shared)


def taught(method, beta, X, y, args, fit=fit):
    """The net of a method; if need be, its GAN has learned before."""
    net = network(method, beta, args)
    if method == PRETRAINED:
        gan = fit(network("original GAN", beta, args), X, y)
        net.outliers = partial(samples_of, gan)
    return fit(net, X, y)


def samples_of(gan, X, y, n, random_state):
    """Rows that a trained GAN makes, whatever the data."""
    return gan.sample_outliers(n, random_state=random_state)


def scores(classifier, X, temperature=1.0, step=0.0):
    """The net's own confidence, or with another temperature or a step what ODIN makes of it."""
    if (temperature, step) == (1.0, 0.0):
        return classifier.score_samples(X)
    if isinstance(classifier, ConfidentClassifier):
        odin = rescored(classifier, temperature=temperature, epsilon=step)
        return odin.score_samples(X)
    classifier.set_params(epsilon=step).temperature_ = temperature
    found = classifier.score_samples(X)
    classifier.set_params(epsilon=0.0).temperature_ = 1.0
    return found


def training_rows(args):
    """A random part of the set and as many known outliers; then 1,000 other rows."""
    X, y = images(args.inside)
    order = np.random.RandomState(args.seed).permutation(len(X))
    chosen, held_out = order[:-1000][: args.rows], order[-1000:]
    outliers = known_outliers(args)[0][: len(chosen)]
    rows = np.concatenate([flat(X[chosen], args), outliers])
    labels = np.concatenate([y[chosen], np.full(len(outliers), OOD)])
    return (rows, labels), (flat(X[held_out], args), y[held_out])


def unknown(args):
    """Rows of every set, a random part of each, and noise."""
    sets = {name: flat(test_images(name)[0], args) for name in args.out}
    sets[args.seen] = known_outliers(args)[1]
    order = np.random.RandomState(args.seed)
    sets = {
        name: rows[order.permutation(len(rows))[: args.test_rows]]
        for name, rows in sets.items()
    }
    shape = sets[args.seen].shape
    noise = order.normal(0.5, 1.0, size=shape).clip(0, 1), order.uniform(size=shape)
    names = ("gaussian noise", "uniform noise")
    return sets | {name: X.astype(np.float32) for name, X in zip(names, noise, strict=True)}


def choose(method, args, fit):
    """beta, temperature and step with which two classes, held out of training, rank lowest."""
    X, y = training_rows(args)[0]
    held_out = LeaveClassesOut(
        n_out=2, n_splits=1, test_size=0.1, ood_label=OOD, random_state=args.seed
    )
    train, judged = next(held_out.split(X, y))
    inside = np.isin(y[judged], y[train])

    def area(classifier, *odin):
        return auroc(inside, scores(classifier, X[judged], *odin))

    betas = {"cross entropy": (0.0,), "K+1": (1.0,)}.get(method, args.betas)
    fitted = {beta: taught(method, beta, X[train], y[train], args, fit) for beta in betas}
    beta = max(betas, key=lambda beta: area(fitted[beta]))
    odin = max(product(TEMPERATURES, STEPS), key=lambda pair: area(fitted[beta], *pair))
    return {"beta": beta, "temperature": odin[0], "step": odin[1]}


def calibration_error(log_proba, y, classes):
    """Expected calibration error of the answers, 20 bins."""
    best = log_proba.argmax(axis=1)
    sure = np.exp(log_proba.max(axis=1))
    return expected_calibration_error(y, classes[best], sure, n_bins=20)


def judge(method, best, args, fit):
    """One way of training on test images, by the net's own confidence and by ODIN."""
    train, (X, y) = training_rows(args)
    classifier, seconds = timed(partial(taught, method, best["beta"], *train, args, fit))
    classes = classifier.classes_
    temperature = fit_temperature(classifier.predict_log_proba(X), np.searchsorted(classes, y))
    X, y = (part[: args.test_rows] for part in images(args.inside, "test"))
    X, sets = flat(X, args), unknown(args)
    log_proba = classifier.predict_log_proba(X)
    metrics = {
        "accuracy": classifier.score(X, y),
        "ece": calibration_error(log_proba, y, classes),
        "ece, temperature": calibration_error(
            log_softmax(log_proba / temperature, axis=1), y, classes
        ),
        "spread": log_proba.std(axis=0).max(),  # near zero where the net has died
        "seconds": seconds,
    }
    metrics["sure of the known"] = (classifier.score_samples(X) > SURE).mean()
    for detector, odin in (("baseline", ()), ("ODIN", (best["temperature"], best["step"]))):
        inside = scores(classifier, X, *odin)
        for name, rows in sets.items():
            outside = scores(classifier, rows, *odin)
            report = ood_report(*both(inside, outside))
            metrics |= {f"{detector} {name} {key}": value for key, value in report.items()}
            if not odin:
                metrics[f"sure of {name}"] = (outside > SURE).mean()
    return best | metrics


def image_tables(args, name="lee", fit=fit):
    """Every way of training, its settings chosen first."""
    gray = args.inside == "mnist"
    args.seen = args.seen or ("fashion_mnist" if gray else "mnist")
    args.out = args.out or (["notmnist", "omniglot"] if gray else ["tinyimagenet", "notmnist"])
    store = Store(name, args.results)
    keys = ("net", "rows", "test_rows", "epochs", "batch_size", "lr", "channels", "seen")
    settings = chosen(args, *keys) | {"device": getattr(args, "device", None)}
    for seed, method in product(range(args.seeds), args.methods):
        args.seed = seed
        like = "joint GAN" if "GAN" in method else method
        where = "images, choice", args.inside, like, seed
        store.run(partial(choose, like, args, fit), *where, **settings)
        best = store.numbers(like, "images, choice", args.inside, seed, **settings)
        compute = partial(judge, method, best, args, fit)
        store.run(compute, "images", args.inside, method, seed, **settings)


PARTS = {"toys": toys, "collapse": collapses, "images": image_tables}
OPTIONS = """
    --epochs 100 --seeds 5 --net small_cnn --rows --test-rows --batch-size 64 --lr 2e-4
    --channels 128 --seen --betas 0.1 1.0"""


def command_line(name, doc=__doc__, parts=None):
    """Options of the images, for this script and the one for a GPU."""
    cli = parser(doc, name, OPTIONS, parts)
    cli.add_argument("--in", dest="inside", default="mnist", choices=("mnist", "cifar10"))
    cli.add_argument("--out", nargs="+", help="names of test outliers")
    cli.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    return cli


def main():
    args = command_line("lee", parts=PARTS).parse_args()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
