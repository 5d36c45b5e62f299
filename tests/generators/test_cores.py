"""Cores: built again from plain values, asked what they can do."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from torch import nn

from sklearn_ood.generators import (
    GAN,
    VAE,
    GaussianMixtureGenerator,
    InterpolationGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
    PretrainedGenerator,
)

X, Y = load_iris(return_X_y=True)
TINY = {"hidden_layer_sizes": (8,), "max_epochs": 1, "random_state": 0}
IMAGES = {"input_shape": (1, 2, 2), **TINY}
GENERATORS = {
    "pca": PCAGenerator(),
    "mixture": GaussianMixtureGenerator(4, random_state=0),
    "neighbors": NearestNeighborGenerator(),
    "interpolation": InterpolationGenerator(),
    "vae": VAE(2, **TINY),
    "vae, noise": VAE(2, noise_variance=0.1, **TINY),
    "vae, images": VAE(2, likelihood="bernoulli", **IMAGES),
    "gan": GAN(2, min_steps=0, **TINY),
    "gan, images": GAN(2, min_steps=0, **IMAGES),
    "own encoder": VAE(2, encoder=nn.Linear(4, 4), decoder=nn.Linear, **TINY),
    "pretrained": PretrainedGenerator([nn.Linear(2, 4) for _ in range(3)], latent_dim=2),
}
ABILITIES = {
    "pca": {"encode", "nearest", "log_density"},
    "mixture": {"encode", "log_density"},
    "neighbors": {"encode", "nearest"},
    "vae": {"encode", "log_density"},
    "gan": {"encode"},
    "pretrained": set(),
}


def fitted(name):
    rows = X / 10 if "images" in name else X
    return clone(GENERATORS[name]).fit(rows, Y)


@pytest.mark.parametrize("name", GENERATORS)
def test_an_untrained_core_takes_the_state_of_a_trained_one(name):
    generator = fitted(name)
    core = generator.make_core()
    core.load_state_dict(generator.core_.state_dict(), strict=True)
    z = torch.as_tensor(generator.draw_latents(30, random_state=0)).view(3, 10, -1)
    x = torch.as_tensor(X[:64] / 10, dtype=torch.float32)
    arguments = {"decode": z, "encode": x.expand(3, -1, -1), "nearest": x, "log_density": x}
    for ability, argument in arguments.items():
        if hasattr(core, ability):
            expected = getattr(generator.core_, ability)(argument)
            torch.testing.assert_close(
                getattr(core, ability)(argument), expected, rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize("name", ABILITIES)
def test_a_core_has_what_it_can_do(name):
    core = fitted(name).core_
    assert {a for a in ("encode", "nearest", "log_density") if hasattr(core, a)} == ABILITIES[
        name
    ]
    assert core.decode(torch.zeros(3, 5, fitted(name).latent_dim_)).shape == (3, 5, 4)


@pytest.mark.parametrize("name", GENERATORS)
def test_parameters_are_keyword_only_after_the_first(name):
    first, *others = inspect.signature(type(GENERATORS[name])).parameters.values() or [None]
    assert first is None or first.kind is first.POSITIONAL_OR_KEYWORD
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)


def test_latents_are_drawn_from_the_prior():
    normal, uniform = fitted("pca"), fitted("neighbors")
    assert normal.draw_latents(5, random_state=0).shape == (5, 2)
    np.testing.assert_array_equal(
        normal.draw_latents(5, random_state=0), normal.draw_latents(5, random_state=0)
    )
    assert np.abs(normal.draw_latents(2000, random_state=0).std() - 1) < 0.05
    assert np.abs(uniform.draw_latents(2000, random_state=0)).max() <= 1


def test_positions_of_labels():
    generator = PCAGenerator().fit(X, np.array(["a", "b", "c"])[Y])
    assert generator.class_index("b", 3).tolist() == [1, 1, 1]
    assert generator.class_index(["c", "a"], 2).tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"\['x'\]"):
        generator.class_index("x", 2)
