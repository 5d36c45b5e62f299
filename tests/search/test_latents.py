from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sklearn_ood.generators import PCAGenerator, PretrainedGenerator
from sklearn_ood.search._latents import (
    ClassBlocks,
    absolute_distance,
    by_class,
    cubic_distance,
    match,
    nearest_of_classes,
    search_latents,
    squared_distance,
)


def decoder(n_classes, latent_dim, hidden, n_features, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sizes = [latent_dim, hidden, n_features]
    weights = [
        torch.randn(n_classes, a, b, generator=rng, dtype=torch.float64) / a**0.5
        for a, b in pairwise(sizes)
    ]
    return lambda z: torch.tanh(z @ weights[0]) @ weights[1]


def test_as_low_as_scipy_on_a_nonlinear_decoder():
    decode = decoder(3, 4, 16, 12)
    x = decode(torch.randn(3, 5, 4, dtype=torch.float64)).reshape(-1, 12)
    x = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    start = torch.zeros(3, len(x), 4, dtype=torch.float64)

    def penalty(z):
        return 0.01 * z.square().sum(-1)

    ours = search_latents(
        decode, x, [start], penalty=penalty, max_iter=200, gtol=1e-8, ftol=1e-12
    )

    def objective(flat, k, row):
        z = torch.tensor(flat, requires_grad=True)
        latents = torch.zeros(3, 1, 4, dtype=torch.float64).index_put(
            (torch.tensor(k),), z[None]
        )
        value = (squared_distance(row, decode(latents)) + penalty(latents))[k, 0]
        value.backward()
        return value.item(), z.grad.numpy()

    scipys = np.array(
        [
            [
                minimize(objective, np.zeros(4), (k, row), jac=True, method="L-BFGS-B").fun
                for k in range(3)
            ]
            for row in x
        ]
    )
    assert ours.objective.mean() <= scipys.mean() + 1e-4
    # Both may fall into different local minima; most problems must agree.
    assert np.mean(np.abs(ours.objective.numpy() - scipys) < 1e-4) > 0.8


def test_a_linear_decoder_has_the_least_squares_solution():
    rng = np.random.RandomState(0)
    axes = rng.randn(2, 3, 8)
    x = rng.randn(7, 8)
    match = search_latents(
        lambda z: z @ torch.tensor(axes),
        torch.tensor(x),
        [torch.zeros(2, 7, 3, dtype=torch.float64)],
        max_iter=200,
        gtol=1e-10,
        ftol=0.0,
    )
    for k in range(2):
        z, *_ = np.linalg.lstsq(axes[k].T, x.T, rcond=None)
        np.testing.assert_allclose(match.z[:, k], z.T, atol=1e-6)
        np.testing.assert_allclose(
            match.distance[:, k], ((x - z.T @ axes[k]) ** 2).mean(1), atol=1e-10
        )


def test_a_row_does_not_depend_on_its_batch():
    decode = decoder(2, 3, 8, 6)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    start = torch.zeros(2, 9, 3, dtype=torch.float64)
    together = search_latents(decode, x, [start])
    alone = search_latents(decode, x[4:5], [start[:, 4:5]])
    torch.testing.assert_close(together.distance[4:5], alone.distance)
    torch.testing.assert_close(together.z[4:5], alone.z)


@pytest.mark.parametrize("distance", [squared_distance, absolute_distance, cubic_distance])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_above_the_start(distance, dtype):
    rng = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 5, 20, generator=rng, dtype=dtype)
    x = torch.randn(30, 20, generator=rng, dtype=dtype)
    starts = [torch.randn(4, 30, 5, generator=rng, dtype=dtype) for _ in range(3)]
    match = search_latents(lambda z: torch.relu(z @ weight), x, starts, distance=distance)
    values = torch.stack([distance(x, torch.relu(z @ weight)) for z in starts])
    assert (match.objective <= values.amin(0).T).all()
    assert (match.objective < values.amin(0).T).any()


def test_no_steps_takes_the_best_start():
    decode = decoder(2, 3, 8, 6)
    x = torch.zeros(4, 6, dtype=torch.float64)
    starts = [torch.ones(2, 4, 3, dtype=torch.float64), torch.zeros(2, 4, 3).double()]
    match = search_latents(decode, x, starts, max_iter=0)
    assert (match.z == 0).all()
    torch.testing.assert_close(match.objective, squared_distance(x, decode(starts[1])).T)


def test_the_bank_agrees_with_brute_force():
    rng = torch.Generator().manual_seed(4)
    x = torch.randn(11, 6, generator=rng, dtype=torch.float64)
    bank = torch.randn(3, 20, 6, generator=rng, dtype=torch.float64)
    flat = bank.flatten(0, 1)
    half_norm = 0.5 * flat.square().sum(1)
    index = nearest_of_classes(x, flat, half_norm, [20] * 3, max_elements=130)
    brute = (x[None, :, None] - bank[:, None]).square().mean(-1)
    torch.testing.assert_close(brute.gather(2, index[..., None])[..., 0], brute.amin(2))
    assert (index == brute.argmin(2)).all()


def test_rows_come_back_from_their_class_blocks():
    rng = torch.Generator().manual_seed(5)
    label = torch.randint(4, (23,), generator=rng)
    rows = torch.randn(23, 3, generator=rng)
    blocks = ClassBlocks(label, 4, multiple_of=16)
    padded = blocks.pad(rows)
    assert padded.shape == (4, 16, 3)
    assert torch.equal(blocks.rows(padded), rows)
    for k in range(4):
        own = rows[label == k]
        assert torch.equal(padded[k, : len(own)], own)
        assert not padded[k, len(own) :].any()
    scale = torch.arange(1.0, 5.0).view(4, 1, 1)
    scaled = by_class(lambda x: scale * x, rows, label, 4)
    assert torch.equal(scaled, scale[label, 0] * rows)


def test_a_search_finds_what_the_closed_form_knows():
    X = np.random.RandomState(0).randn(60, 5) @ np.random.RandomState(1).randn(5, 5)
    core = PCAGenerator(2).fit(X, np.arange(60) % 2).core_
    x = torch.as_tensor(X, dtype=torch.float32)
    known, z = match(core, x, squared_distance, guess=core.nearest)
    bank = core.nearest(x).numpy(), core.decode(core.nearest(x)).detach().numpy()
    far = tuple(part[:, :5] for part in bank)
    found, latents = match(core, x, squared_distance, bank=far, max_iter=100)
    torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(latents, z, rtol=1e-2, atol=1e-2)


def test_uniform_latents_are_searched_inside_their_box_and_not_penalised():
    core = PretrainedGenerator.from_module(torch.nn.Linear(2, 3), 2, prior="uniform").core_
    x = 50 * torch.randn(7, 3, generator=torch.Generator().manual_seed(6))
    z = np.zeros((1, 4, 2), dtype=np.float32)
    bank = z, core.decode(torch.as_tensor(z)).numpy()
    _, free = match(core, x, squared_distance, bank=bank, max_iter=20)
    _, weighted = match(core, x, squared_distance, bank=bank, max_iter=20, penalty=1e6)
    assert free.abs().max() <= 1
    assert free.abs().max() > 0.9
    assert torch.equal(free, weighted)
