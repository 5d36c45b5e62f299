from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from sklearn_ood.gevaldi._climbing import js_divergence, kl_divergence, resolve_divergence


def predictions(n_members, n_samples=20, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n_classes), size=(n_members, n_samples))


def in_logs(proba):
    return torch.from_numpy(proba).log()


def test_kl_of_two_is_that_of_scipy_in_this_order():
    p = predictions(2)
    np.testing.assert_allclose(kl_divergence(in_logs(p)), entropy(p[0], p[1], axis=1))
    np.testing.assert_allclose(
        kl_divergence(in_logs(p[::-1].copy())), entropy(p[1], p[0], axis=1)
    )


def test_kl_of_more_is_the_mean_over_ordered_pairs():
    p = predictions(4)
    pairs = [entropy(p[a], p[b], axis=1) for a, b in permutations(range(4), 2)]
    np.testing.assert_allclose(kl_divergence(in_logs(p)), np.mean(pairs, axis=0))


def test_js_is_that_of_scipy():
    p = predictions(2)
    np.testing.assert_allclose(
        js_divergence(in_logs(p)), jensenshannon(p[0], p[1], axis=1) ** 2
    )


@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**16))
def test_js_is_bounded_and_symmetric(n_members, n_classes, seed):
    p = in_logs(predictions(n_members, 5, n_classes, seed))
    value = js_divergence(p)
    assert ((value >= 0) & (value <= np.log(n_members) + 1e-12)).all()
    np.testing.assert_allclose(js_divergence(p.flip(0)), value, rtol=1e-10, atol=1e-14)
    assert torch.equal(js_divergence(p[:1].expand_as(p)).round(decimals=12), 0 * value)


@pytest.mark.parametrize("divergence", [js_divergence, kl_divergence])
@pytest.mark.parametrize("n_members", [2, 3])
def test_zero_probabilities_give_finite_values_and_gradients(divergence, n_members):
    p = torch.eye(n_members, dtype=torch.float64)[:, None].log().requires_grad_()
    value = divergence(p)
    (gradient,) = torch.autograd.grad(value.sum(), p)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert value > 0.6
    if divergence is kl_divergence:
        assert value.item() == pytest.approx(-np.log(np.finfo(float).eps))


def test_resolve():
    predictions = torch.zeros(2, 3, 4)
    assert torch.equal(resolve_divergence("js")(predictions), js_divergence(predictions))
    assert (
        resolve_divergence(lambda log_p: log_p.sum(dim=(0, 2)))(predictions).tolist() == [0] * 3
    )
    for nothing in (len, lambda log_p: None):
        with pytest.raises(ValueError, match=r"Got divergence=.*expected a tensor"):
            resolve_divergence(nothing)(predictions)
    with pytest.raises(ValueError, match=r"shape \(\), NaN or infinite 0 times, but expected"):
        resolve_divergence(torch.sum)(predictions)
    with pytest.raises(ValueError, match=r"NaN or infinite 3 times.*shape \(3,\)"):
        resolve_divergence(lambda log_p: log_p.sum((0, 2)) / 0)(predictions)
    for wrong in ("jensen", 3, None):
        with pytest.raises(
            ValueError, match=r"Got divergence=.*expected one of \['js', 'kl'\]"
        ):
            resolve_divergence(wrong)
