import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_ood.gevaldi._climbing import js_divergence
from sklearn_ood.search._ascent import (
    Ascent,
    Objective,
    Rates,
    ascend,
    checkpoints,
    evolution_moves,
    gradient_moves,
    identity,
    in_chunks,
    likeliest,
)
from sklearn_ood.search._latents import ClassBlocks

WEIGHTS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))


def linear_members(z):
    return torch.log_softmax(torch.einsum("nm,jmk->jnk", z, WEIGHTS.to(z)), -1)


def log_normal(z):
    return -0.5 * (z.square() + np.log(2 * np.pi)).sum(-1)


def make_objective(prior_weight=0.01, project=identity):
    return Objective(linear_members, js_divergence, log_normal, prior_weight, project)


def start(n=50, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=rng, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_sgd_is_the_rule_of_the_paper():
    objective, z = make_objective(0.1), start(5)
    ascent = ascend(gradient_moves, objective, z, n_steps=3, lr=0.2, method="sgd")
    for _ in range(3):
        gradient = torch.func.grad(lambda z: objective(z)[0].sum())(z)
        z = z + 0.2 * gradient
    torch.testing.assert_close(ascent.z, z)
    torch.testing.assert_close(ascent.objective, objective(z)[0])


@pytest.mark.parametrize("method", ["adam", "sgd"])
def test_gradients_climb_to_where_the_gradient_is_zero(method):
    ascent = ascend(
        gradient_moves, make_objective(0.05), start(), n_steps=800, lr=0.05, method=method
    )
    mean = ascent.divergence.mean(0)
    assert mean[-1] > 2 * mean[0]
    slope = torch.func.grad(lambda z: make_objective(0.05)(z)[0].sum())(ascent.z)
    assert slope.abs().median() < 1e-2


def test_divergence_and_drift_are_those_of_the_iterates():
    objective, z = make_objective(), start(7)
    ascent = ascend(gradient_moves, objective, z, n_steps=20)
    assert ascent.divergence.shape == ascent.drift.shape == (7, 21)
    torch.testing.assert_close(ascent.divergence[:, 0], objective(z)[1])
    torch.testing.assert_close(ascent.divergence[:, -1], objective(ascent.z)[1])
    drift = (ascent.z - z).norm(dim=1) / ascent.z.norm(dim=1)
    torch.testing.assert_close(ascent.drift[:, -1], drift)
    assert (ascent.drift[:, 0] == 0).all()
    assert ascent.log_proba.shape == (7, 11, 2, 4)
    torch.testing.assert_close(
        ascent.log_proba[:, -1], linear_members(ascent.z).transpose(0, 1)
    )


def test_a_sample_climbs_as_if_alone():
    whole = ascend(gradient_moves, make_objective(), start(9), n_steps=10)
    alone = ascend(gradient_moves, make_objective(), start(9)[4:5], n_steps=10)
    torch.testing.assert_close(whole.z[4:5], alone.z)


def test_no_steps_stay_at_the_start():
    for ascent in (
        ascend(gradient_moves, make_objective(), start(3), n_steps=0),
        ascend(evolution_moves, make_objective(), start(3), n_steps=0, rng=seeded()),
    ):
        assert torch.equal(ascent.z, start(3))
        assert ascent.divergence.shape[1] == ascent.log_proba.shape[1] == 1


@pytest.mark.parametrize("prior_weight", [0.0, 0.02])
def test_evolution_reaches_what_gradients_reach(prior_weight):
    objective, z = make_objective(prior_weight), start()
    gradients = ascend(gradient_moves, objective, z, n_steps=100)
    evolution = ascend(evolution_moves, objective, z, n_steps=100, rng=seeded())
    assert evolution.objective.mean() > 0.98 * gradients.objective.mean()


def test_evolution_never_falls_and_is_reproducible():
    objective, z = make_objective(), start(20)
    short, again = (
        ascend(evolution_moves, objective, z, n_steps=5, rng=seeded(3)) for _ in range(2)
    )
    longer = ascend(evolution_moves, objective, z, n_steps=15, rng=seeded(3))
    assert (short.objective >= objective(z)[0]).all()
    assert (longer.objective >= short.objective).all()
    assert torch.equal(short.z, again.z)
    torch.testing.assert_close(longer.objective, objective(longer.z)[0])
    torch.testing.assert_close(longer.divergence[:, -1], objective(longer.z)[1])


def test_evolution_climbs_steps_that_have_no_gradient():
    def staircase(z):
        level = z.floor().sum(-1).clamp(-8, 8) / 4
        return torch.log_softmax(torch.stack([torch.stack([level, -level], -1)] * 2), -1)

    objective = Objective(staircase, lambda p: p[0, :, 0] + 5, log_normal, 0.0)
    ascent = ascend(evolution_moves, objective, start(30), n_steps=40, rng=seeded())
    assert (ascent.divergence[:, -1] > 4.9).double().mean() > 0.9


def test_evolution_finds_the_top_of_a_narrow_ridge():
    scale = torch.tensor([1.0, 30.0, 0.2], dtype=torch.float64)
    objective = Objective(
        lambda z: z[None], lambda z: -(scale * (z[0] - 1)).square().sum(-1), log_normal, 0.0
    )
    ascent = ascend(evolution_moves, objective, start(20), n_steps=200, rng=seeded())
    torch.testing.assert_close(ascent.z, torch.ones_like(ascent.z), atol=1e-3, rtol=0)


@pytest.mark.parametrize("prior", ["normal", "uniform"])
@pytest.mark.parametrize("climb", ["gradient", "evolution"])
def test_bounds_hold(climb, prior):
    project = likeliest(prior, 0.5, 3)
    objective, z = make_objective(0.0, project), project(start())
    if climb == "gradient":
        ascent = ascend(gradient_moves, objective, z, n_steps=50, lr=0.2)
    else:
        ascent = ascend(evolution_moves, objective, z, n_steps=50, rng=seeded())
    torch.testing.assert_close(project(ascent.z), ascent.z)
    assert ascent.divergence[:, -1].mean() > ascent.divergence[:, 0].mean()


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_the_likeliest_latents_hold_their_share_of_the_prior(share):
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(20_000, 5, generator=rng, dtype=torch.float64)
    inside = likeliest("normal", share, 5)(z)
    kept = (inside == z).all(1)
    assert kept.double().mean() == pytest.approx(share, abs=0.01)
    assert log_normal(z[kept]).min() >= log_normal(z[~kept]).max()
    # The nearest point of a ball lies on the way to its centre.
    torch.testing.assert_close(
        log_normal(inside[~kept]),
        log_normal(z[kept]).min().expand(int((~kept).sum())),
        atol=1e-2,
        rtol=0,
    )
    torch.testing.assert_close(
        torch.nn.functional.normalize(inside, dim=1), torch.nn.functional.normalize(z, dim=1)
    )
    assert likeliest("normal", 1, 5)(z) is z


def test_rates_are_those_of_the_strategy():
    rates = Rates(20, 10)
    assert rates.weights.sum() == pytest.approx(1)
    assert (np.diff(rates.weights) < 0).all()
    assert 0 < rates.rank_one + rates.rank_mu <= 1
    norm = np.linalg.norm(np.random.default_rng(0).normal(size=(100_000, 10)), axis=1).mean()
    assert rates.length == pytest.approx(norm, rel=1e-2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_classes_take_turns(codes):
    codes = np.array(codes)
    turn = ClassBlocks(torch.from_numpy(codes), 5).turn.numpy()
    for k in range(5):
        assert turn[codes == k].tolist() == list(range((codes == k).sum()))


def test_chunks_change_nothing_but_the_memory(monkeypatch):
    z, codes = start(23), np.random.RandomState(0).randint(3, size=23)
    seen = []

    def climb(part, labels):
        seen.append(len(part))
        return ascend(gradient_moves, make_objective(), part + labels[:, None], n_steps=12)

    whole = in_chunks(climb, z, floats_per_row=1, codes=codes)
    monkeypatch.setattr("sklearn_ood.search._ascent.FLOATS_PER_CHUNK", 10)
    parts = in_chunks(climb, z, floats_per_row=2, codes=codes)
    assert seen == [23, 5, 5, 5, 5, 3]
    torch.testing.assert_close(whole.start, z + torch.as_tensor(codes)[:, None])
    for name in Ascent._fields:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_what_is_generated_is_judged_and_kept():
    objective = make_objective()._replace(generate=lambda z: 2 * z)
    ascent = ascend(gradient_moves, objective, start(4), n_steps=5)
    torch.testing.assert_close(ascent.x, 2 * ascent.z)
    torch.testing.assert_close(ascent.start_x, 2 * start(4))
    torch.testing.assert_close(
        ascent.log_proba[:, -1], linear_members(2 * ascent.z).transpose(0, 1)
    )


def test_checkpoints_begin_and_end_the_run():
    assert checkpoints(0).tolist() == [0]
    assert checkpoints(3).tolist() == [0, 1, 2, 3]
    assert len(checkpoints(100)) == 11
