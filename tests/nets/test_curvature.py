import numpy as np
import pytest
import torch
from torch import nn

from sklearn_ood.nets._curvature import exact_trace, hutchinson_trace


def _jacobian_trace(encode, decode, inputs):
    """Trace of the full Jacobian, row by row."""
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: decode(encode(row[None]))[0]))
    return torch.einsum("nii->n", jacobian(inputs)).detach().double()


@pytest.fixture
def narrow():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 5), nn.ReLU()).double()
    decode = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 12)).double()
    return encode, decode, torch.randn(7, 12, dtype=torch.float64)


@pytest.fixture
def images():
    torch.manual_seed(0)
    encode = nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 20), nn.ReLU()),
    ).double()
    decode = nn.Sequential(
        *(nn.Linear(20, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), nn.Upsample((8, 8))),
        *(nn.ConvTranspose2d(4, 1, 3, padding=1), nn.Flatten()),
    ).double()
    return encode, decode, torch.rand(5, 64, dtype=torch.float64)


@pytest.mark.parametrize("net", ["narrow", "images"])
@pytest.mark.parametrize("code_is_relu", [True, False])
@pytest.mark.parametrize("pairs_per_block", [3, 256])
def test_exact_trace_equals_the_full_jacobian(net, code_is_relu, pairs_per_block, request):
    encode, decode, inputs = request.getfixturevalue(net)
    trace = exact_trace(
        encode, decode, inputs, code_is_relu=code_is_relu, pairs_per_block=pairs_per_block
    )
    torch.testing.assert_close(
        trace, _jacobian_trace(encode, decode, inputs), rtol=1e-9, atol=0
    )


def test_wide_code_goes_through_the_inputs():
    torch.manual_seed(0)
    encode = nn.Sequential(nn.Linear(2, 30), nn.ReLU()).double()
    decode = nn.Linear(30, 2).double()
    inputs = torch.randn(9, 2, dtype=torch.float64)
    trace = exact_trace(encode, decode, inputs, code_is_relu=True)
    torch.testing.assert_close(
        trace, _jacobian_trace(encode, decode, inputs), rtol=1e-9, atol=0
    )


def test_linear_autoencoder_has_a_constant_trace():
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = torch.randn(3, 6, dtype=torch.float64)
    trace = exact_trace(lambda x: x @ matrix, lambda h: h @ matrix.T, inputs)
    np.testing.assert_allclose(trace, (matrix**2).sum().expand(3), rtol=1e-12)


def test_inactive_units_are_skipped():
    encoded = []

    def encode(rows):
        encoded.append(len(rows))
        return torch.relu(rows[:, :3])

    exact_trace(encode, lambda h: h.repeat(1, 2), -torch.ones(4, 6), code_is_relu=True)
    assert sum(encoded) == 4


def test_trace_of_a_row_does_not_depend_on_the_others(images):
    encode, decode, inputs = images
    together = exact_trace(encode, decode, inputs, code_is_relu=True)
    alone = torch.cat(
        [exact_trace(encode, decode, row[None], code_is_relu=True) for row in inputs]
    )
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_gradients_of_the_networks_are_left_alone(narrow):
    encode, decode, inputs = narrow
    exact_trace(encode, decode, inputs)
    hutchinson_trace(lambda x: decode(encode(x)), inputs, torch.ones(1, 12).double())
    assert all(p.grad is None for p in [*encode.parameters(), *decode.parameters()])
    assert not inputs.requires_grad


def test_hutchinson_is_exact_with_orthogonal_probes(narrow):
    encode, decode, inputs = narrow
    probes = torch.eye(12, dtype=torch.float64) * 12**0.5
    estimate = hutchinson_trace(lambda x: decode(encode(x)), inputs, probes)
    torch.testing.assert_close(estimate, _jacobian_trace(encode, decode, inputs))


@pytest.mark.parametrize("per_row", [True, False])
def test_hutchinson_error_shrinks_with_the_root_of_the_probes(narrow, per_row):
    encode, decode, inputs = narrow
    inputs = inputs[:1].expand(400, -1)
    exact = _jacobian_trace(encode, decode, inputs[:1])
    generator = torch.Generator().manual_seed(1)
    shape = (64, 400, 12) if per_row else (64, 12)

    def squared_error(n_probes):
        errors = []
        for _ in range(1 if per_row else 50):
            signs = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
            rows = inputs if per_row else inputs[:1]
            estimate = hutchinson_trace(lambda x: decode(encode(x)), rows, signs[:n_probes])
            errors.append(((estimate - exact) ** 2).mean())
        return float(torch.stack(errors).mean())

    assert squared_error(4) / squared_error(64) == pytest.approx(16, rel=0.6)
