"""Lee et al. (2018), tables 1 to 6, on all of CIFAR-10 with VGG13 or AlexNet: for a GPU.

The networks, losses and heads are the package's; the loop is plain torch, each training's step
a CUDA graph (on a CPU it runs as it is), equal to the package's own step. As the paper has it:
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
from torch.func import functional_call
from torch.nn.functional import cross_entropy, softplus

from lab import Store, images, parser, timed
from peers import rescored
from sklearn_ood import ConfidentClassifier, GANOutliers, RejectClassifier, SoftmaxClassifier
from sklearn_ood.metrics import auroc, expected_calibration_error, ood_report
from sklearn_ood.nets._evaluation import map_batches
from sklearn_ood.outliers._gan import pull_away_term

SHAPE, CLASSES = (3, 32, 32), 10
METHODS = {
    "cross entropy": {},
    "explicit, digits": {"seen": "mnist"},
    "explicit, tinyimagenet": {"seen": "tinyimagenet"},
    "K+1, digits": {"seen": "mnist", "reject": True},
    "original GAN": {"gan": GANOutliers(guided=False), "beta": 1.0},
    "joint GAN": {"gan": GANOutliers(), "beta": 0.1},
    "joint GAN, beta 1": {"gan": GANOutliers(), "beta": 1.0},
    "joint GAN + PT": {"gan": GANOutliers(pull_away=1.0), "beta": 1.0},
}
TEMPERATURES, STEPS = (1.0, 10.0, 100.0, 1000.0), (0.0, 5e-4, 1e-3, 2e-3, 4e-3, 1e-2)


class Training:
    """One way of training, step by step; ``draw`` gives known outliers, where there are any."""

    def __init__(self, network, loss, *, lr, beta=1.0, gan=None, networks=(), draw=None):
        self.network, self.loss, self.beta, self.gan, self.draw = network, loss, beta, gan, draw
        self.device = next(network.parameters()).device
        self.networks, self.on_gpu = networks, self.device.type == "cuda"
        betas = [(0.9, 0.999), *[(0.5, 0.999)] * len(networks)]
        self.optimizers = [
            torch.optim.Adam(
                each.parameters(),
                torch.tensor(lr, device=self.device) if self.on_gpu else lr,
                betas=pair,
                capturable=self.on_gpu,
            )
            for each, pair in zip((network, *networks), betas, strict=True)
        ]

    def step(self, inputs, targets):
        """The discriminator's, the generator's and the classifier's step (algorithm 1)."""
        outliers = None
        if self.gan:
            self._play(inputs)
            with torch.no_grad():
                outliers = self.generate(len(inputs))
        elif self.draw:
            outliers = self.draw(len(inputs))
        if outliers is None:
            loss = cross_entropy(self.network(inputs), targets)
        else:
            outputs = self.network(torch.cat([inputs, outliers]))
            of_rows, of_outliers = self.loss(
                outputs[: len(inputs)], targets, outputs[len(inputs) :]
            )
            loss = of_rows + self.beta * of_outliers
        self._descend(0, loss)
        return loss.detach()

    def generate(self, n):
        latents = torch.randn(n, self.gan.latent_dim, device=self.device)
        return self.networks[0](latents).flatten(1)

    def _play(self, inputs):
        fakes, judge = self.generate(len(inputs)), self.networks[1]
        judged = softplus(-judge(inputs)).mean() + softplus(judge(fakes.detach())).mean()
        self._descend(2, judged)
        fooled = softplus(-judge(fakes)).mean()
        if self.gan.guided:
            statistics = {k: buffer.clone() for k, buffer in self.network.named_buffers()}
            said = functional_call(self.network, statistics, fakes)
            fooled = fooled + self.beta * self.loss.outlier_loss(said)
        if self.gan.pull_away:
            fooled = fooled + self.gan.pull_away * pull_away_term(fakes)
        self._descend(1, fooled)

    def _descend(self, number, loss):
        optimizer = self.optimizers[number]
        weights = list((self.network, *self.networks)[number].parameters())
        optimizer.zero_grad()
        loss.backward(inputs=weights)
        optimizer.step()

    def slow_down(self, factor):
        """A smaller learning rate, written where a graph reads it."""
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] *= factor


def run(training, rows, codes, *, epochs, batch_size, seed):
    """Train: the step recorded once as a CUDA graph, and replayed on batches."""
    order = np.random.RandomState(seed)
    inputs, targets = rows[:batch_size].clone(), codes[:batch_size].clone()
    step = partial(training.step, inputs, targets)
    if training.on_gpu:
        step = recorded(step)
    for epoch in range(epochs):
        if epoch == max(1, round(0.6 * epochs)):
            training.slow_down(0.1)
        index = torch.from_numpy(order.permutation(len(rows))).to(rows.device)
        for batch in index.split(batch_size):
            if len(batch) == batch_size:
                inputs.copy_(rows[batch])
                targets.copy_(codes[batch])
                loss = step()
    if not torch.isfinite(loss):
        raise ValueError(f"Training diverged: the last loss is {float(loss)}.")


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
        loss = step()

    def replay():
        graph.replay()
        return loss

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
    """The trained network of one method, its loss, and the seconds that it took."""
    settings = dict(METHODS[method])
    settings.pop("seen", None)
    kind = RejectClassifier if settings.pop("reject", False) else ConfidentClassifier
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    template = kind(args.net)
    network = authors_weights(template.make_network(int(codes.max()) + 1, SHAPE)).to(device)
    gan, networks, draw = settings.pop("gan", None), (), None
    if gan:
        gan = clone(gan).set_params(n_channels=args.channels)
        networks = tuple(each.to(device) for each in gan.make_networks(SHAPE, rows))
    if seen is not None:
        bank = torch.from_numpy(seen).to(device)
        draw = lambda n: bank[torch.randint(len(bank), (n,), device=device)]  # noqa: E731
    loss = template.make_loss(None).to(device)
    training = Training(
        network, loss, lr=args.lr, gan=gan, networks=networks, draw=draw, **settings
    )
    data = torch.from_numpy(rows).to(device), torch.from_numpy(codes).to(device)
    schedule = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": seed}
    _, seconds = timed(lambda: run(training, *data, **schedule))
    return network.eval(), template, seconds


def scores(network, template, n_classes, X, temperature=1.0, step=0.0):
    """The template's own score of rows, or ODIN's of a softmax."""
    if isinstance(template, RejectClassifier):
        head = template.make_head()
        outputs = map_batches(network, X, device=next(network.parameters()).device)
        return head.score(torch.from_numpy(outputs).double()).numpy()
    softmax = SoftmaxClassifier.from_module(network.network, range(n_classes), SHAPE)
    if (temperature, step) != (1.0, 0.0):
        softmax = rescored(softmax, temperature=temperature, epsilon=step)
    return softmax.score_samples(X)


def choose(method, data, seen, args, seed):
    """ODIN's settings, by AUROC of two classes that were not taught."""
    rows, codes = data
    inside = codes < CLASSES - 2
    n_judged = min(1000, len(rows) // 4)
    judged = np.random.RandomState(seed).permutation(len(rows))[:n_judged]
    train = inside & ~np.isin(np.arange(len(rows)), judged)
    network, template, _ = taught(method, rows[train], codes[train], seen, args, seed)

    def area(odin):
        found = scores(network, template, CLASSES - 2, rows[judged], *odin)
        return auroc(inside[judged], found)

    temperature, step = max(product(TEMPERATURES, STEPS), key=area)
    return {"temperature": temperature, "step": step}


def judge(method, data, seen, odin, tests, args, seed):
    """Accuracy, calibration with and without a temperature, and every set of outliers."""
    network, template, seconds = taught(method, *data, seen, args, seed)
    X, y = tests["cifar10"]
    device = next(network.parameters()).device
    logits = torch.from_numpy(map_batches(network, X, device=device)).double()[:, :CLASSES]
    metrics = odin | {"accuracy": (logits.argmax(1).numpy() == y).mean(), "seconds": seconds}
    spread = torch.log_softmax(logits, 1).std(0).max()
    metrics |= {"spread": float(spread)}  # near zero where the classifier died
    p = torch.softmax(logits, 1).numpy()
    metrics["ece"] = expected_calibration_error(y, p.argmax(1), p.max(1), n_bins=20)
    for detector, settings in (("baseline", ()), ("ODIN", tuple(odin.values()))):
        inside = scores(network, template, CLASSES, X, *settings)
        for name, (rows, _) in tests.items():
            if name == "cifar10":
                continue
            outside = scores(network, template, CLASSES, rows, *settings)
            is_in = np.arange(len(inside) + len(outside)) < len(inside)
            report = ood_report(is_in, np.concatenate([inside, outside]))
            metrics |= {f"{detector} {name} {key}": value for key, value in report.items()}
    return metrics


def test_sets(args):
    """CIFAR-10's test part, and the unseen sets."""
    rng = np.random.RandomState(0)
    tiny, _ = colored("tinyimagenet", "test")
    sets = {
        "cifar10": colored("cifar10", "test"),
        "tinyimagenet": (tiny[len(tiny) // 2 :], None),
        "digits": (colored("mnist", "test")[0], None),
        "notmnist": (colored("notmnist", "test")[0], None),
        "uniform": (rng.uniform(size=(2000, 3072)).astype(np.float32), None),
        "gaussian": (
            rng.normal(0.5, 1.0, size=(2000, 3072)).clip(0, 1).astype(np.float32),
            None,
        ),
    }
    n = args.test_rows
    return {name: (X[:n], None if y is None else y[:n]) for name, (X, y) in sets.items()}


def known(name, n):
    """Rows that teach what is an outlier."""
    if name is None:
        return None
    X, _ = colored(name, "test" if name == "tinyimagenet" else "train")
    return (X[: len(X) // 2] if name == "tinyimagenet" else X)[:n]


def main():
    cli = parser(__doc__, "lee_gpu")
    cli.add_argument("--net", default="vgg13", choices=("vgg13", "alexnet", "small_cnn"))
    cli.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    cli.add_argument("--seeds", type=int, default=1)
    cli.add_argument("--epochs", type=int, default=100)
    cli.add_argument("--batch-size", type=int, default=64)
    cli.add_argument("--lr", type=float, default=2e-4)
    cli.add_argument("--channels", type=int, default=128)
    cli.add_argument("--rows", type=int)
    cli.add_argument("--test-rows", type=int)
    args = cli.parse_args()
    is_cuda = torch.cuda.is_available()
    keys = ("net", "epochs", "batch_size", "lr", "channels", "rows", "test_rows")
    settings = {key: getattr(args, key) for key in keys}
    settings["device"] = torch.cuda.get_device_name() if is_cuda else "cpu"
    store = Store("lee_gpu", args.results)
    X, y = colored("cifar10")
    data, tests = (X[: args.rows], y[: args.rows].astype(np.int64)), test_sets(args)
    for seed, method in product(range(args.seeds), args.methods):
        seen = known(METHODS[method].get("seen"), args.rows)
        compute = partial(choose, method, data, seen, args, seed)
        store.run(compute, "choice", "cifar10", method, seed, **settings)
        text = store.find("choice", "cifar10", seed, **settings)[method]
        odin = {key: float(text[key]) for key in ("temperature", "step")}
        compute = partial(judge, method, data, seen, odin, tests, args, seed)
        store.run(compute, "cifar10", "cifar10", method, seed, **settings)


if __name__ == "__main__":
    main()
