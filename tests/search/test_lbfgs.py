import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_ood.search._latents import minimize_batched


@given(
    n=st.integers(1, 12),
    m=st.integers(1, 6),
    seed=st.integers(0, 2**16),
    history_size=st.integers(1, 10),
)
@settings(max_examples=25, deadline=None)
def test_quadratics_reach_their_closed_form_minimum(n, m, seed, history_size):
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(n, m, m, generator=rng, dtype=torch.float64)
    hessian = root @ root.mT + 0.5 * torch.eye(m, dtype=torch.float64)
    centre = torch.randn(n, m, generator=rng, dtype=torch.float64)

    def bind(index):
        def function(z):
            difference = z - centre[index]
            return torch.einsum("bi,bij,bj->b", difference, hessian[index], difference)

        return function

    found = minimize_batched(
        bind,
        torch.zeros(n, m, dtype=torch.float64),
        max_iter=500,
        history_size=history_size,
        gtol=1e-9,
        ftol=0.0,
    )
    torch.testing.assert_close(found.z, centre, atol=1e-6, rtol=1e-6)


def test_values_that_are_not_finite_are_stepped_back_from():
    def bind(index):
        return lambda z: torch.where(z[:, 0] > 0.5, torch.inf, (z[:, 0] - 0.4).square())

    found = minimize_batched(bind, torch.tensor([[-1.0], [0.0], [0.49]]))
    torch.testing.assert_close(found.z, torch.full((3, 1), 0.4), atol=1e-3, rtol=0)


def test_problems_that_have_converged_are_not_evaluated_again():
    seen = []

    def bind(index):
        seen.append(len(index))
        return lambda z: (z - index[:, None]).square().sum(1)

    start = torch.arange(10.0)[:, None].clone()
    start[-1] += 3.0
    minimize_batched(bind, start)
    assert seen[0] == 10
    assert seen[1] == 1
