import numpy as np
import pytest
import torch

from sklearn_ood import SoftmaxClassifier
from sklearn_ood.data._blocks import PagedRows
from sklearn_ood.nets._batches import ArrayBatches
from sklearn_ood.nets._evaluation import (
    ROW_BLOCK,
    AlignedProducts,
    Arrays,
    forward,
    map_batches,
    resolve_device,
    rows_per_batch,
)
from sklearn_ood.nets._training import Seeded, make_net, train


def data(n_rows=100, n_features=3):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    return rows, (rows[:, 0] > 0).astype(np.int64)


def test_batches_hold_every_row_once_and_keep_rows_and_targets_together():
    rows = np.arange(50, dtype=np.float32)[:, None]
    batches = list(ArrayBatches(Arrays(rows, np.arange(50)), 16, shuffle=True))
    assert [len(batch[0]) for batch in batches] == [16, 16, 16, 2]
    seen = torch.cat([batch[1] for batch in batches])
    assert sorted(seen.tolist()) == list(range(50))
    assert seen.tolist() != list(range(50))
    for inputs, targets in batches:
        assert torch.equal(inputs[:, 0].long(), targets)


def test_read_only_rows_are_streamed_and_train_to_the_same_bits(tmp_path):
    rows, codes = data()
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    scores = [
        SoftmaxClassifier(max_epochs=2, random_state=0, device="cpu")
        .fit(X, codes)
        .score_samples(X)
        for X in (rows, mapped)
    ]
    np.testing.assert_array_equal(*scores)
    assert isinstance(Arrays(mapped).arrays[0], PagedRows)


class Forgetful(torch.nn.Linear):
    """Out of memory for more rows than ``limit``."""

    limit = 12

    def forward(self, rows):
        if self.training and len(rows) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(rows)


def test_out_of_memory_halves_the_batch_and_loses_no_row():
    rows, codes = data()
    sizes = []
    net = make_net(Forgetful(3, 2), batch_size=64, max_epochs=2, device="cpu")
    original = net.losses

    def recording(batch):
        losses = original(batch)
        sizes.append(len(batch[0]))
        return losses

    net.losses = recording
    train(net, rows, codes, random=Seeded(0))
    assert max(sizes) == 8
    assert sum(sizes) == 2 * len(rows)


def test_out_of_memory_with_one_row_is_raised():
    module = Forgetful(3, 2)
    module.limit = 0
    net = make_net(module, max_epochs=1, device="cpu")
    with pytest.raises(torch.OutOfMemoryError):
        train(net, *data(), random=Seeded(0))


def test_map_batches_halves_too_and_keeps_the_order():
    rows = np.arange(200, dtype=np.float32)[:, None]
    sizes = []

    def double(batch):
        if len(batch) > 48:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(batch))
        return 2 * batch, batch[:, 0]

    doubled, same = map_batches(double, rows, max_rows=128)
    np.testing.assert_array_equal(doubled, 2 * rows)
    np.testing.assert_array_equal(same, rows[:, 0])
    assert all(size % ROW_BLOCK == 0 for size in sizes)


def test_rows_per_batch_bounds_memory():
    assert rows_per_batch(4) == 4096
    assert rows_per_batch(784) * 784 <= 2**21
    assert rows_per_batch(10**9) == ROW_BLOCK


def test_rows_per_batch_follow_the_free_memory_of_a_gpu(monkeypatch):
    for free, n_rows in ((80 * 2**30, 2**16), (2**30, 2**20 // 784), (2**10, ROW_BLOCK)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
        assert rows_per_batch(784, "cuda") == n_rows


@pytest.mark.parametrize("width", [1, 2000])
def test_wide_and_narrow_results_come_back_whole(width):
    rows = np.arange(100, dtype=np.float32)[:, None]
    wide, narrow = map_batches(lambda x: (x.repeat(1, width), x[:, 0]), rows, max_rows=32)
    np.testing.assert_array_equal(wide, rows.repeat(width, axis=1))
    np.testing.assert_array_equal(narrow, rows[:, 0])


def test_training_leaves_evaluation_mode_and_forward_keeps_no_graph():
    rows, codes = data()
    net = make_net(torch.nn.Linear(3, 2), max_epochs=1, device="cpu")
    train(net, rows, codes, random=Seeded(0))
    assert not net.module_.training
    outputs = forward(net, rows)
    assert outputs.dtype == np.float64
    expected = rows @ net.module_.weight.detach().numpy().T + net.module_.bias.detach().numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_devices():
    assert resolve_device("auto").type in {"cpu", "cuda"}
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="device=3.5"):
        resolve_device(3.5)


def test_rows_that_overflow_in_float32_are_evaluated_in_float64():
    with Seeded(0):
        network = torch.nn.Sequential(
            *(torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        )
    classifier = SoftmaxClassifier.from_module(network, [0, 1], input_shape=3)
    rows = np.array([[1.0, 2.0, 3.0], [3e38, -3e38, 3e38]])
    exact = network.double()(torch.from_numpy(rows)).detach().numpy()
    network.float()
    assert not np.isfinite(network(torch.from_numpy(rows).float()).detach().numpy()[1]).all()
    decision = exact[:, 1] - exact[:, 0]
    np.testing.assert_allclose(classifier.decision_function(rows), decision, rtol=1e-5)
    assert next(network.parameters()).dtype == torch.float32


def test_a_network_that_gives_nan_says_so():
    network = torch.nn.Linear(3, 2)
    classifier = SoftmaxClassifier.from_module(network, [0, 1], input_shape=3)
    with torch.no_grad():
        network.bias[0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite outputs .* 5 rows"):
        classifier.predict(np.zeros((5, 3)))


def test_a_last_step_that_diverges_is_an_error():
    rows, codes = data()
    classifier = SoftmaxClassifier(max_epochs=1, batch_size=100, optimizer="sgd", lr=1e37)
    with pytest.raises(ValueError, match="Training diverged: the sum of weights"):
        classifier.fit(1e5 * rows, codes)


@pytest.mark.parametrize("shape", [(48, 7, 3), (48, 8, 7), (48, 33, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_compute_each_row_alike(shape, dtype):
    n_rows, n_inputs, n_outputs = shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n_rows, n_inputs, generator=generator, dtype=dtype)
    matrix = torch.randn(n_inputs, n_outputs, generator=generator, dtype=dtype)

    def products(some):
        stacked = some.expand(2, *some.shape)
        with AlignedProducts():
            return (
                some @ matrix,
                torch.matmul(stacked, matrix)[1],
                torch.bmm(stacked, matrix.expand(2, -1, -1))[1],
                torch.nn.functional.linear(some, weight=matrix.T),
            )

    for whole, part, one in zip(
        products(rows), products(rows[5:21]), products(rows[5:6]), strict=True
    ):
        torch.testing.assert_close(whole, rows @ matrix)
        assert torch.equal(whole[5:21], part)
        assert torch.equal(whole[5:6], one)


@pytest.mark.parametrize("n_keys", [13, 49, 197])
def test_a_query_beside_others_is_answered_alike(n_keys):
    """An image's one query for its own keys, as in layers that attend to the class token."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, 1, 64, generator=generator)
    keys = torch.randn(1, 2, 64, n_keys, generator=generator)
    with AlignedProducts():
        answers = query.repeat(16, 1, 1, 1) @ keys.repeat(16, 1, 1, 1)
    torch.testing.assert_close(answers[:1], query @ keys)
    assert (answers == answers[:1]).all()


def test_products_by_name_are_as_without():
    rows = torch.arange(6.0).reshape(2, 3)
    with AlignedProducts():
        assert torch.equal(torch.matmul(input=rows, other=rows.T), rows @ rows.T)
