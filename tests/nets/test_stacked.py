import pytest
import torch
from torch import nn

from sklearn_ood.nets._stacked import (
    Decoder,
    GaussianEncoder,
    StackedModule,
    WeightNormalized,
    stacked_mlp,
    stacked_network,
)


def test_stacked_networks_are_independent_networks():
    stacked = stacked_mlp(3, (2, 8, 5))
    x = torch.randn(3, 4, 2)
    for k in range(3):
        hidden = torch.relu(x[k] @ stacked[0].weight[k] + stacked[0].bias[k])
        expected = hidden @ stacked[2].weight[k] + stacked[2].bias[k]
        torch.testing.assert_close(stacked(x)[k], expected)


def test_stacked_convolutions_train_like_single_ones():
    modules = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten()) for _ in range(2)]
    stacked = StackedModule(modules)
    x = torch.randn(2, 4, 1, 5, 5)
    stacked(x).square().sum().backward()
    for k, module in enumerate(modules):
        torch.testing.assert_close(stacked(x)[k], module(x[k]))
        module(x[k]).square().sum().backward()
        torch.testing.assert_close(
            stacked.get_parameter("0/weight").grad[k], module[0].weight.grad
        )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 6), (5,)])
def test_named_networks_go_from_rows_to_rows_and_back(shape, normalize):
    size = torch.Size(shape).numel()
    there = stacked_network("auto", 2, shape, (3,), (4,), normalize=normalize)
    back = stacked_network("auto", 2, (3,), shape, (4,), normalize=normalize)
    x = torch.randn(2, 5, size)
    assert there(x).shape == (2, 5, 3)
    assert back(there(x)).shape == (2, 5, size)
    for made, kind in ((there, nn.Conv2d), (back, nn.ConvTranspose2d)):
        assert any(isinstance(part, kind) for part in made.modules()) == (size > 5)


def test_a_class_of_a_stacked_convolution_sees_its_own_rows_only():
    network = stacked_network("conv", 3, (1, 8, 8), (2,))
    x = torch.randn(3, 4, 64)
    changed = x.clone()
    changed[1] += 1
    before, after = network(x), network(changed)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1])


@pytest.mark.parametrize("shapes", [((2, 6, 5), (3,)), ((3,), (2, 6, 5))])
@pytest.mark.parametrize("normalize", [False, True])
def test_stacked_convolutions_are_those_of_each_class(shapes, normalize):
    """Networks of one class, with the weights of the second of three, make the same."""
    three = stacked_network("conv", 3, *shapes, normalize=normalize)
    one = stacked_network("conv", 1, *shapes, normalize=normalize)
    state = {
        name: entry if entry.dim() == 0 else entry.unflatten(0, (3, -1))[1]
        for name, entry in three.state_dict().items()
    }
    one.load_state_dict(state)
    x = torch.randn(3, 4, torch.Size(shapes[0]).numel())
    made = three(x)
    torch.testing.assert_close(made[1:2], one(x[1:2]))
    made[1].square().sum().backward()
    one(x[1:2]).square().sum().backward()
    whole, single = dict(three.named_parameters()), dict(one.named_parameters())
    for name, weights in single.items():
        gradient = whole[name].grad.unflatten(0, (3, -1))
        scale = weights.grad.abs().max()
        torch.testing.assert_close(gradient[1] / scale, weights.grad / scale, atol=1e-4, rtol=0)
        assert not gradient[[0, 2]].any()


def test_weight_normalisation_learns_the_length_of_each_unit():
    network = stacked_network("conv", 2, (1, 8, 8), (3,), normalize=True)
    layers = [each for each in network.modules() if isinstance(each, WeightNormalized)]
    assert len(layers) == 2
    x, before = torch.randn(2, 4, 64), None
    for scale in (1.0, 7.0):
        for layer in layers:
            layer.layer.weight.data *= scale
        before = network(x) if before is None else before
        torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-5)
    layer = layers[0]
    layer.layer.bias.data.zero_()
    image = torch.randn(4, 2, 8, 8)
    plain = layer(image)
    layer.length.data[5] *= 3
    doubled = layer(image)
    torch.testing.assert_close(doubled[:, 5], 3 * plain[:, 5])
    torch.testing.assert_close(doubled[:, :5], plain[:, :5])


def test_networks_of_the_users_own_are_copied_or_called_for_every_class():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    copied = stacked_network(module, 3, (3, 2, 2), (2,))
    called = stacked_network(nn.Linear, 3, (3, 2, 2), (2,))
    x = torch.randn(3, 4, 12)
    for k in range(3):
        torch.testing.assert_close(copied(x)[k], module(x[k]))
    assert not torch.equal(called.stack.get_parameter("weight")[0], called.stack.weight[1])
    with pytest.raises(ValueError, match=r"a critic that maps 2 inputs.*expected \(2, 2\)"):
        stacked_network(nn.Linear(12, 3), 1, (12,), (2,), parameter="critic")
    with pytest.raises(TypeError, match=r"a critic callable that returned int"):
        stacked_network(lambda n_in, n_out: 3, 1, (12,), (2,), parameter="critic")


def test_encoders_and_decoders_know_where_the_data_lie():
    encoder = GaussianEncoder(stacked_mlp(2, (3, 4)), 3)
    decoder, squashed = (Decoder(stacked_mlp(2, (2, 3)), 3, sigmoid=s) for s in (False, True))
    mean = torch.tensor([1.0, 2.0, 3.0])
    for part in (encoder, decoder):
        part.mean.copy_(mean)
    x, z = torch.randn(2, 6, 3), torch.randn(2, 6, 2)
    latent, log_variance = encoder.distribution(x)
    torch.testing.assert_close(encoder.network(x - mean), torch.cat([latent, log_variance], 2))
    assert torch.equal(encoder(x), latent)
    assert torch.equal(decoder(z), decoder.network(z) + mean)
    assert 0 < squashed(z).min() < squashed(z).max() < 1
    squashed.low.fill_(-3)
    squashed.span.fill_(5)
    torch.testing.assert_close(squashed(z), -3 + 5 * torch.sigmoid(squashed.network(z)))
