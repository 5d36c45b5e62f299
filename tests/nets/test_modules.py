import numpy as np
import pytest
import torch

from sklearn_ood import NetFeatures, SoftmaxClassifier
from sklearn_ood.nets._modules import NETWORKS, build_module


def layers_of(module, kind):
    return [layer for layer in module.modules() if isinstance(layer, kind)]


def n_weights(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [
        ("mlp", (7,)),
        ("mlp", (1, 8, 8)),
        ("small_cnn", (1, 8, 8)),
        ("small_cnn", (3, 32, 32)),
        ("cnn", (1, 28, 28)),
        ("vgg13", (3, 32, 32)),
        ("alexnet", (3, 32, 32)),
    ],
)
def test_named_networks_give_one_logit_a_class(name, input_shape):
    module = build_module(name, 5, input_shape=input_shape)
    assert module(torch.zeros(2, *input_shape)).shape == (2, 5)
    children = dict(module.named_children())
    assert "hidden" in children
    assert "output" in children
    assert ("conv" in children) == (name != "mlp")


def test_auto_follows_the_shape():
    table = build_module("auto", 3, input_shape=(4,))
    image = build_module("auto", 3, input_shape=(1, 8, 8))
    assert [type(layer).__name__ for layer in table.hidden] == ["Linear", "ReLU"]
    assert isinstance(image.conv[0], torch.nn.Conv2d)


def raises(error):
    class Strict(torch.nn.Linear):
        def forward(self, rows):
            raise error("Input height (2) doesn't match model (224)")

    return Strict(2, 3)


ERRORS = [AssertionError, ValueError, IndexError, RuntimeError, TypeError, AttributeError]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_error_a_network_has_the_input_shape_is_said(error):
    with pytest.raises(ValueError, match=r"inputs of shape \(1, 1, 2\): .*height.*input_shape"):
        build_module(raises(error), 3, input_shape=(1, 1, 2))


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_lazy_layers_learn_their_width_and_probabilities_are_no_logits(n_outputs):
    lazy = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(n_outputs))
    module = build_module(lazy, n_outputs, input_shape=(2, 2, 2))
    assert module[1].in_features == 8
    with pytest.warns(UserWarning, match="leave the network's last softmax out"):
        build_module(
            torch.nn.Sequential(lazy, torch.nn.Softmax(1)), n_outputs, input_shape=(8,)
        )


class Always(torch.nn.Module):
    """A layer with something before it that is on also in evaluation."""

    def __init__(self, change):
        super().__init__()
        self.change, self.last = change, torch.nn.Linear(4, 2)

    def forward(self, rows):
        return self.last(self.change(rows))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: torch.dropout(rows, 0.5, True),
        lambda rows: rows + torch.randn_like(rows),
        lambda rows: rows - rows.mean(0),
        torch.nn.BatchNorm1d(4, track_running_stats=False),
    ],
    ids=["dropout", "noise", "mean", "batch norm"],
)
def test_networks_whose_answer_to_a_row_is_not_its_own(change):
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="at random, or to a row by the rows beside it"):
        build_module(Always(change), 2, input_shape=(4,))


@pytest.mark.parametrize("change", [torch.nn.Dropout(), torch.nn.BatchNorm1d(4)])
def test_networks_that_end_so_when_they_are_evaluated(change, recwarn):
    build_module(Always(change).train(), 2, input_shape=(4,))
    assert not recwarn.list


def test_the_denoising_papers_net_has_its_number_of_weights():
    convolutions = 32 * 25 + 32 + 64 * 32 * 25 + 64
    dense = 7 * 7 * 64 * 400 + 400 + 400 * 10 + 10
    network = build_module("cnn", 10, input_shape=(1, 28, 28))
    assert n_weights(network) == convolutions + dense == 1_310_906


def test_vgg13_has_ten_convolutions_and_three_dense_layers():
    module = build_module("vgg13", 10, input_shape=(3, 32, 32))
    convolutions = [layer.out_channels for layer in layers_of(module, torch.nn.Conv2d)]
    dense = [layer.out_features for layer in layers_of(module, torch.nn.Linear)]
    assert convolutions == [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    assert dense == [512, 512, 10]
    assert len(layers_of(module, torch.nn.Dropout)) == 2


def test_alexnet_has_the_papers_layers():
    module = build_module("alexnet", 10, input_shape=(3, 32, 32))
    convolutions = [layer.out_channels for layer in layers_of(module, torch.nn.Conv2d)]
    dense = [layer.out_features for layer in layers_of(module, torch.nn.Linear)]
    assert convolutions == [64, 192, 384, 256, 256]
    assert dense == [2048, 1024, 10]


def test_hidden_layers_and_dropout():
    module = build_module("mlp", 2, input_shape=(4,), hidden_layer_sizes=(8, 6), dropout=0.25)
    dropouts = [layer.p for layer in layers_of(module, torch.nn.Dropout)]
    assert dropouts == [0.25, 0.25]
    assert module.output.in_features == 6
    linear = build_module("mlp", 2, input_shape=(4,), hidden_layer_sizes=())
    assert n_weights(linear) == 4 * 2 + 2


def test_a_callable_gets_features_and_outputs():
    module = build_module(torch.nn.Linear, 3, input_shape=(4,))
    assert (module.in_features, module.out_features) == (4, 3)


def test_too_small_images_are_named():
    with pytest.raises(ValueError, match=r"\(1, 28, 28\).*too small.*vgg13 needs 32x32"):
        build_module("vgg13", 10, input_shape=(1, 28, 28))
    for shape in ((1, 1, 16), (1, 2, 2)):
        with pytest.raises(ValueError, match=r"take 'small_cnn' or 'mlp'"):
            build_module("cnn", 10, input_shape=shape)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 20), (2, 3, 5), (1, 28, 28)])
def test_the_default_network_takes_images_of_any_size(shape):
    network = build_module("auto", 2, input_shape=shape)
    assert network(torch.zeros(2, *shape)).shape == (2, 2)
    sides = [max(1, side // 4) for side in shape[1:]]
    assert network.hidden[0].in_features == 64 * sides[0] * sides[1]


def test_channels_that_come_last_are_named():
    with pytest.raises(ValueError, match=r"channels come first: X.transpose\(0, 3, 1, 2\)"):
        build_module("small_cnn", 10, input_shape=(32, 32, 3))


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="resnet.*alexnet.*vgg13"):
        build_module("resnet", 2, input_shape=(4,))
    assert set(NETWORKS) == {"mlp", "small_cnn", "cnn", "vgg13", "alexnet"}


class Coded(torch.nn.Module):
    """Its first weights are no numbers that rows could be: codes, or complex ones."""

    def __init__(self, dtype):
        super().__init__()
        first = torch.tensor([[1, -2], [0, 3]]).to(dtype)
        self.first = torch.nn.Parameter(first, requires_grad=False)
        self.scale = torch.nn.Parameter(torch.tensor(0.1))

    def forward(self, rows):
        return self.scale * rows @ self.first.real.to(rows.dtype)


class Buffered(torch.nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.register_buffer("weight", torch.eye(2, dtype=dtype))

    def forward(self, rows):
        return rows @ self.weight


def frozen():
    """A network without weights, training mode or buffers."""
    return torch.jit.freeze(torch.jit.script(Buffered(torch.float32).eval()))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Coded(torch.int8), [0.06, 0.06]),
        (lambda: Coded(torch.complex64), [0.06, 0.06]),
        (lambda: Buffered(torch.float64), [0.6, 0.6]),
        (frozen, [0.6, 0.6]),
    ],
    ids=["codes", "complex", "buffers", "frozen"],
)
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_rows_come_in_the_type_that_a_network_computes_in(make, expected):
    classifier = SoftmaxClassifier.from_module(make(), [0, 1], 2)
    evidence = classifier.net_.module_(torch.tensor([[0.6, 0.6]]))
    np.testing.assert_allclose(evidence.detach().numpy(), [expected], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_scripted_network_is_trained_further():
    network = torch.jit.script(torch.nn.Linear(2, 2))
    X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    classifier = SoftmaxClassifier(network, max_epochs=30, lr=0.1, random_state=0)
    assert classifier.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0) > 0.9


class Centred(torch.nn.Linear):
    def forward(self, rows):
        rows -= 3
        return super().forward(rows)


@pytest.mark.parametrize(
    "network",
    [Centred(4, 2), torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(4, 2))],
    ids=["centred", "a ReLU"],
)
def test_a_network_that_works_in_place_changes_no_rows(network):
    with pytest.raises(ValueError, match="changes its inputs in place, and with them X"):
        SoftmaxClassifier.from_module(network, [0, 1], 4)
    for X in (np.ones((32, 4), dtype=np.float32), -torch.ones(32, 4)):
        found = NetFeatures(network).fit(X).transform(X)
        assert X[0, 0] in (-1, 1)
        with torch.no_grad():
            expected = network(torch.as_tensor(X).clone())
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class Views(torch.nn.Linear):
    def forward(self, rows):
        return super().forward(rows.view(-1).view(len(rows), -1))


class Crops(torch.nn.Conv2d):
    def forward(self, images):
        n, n_crops, height, width = images.shape
        maps = super().forward(images.view(n * n_crops, 1, height, width))
        return maps.mean((2, 3)).view(n, n_crops, 2).mean(dim=1)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(Views(4, 2), (4,)), (Crops(1, 2, 3), (3, 8, 8))],
    ids=["rows", "crops"],
)
def test_a_network_that_views_its_inputs_otherwise(network, shape):
    classifier = SoftmaxClassifier.from_module(network, [0, 1], shape)
    assert classifier.predict_proba(np.ones((3, *shape))).shape == (3, 2)
