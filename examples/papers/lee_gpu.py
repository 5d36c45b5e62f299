"""Lee et al. (2018), tables 1 to 6, on all of CIFAR-10 with VGG13 or AlexNet: for a GPU.

The protocol is that of ``lee.py images``, and networks, losses, heads and steps are the
package's; the loop is plain torch, each training's step a CUDA graph (on a CPU it runs as it
is). As the paper has it: Adam at 2e-4, a tenth after 60 % of the epochs, no augmentation, the
authors' start weights. Every result is kept with the name of the device.

    python examples/papers/lee_gpu.py images
    python examples/papers/lee_gpu.py images --seen tinyimagenet --methods explicit
    python examples/papers/lee_gpu.py images --net small_cnn --rows 96 --test-rows 40 \\
        --epochs 1 --channels 2 --methods "joint GAN" K+1 --results trial
"""

from functools import partial

import numpy as np
import torch
from torch import nn

import lee
from lab import Experiment, main
from sklearn_ood import GANOutliers
from sklearn_ood.nets._training import Net, make_net
from sklearn_ood.outliers._gan import GANOutlierNet
from sklearn_ood.outliers._training import OutlierNet


def fit(classifier, X, y):
    """Train one of our classifiers, whose parameters these are, by this loop."""
    torch.manual_seed(classifier.random_state)
    inside = y != classifier.ood_label
    rows, codes = X[inside], y[inside].astype(np.int64)
    classifier.classes_, codes = np.unique(codes, return_inverse=True)
    classifier.input_shape_, classifier.n_features_in_ = classifier.input_shape, X.shape[1]
    classifier.center_, classifier.temperature_ = None, 1.0
    classifier.net_ = net = prepared(classifier, rows, y[inside], X[~inside])
    schedule = {"epochs": classifier.max_epochs, "batch_size": classifier.batch_size}
    data = on_device(rows, net), on_device(codes, net)
    run(net, *data, seed=classifier.random_state, **schedule)
    net.module_.eval()
    return classifier


def prepared(classifier, rows, y, given):
    """A net of the package for a classifier, ready to step."""
    outliers, shape = classifier.outliers, classifier.input_shape
    network = authors_weights(classifier.make_network(len(np.unique(y)), shape))
    options = {"beta": classifier.beta}
    made = partial(make_net, network, lr=classifier.lr, criterion=classifier.make_loss(None))
    if not classifier.beta:
        net = made(net_class=Net).initialize()
    elif isinstance(outliers, GANOutliers):
        net = made(net_class=GANOutlierNet, net_params=options | {"gan": outliers})
        net.networks = outliers.make_networks(shape, rows)
        net.initialize().supply([net.generate], [1.0])
    else:
        bank = given if outliers == "given" else outliers(rows, y, len(rows), 0)
        net = made(net_class=OutlierNet, net_params=options).initialize()
        bank = np.asarray(bank, dtype=np.float32).reshape(len(bank), -1)
        net.supply([partial(some_of, on_device(bank, net))], [1.0])
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


DEVICE = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
OPTIONS = lee.IMAGES.replace("small_cnn", "vgg13") + " --seen mnist"


@Experiment("images", ("cifar10",), lee.METHODS, 3, OPTIONS, settings={"device": DEVICE})
def images(args, data, seed, method):
    """One way of training, by this loop."""
    args.fit = fit
    return lee.images(args, data, seed, method)


if __name__ == "__main__":
    main(__doc__, "lee_gpu")
