"""Training confidence-calibrated classifiers: the experiments of Lee et al. (2018).

``figure-1``, over several seeds: two Gaussians and only 100 outliers, from the box
[-50, 50]^2 or, nearer to the data, from [-20, 20]^2: how much of the large box does the
confident net still answer with more than .95? ``figure-3``: a net taught with outliers of
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
temperature is fitted on 1,000 images that nothing else sees. ``colour``: the same of CIFAR-10.

    python examples/papers/lee.py figure-1
    python examples/papers/lee.py figure-3
    python examples/papers/lee.py collapse --beta 1.0
    python examples/papers/lee.py images --rows 2000 --epochs 4 --channels 16 \\
        --test-rows 1000 --lr 1e-3

The paper's run is that of ``lee_gpu.py``.
"""

import warnings
from functools import partial
from itertools import pairwise, product

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn

import lab
import sklearn_ood as ood
from sklearn_ood.datasets import make_two_gaussians
from sklearn_ood.metrics import auroc, expected_calibration_error, ood_report
from sklearn_ood.nets._heads import fit_temperature

OOD = -1
MEANS = np.array([[-5.0, 0.0], [5.0, 0.0]])
TOY_NET = {"module": lab.toy_network, "beta": 1.0, "outliers": "given", "ood_label": OOD}
# A learning rate that leaves the net as it is.
FIXED = 1e-12
PRETRAINED, PULLED = "original GAN, pre-trained", "joint GAN + PT"
GANS = {"original GAN": ood.GANOutliers(guided=False), "joint GAN": ood.GANOutliers()}
CONFIDENT, BESIDE = ("confident",), tuple(GANS)
GANS |= {PULLED: ood.GANOutliers(pull_away=1.0)}
METHODS = ("cross entropy", "explicit", PRETRAINED, *GANS, "K+1")
SURE, SURENESS = np.log(0.9), np.linspace(0, 1, 11)
BOXES = {f"100 outliers of [-{box}, {box}]^2": box for box in (50, 20)}
SMALL_BOX, NORMS = ("box [-10, 10]^2",), ("no batch norm", "batch norm")
DEEP = {"net": "8 conv, 3 dense"}
PLANE, EPOCHS = {"net": "500-500", "beta": 1.0, "sigma": 1.0}, "--epochs 100"
OUTSIDE = {"mnist": ("notmnist", "omniglot"), "cifar10": ("tinyimagenet", "notmnist")}
IMAGES = """--net small_cnn --rows --test-rows --epochs 100 --batch-size 64 --lr 2e-4
    --channels 128"""
BETAS, ODIN = (0.1, 1.0), [*product((1.0, 1000.0), (0.0, 1e-3, 1e-2))]


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


def toy(X, y, epochs, batch_size, seed, **settings):
    """A net that learns the plane, and given outliers."""
    training = {"max_epochs": epochs, "batch_size": batch_size, "random_state": seed}
    return ood.ConfidentClassifier(**TOY_NET | training | settings).fit(X, y)


def confident(box, seed, epochs):
    """A net that learns 100 outliers of a box."""
    X, y = make_two_gaussians(1000, outliers="box", n_outliers=100, box=box, random_state=seed)
    return toy(X, y, epochs, 128, seed)


@lab.Experiment("figure 1", BOXES, CONFIDENT, 5, EPOCHS, PLANE | {"batch_size": 128})
def figure_1(args, data, seed, method):
    """Shares of points that are answered with more than .95."""
    classifier = confident(BOXES[data], seed, args.epochs)
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


def generated(guided, seed, epochs):
    """2,000 samples of a GAN that learns beside a fixed net, and the data.

    The net was taught with the box [-10, 10]^2: all is half the scale of our toy.
    """
    box = {"outliers": "box", "box": 20.0, "n_outliers": 4000}
    X, y = make_two_gaussians(4000, sigma=2.0, random_state=seed, **box)
    taught, inside = toy(X / 2, y, 20, 400, seed), y != OOD
    X, y, gan = X[inside] / 2, y[inside], ood.GANOutliers(guided=guided, lr=2e-3)
    beside = toy(X, y, epochs, 400, seed, outliers=gan, lr=FIXED, module=taught.net_.module_)
    return beside.sample_outliers(2000, random_state=seed), X, y


@lab.Experiment("figure 3", SMALL_BOX, BESIDE, 5, EPOCHS, PLANE | {"batch_size": 400})
def figure_3(args, data, seed, method):
    """Where a GAN's samples are: shares by distance, and the sectors that they reach."""
    samples, _, _ = generated(method == "joint GAN", seed, args.epochs)
    distance = cdist(samples, MEANS).min(axis=1)
    return {
        "farther": (distance > 5).mean(),
        "inside": (distance <= 3).mean(),
        "ring": ((distance > 3) & (distance <= 5)).mean(),
        "sectors": sum(lab.sectors_reached(samples, MEANS, 3, 5)),
    }


def deep_network(n_features, n_outputs, batch_norm):
    """Eight convolutions and three dense layers, as VGG13 is made, for images of 16 x 16."""
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


@lab.Experiment("collapse", NORMS, CONFIDENT, 3, "--beta 0.1 --epochs 10 --lr 1e-3", DEEP)
def collapse(args, data, seed, method):
    """A net that knows the digits and noise, then taught outliers that are digits, too.

    So it is for a joint net whose generator has, within an epoch, learned to imitate.
    """
    X, y = load_digits(return_X_y=True)
    X = np.kron(X.reshape(-1, 1, 8, 8) / 16, np.ones((2, 2))).astype(np.float32)
    fresh = np.arange(len(X)) % 4 == 0
    taught, test = (X[~fresh], y[~fresh]), (X[fresh], y[fresh])
    net = partial(ood.ConfidentClassifier, beta=args.beta, lr=args.lr, random_state=seed)
    network = partial(deep_network, batch_norm=data == "batch norm")
    noise = {"outliers": ood.UniformOutliers(margin=0), "max_epochs": args.epochs}
    before = net(network, **noise).fit(*taught)
    after = net(before.net_.module_, outliers=imitations, max_epochs=5)
    with warnings.catch_warnings(record=True, action="always") as told:
        after.fit(*taught)
    return {
        "accuracy before": before.score(*test),
        "accuracy after": after.score(*test),
        "spread": np.log(after.predict_proba(test[0])).std(axis=0).max(),
        "told": float(any(each.category is ConvergenceWarning for each in told)),
    }


def imitations(X, y, n, random_state):
    """What a perfect generator makes: rows of the data."""
    return X[np.random.RandomState(random_state).randint(len(X), size=n)]


def flat(X, data):
    """Rows of images as the set that is taught has them: in one channel or three."""
    X = np.asarray(X, dtype=np.float32).reshape(len(X), -1)
    is_grey = data == "cifar10" and X.shape[1] == 784
    return lab.in_colour(X).reshape(len(X), -1) if is_grey else X


def known_outliers(seen, data):
    """Rows to train on, and rows to test on."""
    if seen == "tinyimagenet":
        return np.array_split(flat(lab.images(seen, "test")[0], data), 2)
    return [flat(lab.images(seen, part)[0], data) for part in ("train", "test")]


def network(args, data, seed, method, beta):
    """One way of training."""
    net = {"input_shape": lab.IMAGE if data == "mnist" else (3, 32, 32), "lr": args.lr}
    net |= {"module": simple_cnn if args.net == "simple_cnn" else args.net}
    net["hidden_layer_sizes"] = (128,)
    net |= {"max_epochs": args.epochs, "batch_size": args.batch_size, "lr_schedule": "step"}
    net |= {"outliers": "given", "beta": beta, "ood_label": OOD, "random_state": seed}
    if method == "K+1":
        return ood.RejectClassifier(score_function="1-reject", **net | {"beta": 1.0})
    if method in GANS:
        net["outliers"] = clone(GANS[method]).set_params(n_channels=args.channels, lr=args.lr)
    return ood.ConfidentClassifier(**net)


def taught(X, y, args, data, seed, method, beta):
    """The net of a method; if need be, its GAN has learned before."""
    net = network(args, data, seed, method, beta)
    fit = vars(args).get("fit", type(net).fit)
    if method == PRETRAINED:
        gan = fit(network(args, data, seed, "original GAN", beta), X, y)
        net.outliers = lambda X, y, n, seed: gan.sample_outliers(n, random_state=seed)
    return fit(net, X, y)


def scores(classifier, X, temperature=1.0, step=0.0):
    """The net's own confidence, or with another temperature or a step what ODIN makes of it."""
    odin = lab.altered(classifier, epsilon=step, temperature_=temperature)
    return odin.score_samples(X)


def training_rows(args, data, seed):
    """A random part of the set and as many known outliers; then 1,000 other rows."""
    X, y = lab.images(data)
    order = np.random.RandomState(seed).permutation(len(X))
    chosen, held_out = order[:-1000][: args.rows], order[-1000:]
    outliers = known_outliers(args.seen, data)[0][: len(chosen)]
    rows = np.concatenate([flat(X[chosen], data), outliers])
    labels = np.concatenate([y[chosen], np.full(len(outliers), OOD)])
    return (rows, labels), (flat(X[held_out], data), y[held_out])


def unknown(args, data, seed):
    """Rows of every set, a random part of each, and noise."""
    sets = {name: flat(lab.test_images(name)[0], data) for name in OUTSIDE[data]}
    sets[args.seen] = known_outliers(args.seen, data)[1]
    order = np.random.RandomState(seed)
    for name, rows in sets.items():
        sets[name] = rows[order.permutation(len(rows))[: args.test_rows]]
    shape = sets[args.seen].shape
    sets["gaussian noise"] = order.normal(0.5, 1.0, size=shape).clip(0, 1).astype(np.float32)
    sets["uniform noise"] = order.uniform(size=shape).astype(np.float32)
    return sets


def choice(args, data, seed, method):
    """beta, temperature and step with which two classes, held out of training, rank lowest."""
    X, y = training_rows(args, data, seed)[0]
    held_out = {"n_out": 2, "n_splits": 1, "test_size": 0.1, "ood_label": OOD}
    train, judged = lab.left_out(y, 0, **held_out, random_state=seed)
    inside = np.isin(y[judged], y[train])

    def area(classifier, *odin):
        return auroc(inside, scores(classifier, X[judged], *odin))

    betas = {"cross entropy": (0.0,), "K+1": (1.0,)}.get(method, BETAS)
    run = partial(taught, X[train], y[train], args, data, seed, method)
    fitted = {beta: run(beta) for beta in betas}
    beta = max(betas, key=lambda beta: area(fitted[beta]))
    odin = max(ODIN, key=lambda pair: area(fitted[beta], *pair))
    return {"beta": beta, "temperature": odin[0], "step": odin[1]}


def calibration_error(log_proba, y, classes):
    """Expected calibration error of the answers, 20 bins."""
    answers, sure = classes[log_proba.argmax(axis=1)], np.exp(log_proba.max(axis=1))
    return expected_calibration_error(y, answers, sure, n_bins=20)


@lab.Experiment("figure 2", ("mnist",), METHODS[:2], options=IMAGES, settings={"beta": 1.0})
def figure_2(args, data, seed, method):
    """How sure a net is of each set: shares of the images by the largest probability."""
    args.seen = "fashion_mnist"
    (X, y), _ = training_rows(args, data, seed)
    classifier = taught(X, y, args, data, seed, method, beta=float(method == "explicit"))
    X, y = (part[: args.test_rows] for part in lab.images(data, "test"))
    known, metrics = np.exp(classifier.score_samples(X)), {"accuracy": classifier.score(X, y)}
    for name, rows in ({"known": X} | unknown(args, data, seed)).items():
        sure = np.exp(classifier.score_samples(rows))
        metrics[f"sure of {name}"] = (sure > 0.9).mean()
        metrics[f"shares of {name}"] = np.histogram(sure, SURENESS)[0] / len(sure)
        metrics[f"auroc of {name}"] = auroc(*lab.both(known, sure))
    return metrics


@lab.Experiment("images", ("mnist",), METHODS, options=IMAGES + " --seen fashion_mnist")
@lab.Experiment("images", ("cifar10",), METHODS, 1, IMAGES + " --seen mnist", part="colour")
def images(args, data, seed, method):
    """One way of training on test images, by the net's own confidence and by ODIN."""
    like = "joint GAN" if "GAN" in method else method
    where = {"experiment": "images, choice", "data": data, "seed": seed} | args.recorded
    args.store.run(partial(choice, args, data, seed, like), method=like, **where)
    best = args.store.find(**where)[like]
    train, (X, y) = training_rows(args, data, seed)
    classifier = taught(*train, args, data, seed, method, best["beta"])
    classes = classifier.classes_
    temperature = fit_temperature(classifier.predict_log_proba(X), np.searchsorted(classes, y))
    X, y = (part[: args.test_rows] for part in lab.images(data, "test"))
    X, sets = flat(X, data), unknown(args, data, seed)
    log_proba = classifier.predict_log_proba(X)
    cooled = log_softmax(log_proba / temperature, axis=1)
    metrics = best | {
        "accuracy": classifier.score(X, y),
        "ece": calibration_error(log_proba, y, classes),
        "ece, temperature": calibration_error(cooled, y, classes),
    }
    for detector, odin in (("baseline", ()), ("ODIN", (best["temperature"], best["step"]))):
        inside = scores(classifier, X, *odin)
        for name, rows in sets.items():
            outside = scores(classifier, rows, *odin)
            report = ood_report(*lab.both(inside, outside))
            metrics |= {f"{detector} {name} {key}": value for key, value in report.items()}
            if not odin:
                metrics[f"sure of {name}"] = (outside > SURE).mean()
                metrics["sure of the known"] = (inside > SURE).mean()
    return metrics


if __name__ == "__main__":
    lab.main(__doc__, "lee")
