"""Lee et al. (2018), tables 1 to 6, on all of CIFAR-10 with VGG13 or AlexNet: for a GPU.

The protocol is that of ``lee.py images``; networks begin with the authors' start weights. As
the paper has it: Adam at 2e-4, a tenth after 60 % of the epochs, no augmentation. Every result
is kept with the name of the device.

    python examples/papers/lee_gpu.py images
    python examples/papers/lee_gpu.py images --seen tinyimagenet --methods explicit
    python examples/papers/lee_gpu.py images --net small_cnn --rows 96 --test-rows 40 \\
        --epochs 1 --channels 2 --methods "joint GAN" K+1 --results trial
"""

import numpy as np
import torch
from torch import nn

import lee
from lab import Experiment, main

DEVICE = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
OPTIONS = lee.IMAGES.replace("small_cnn", "vgg13") + " --seen mnist"


def fit(classifier, X, y):
    """Train a network whose convolutions start as the authors have them."""
    torch.manual_seed(classifier.random_state)
    n_classes = len(np.unique(y[y != classifier.ood_label]))
    network = classifier.make_network(n_classes, classifier.input_shape)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)
    return classifier.set_params(module=network).fit(X, y)


@Experiment("images", ("cifar10",), lee.METHODS, 3, OPTIONS, settings={"device": DEVICE})
def images(args, data, seed, method):
    """One way of training, from these weights."""
    args.fit = fit
    return lee.images(args, data, seed, method)


if __name__ == "__main__":
    main(__doc__, "lee_gpu")
