"""Lee et al. (2018), tables 1 to 6, on all of CIFAR-10 with VGG13 or AlexNet: for a GPU.

Networks, losses, heads and steps are the package's; the loop is plain torch, each training's
step a CUDA graph (on a CPU it runs as it is). As the paper has it:
Adam at 2e-4, a tenth after 60 % of the epochs, no augmentation, the authors' start weights. Two
classes are held out first, to choose ODIN's temperature and step by AUROC; then all ten are
taught. Known outliers are digits in colour or the first half of TinyImageNet's test images; the
other half, notMNIST, uniform and Gaussian noise are the unseen ones, so that what was seen and
what was not are different sets. Every result is kept with the name of the device.

    python examples/papers/lee_gpu.py --seeds 3
    python examples/papers/lee_gpu.py --net small_cnn --rows 96 --test-rows 40 --epochs 1 \\
        --channels 2 --methods "joint GAN" "K+1, digits" --results trial
"""

from functools import partial
from itertools import product

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from lab import Store, chosen, images, parser, timed
from lee import judged, scores
from sklearn_ood import ConfidentClassifier, GANOutliers, RejectClassifier
from sklearn_ood.metrics import auroc
from sklearn_ood.nets._training import Net, make_net
from sklearn_ood.outliers._gan import GANOutlierNet
from sklearn_ood.outliers._training import OutlierNet

SHAPE, CLASSES = (3, 32, 32), 10
METHODS = {
    "cross entropy": {},
    "explicit, digits": {"seen": "mnist"},
    "explicit, tinyimagenet": {"seen": "tinyimagenet"},
    "K+1, digits": {"seen": "mnist"},
    "original GAN": {"gan": GANOutliers(guided=False)},
    "joint GAN": {"gan": GANOutliers(), "beta": 0.1},
    "joint GAN, beta 1": {"gan": GANOutliers()},
    "joint GAN + PT": {"gan": GANOutliers(pull_away=1.0)},
}
TEMPERATURES, STEPS = (1.0, 10.0, 100.0, 1000.0), (0.0, 5e-4, 1e-3, 2e-3, 4e-3, 1e-2)


def prepared(template, rows, n_classes, *, lr, beta=1.0, gan=None, bank=None):
    """A net of the package, ready to step; ``bank`` has known outliers, if there are any."""
    network = authors_weights(template.make_network(n_classes, SHAPE))
    made, loss = partial(make_net, network, lr=lr), template.make_loss(None)
    if gan is None and bank is None:
        net = made(net_class=Net).initialize()
    else:
        options = {"beta": beta, "outlier_ratio": 1.0} | ({"gan": gan} if gan else {})
        kind = GANOutlierNet if gan else OutlierNet
        net = made(criterion=loss, net_class=kind, net_params=options)
        if gan:
            net.networks = gan.make_networks(SHAPE, rows)
        net.initialize()
        net.supply([net.generate if gan else partial(some_of, on_device(bank, net))], [1.0])
    net.notify("on_train_begin", X=None, y=None)
    for optimizer in optimizers(net):
        if net.device.startswith("cuda"):
            rate = torch.tensor(optimizer.param_groups[0]["lr"], device=net.device)
            optimizer.param_groups[0] |= {"capturable": True, "lr": rate}
    return net


def some_of(bank, n):
    return bank[torch.randint(len(bank), (n,), device=bank.device)]


def on_device(array, net):
    return torch.from_numpy(array).to(net.device)


def optimizers(net):
    """The classifier's, and those of a GAN."""
    return [net.optimizer_, *(each for _, each in getattr(net, "players_", ()))]


def run(net, rows, codes, *, epochs, batch_size, seed):
    """Train: the step recorded once as a CUDA graph, and replayed on batches."""
    order = np.random.RandomState(seed)
    inputs, targets = rows[:batch_size].clone(), codes[:batch_size].clone()
    step = partial(net.train_step, (inputs, targets))
    if rows.is_cuda:
        step = recorded(step)
    for epoch in range(epochs):
        if epoch == max(1, round(0.6 * epochs)):
            for optimizer in optimizers(net):
                optimizer.param_groups[0]["lr"] *= 0.1  # in place: a graph reads it there
        index = torch.from_numpy(order.permutation(len(rows))).to(rows.device)
        for batch in index.split(batch_size):
            if len(batch) == batch_size:
                inputs.copy_(rows[batch])
                targets.copy_(codes[batch])
                losses = step()
    if not torch.isfinite(losses["loss"]):
        raise ValueError(f"Training diverged: the last loss is {float(losses['loss'])}.")


def recorded(step):
    """A function that replays a step on the same tensors."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()

    def replay():
        graph.replay()
        return losses

    return replay


def authors_weights(network):
    """Convolutions as the authors start them."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)
    return network


def colored(name, split="train"):
    """Flat rows of images in three channels of 32 x 32, in [0, 1]."""
    X, y = images(name, split)
    X = np.asarray(X, dtype=np.float32).reshape(len(X), -1)
    if X.shape[1] != np.prod(SHAPE):
        X = np.pad(X.reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
        X = np.repeat(X, 3, axis=1).reshape(len(X), -1)
    return X, y


def taught(method, rows, codes, seen, args, seed):
    """The classifier trained by one method, and the seconds that it took."""
    settings = {key: value for key, value in METHODS[method].items() if key != "seen"}
    if "gan" in settings:
        settings["gan"] = clone(settings["gan"]).set_params(n_channels=args.channels)
    torch.manual_seed(seed)
    kind = RejectClassifier if "K+1" in method else ConfidentClassifier
    classifier = kind(args.net, hidden_layer_sizes=(128,))
    n_classes = int(codes.max()) + 1
    net = prepared(classifier, rows, n_classes, lr=args.lr, bank=seen, **settings)
    schedule = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": seed}
    data = on_device(rows, net), on_device(codes, net)
    _, seconds = timed(lambda: run(net, *data, **schedule))
    net.module_.eval()
    classifier.net_, classifier.classes_ = net, np.arange(n_classes)
    classifier.input_shape_, classifier.n_features_in_ = SHAPE, rows.shape[1]
    classifier.center_, classifier.temperature_ = None, 1.0
    return classifier, seconds


def choose(method, data, seen, args, seed):
    """ODIN's settings, by AUROC of two classes that were not taught."""
    rows, codes = data
    inside = codes < CLASSES - 2
    n_judged = min(1000, len(rows) // 4)
    asked = np.random.RandomState(seed).permutation(len(rows))[:n_judged]
    train = inside & ~np.isin(np.arange(len(rows)), asked)
    classifier, _ = taught(method, rows[train], codes[train], seen, args, seed)

    def area(odin):
        return auroc(inside[asked], scores(classifier, rows[asked], *odin))

    temperature, step = max(product(TEMPERATURES, STEPS), key=area)
    return {"temperature": temperature, "step": step}


def judge(method, data, seen, odin, tests, args, seed):
    """All that is measured of one method, and whether the classifier died."""
    classifier, seconds = taught(method, *data, seen, args, seed)
    sets = {name: rows for name, (rows, _) in tests.items() if name != "cifar10"}
    X, y = tests["cifar10"]
    metrics = judged(classifier, X, y, sets, (odin["temperature"], odin["step"]))
    spread = classifier.predict_log_proba(X).std(axis=0).max()  # near zero where it died
    return odin | metrics | {"spread": spread, "seconds": seconds}


def test_sets(n):
    """At most n rows of CIFAR-10's test part, with labels, and of each unseen set."""
    rng = np.random.RandomState(0)
    sets = {name: colored(name, "test") for name in ("cifar10", "notmnist")}
    sets["digits"], (tiny, _) = colored("mnist", "test"), colored("tinyimagenet", "test")
    noise = {
        "tinyimagenet": tiny[len(tiny) // 2 :],
        "uniform": rng.uniform(size=(2000, 3072)).astype(np.float32),
        "gaussian": rng.normal(0.5, 1.0, size=(2000, 3072)).clip(0, 1).astype(np.float32),
    }
    sets |= {name: (rows, np.zeros(len(rows))) for name, rows in noise.items()}
    return {name: (X[:n], y[:n]) for name, (X, y) in sets.items()}


def known(name, n):
    """Rows that teach what is an outlier."""
    if name is None:
        return None
    X, _ = colored(name, "test" if name == "tinyimagenet" else "train")
    return (X[: len(X) // 2] if name == "tinyimagenet" else X)[:n]


OPTIONS = """
    --seeds 1 --net vgg13 --epochs 100 --batch-size 64 --lr 2e-4 --channels 128
    --rows --test-rows"""


def main():
    cli = parser(__doc__, "lee_gpu", OPTIONS)
    cli.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    args = cli.parse_args()
    is_cuda = torch.cuda.is_available()
    keys = ("net", "epochs", "batch_size", "lr", "channels", "rows", "test_rows")
    settings = chosen(args, *keys)
    settings["device"] = torch.cuda.get_device_name() if is_cuda else "cpu"
    store = Store("lee_gpu", args.results)
    X, y = colored("cifar10")
    data, tests = (X[: args.rows], y[: args.rows].astype(np.int64)), test_sets(args.test_rows)
    for seed, method in product(range(args.seeds), args.methods):
        seen = known(METHODS[method].get("seen"), args.rows)
        compute = partial(choose, method, data, seen, args, seed)
        store.run(compute, "choice", "cifar10", method, seed, **settings)
        odin = store.numbers(method, "choice", "cifar10", seed, **settings)
        compute = partial(judge, method, data, seen, odin, tests, args, seed)
        store.run(compute, "cifar10", "cifar10", method, seed, **settings)


if __name__ == "__main__":
    main()
