import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.utils import Bunch

import data
from data import load_frame, load_images, load_tabular


def jpeg_stream(colours):
    """Flat images of one colour, as the JPEG files keep them."""
    parts = []
    for colour in colours:
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(buffer, "JPEG")
        parts.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, parts)])
    return np.frombuffer(b"".join(parts), dtype=np.uint8), offsets


@pytest.fixture
def home(tmp_path):
    """A data home with tiny files of the real layout."""
    rng = np.random.default_rng(0)

    def grey(n):
        return rng.integers(256, size=(n, 28, 28), dtype=np.uint8)

    np.savez(
        tmp_path / "mnist.npz",
        x_train=grey(6),
        y_train=np.arange(6),
        x_test=grey(4),
        y_test=np.arange(4),
    )
    np.savez(tmp_path / "notmnist.npz", x_test=grey(3), y_test=np.arange(3))
    stream, offsets = jpeg_stream([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    np.savez(
        tmp_path / "cifar10_jpeg.npz",
        x_train_jpeg=stream,
        x_train_offsets=offsets,
        y_train=np.array([3, 1, 2], dtype=np.uint8),
        x_test_jpeg=stream,
        x_test_offsets=offsets,
        y_test=np.array([0, 0, 9], dtype=np.uint8),
    )
    np.savez(tmp_path / "tinyimagenet32_jpeg.npz", x_test_jpeg=stream, x_test_offsets=offsets)
    flags = np.arange(6)
    np.savez(
        tmp_path / "omniglot28.npz",
        x=grey(6),
        background=flags < 4,
        alphabet=np.array([0, 0, 0, 0, 1, 1]),
        alphabet_names=np.array(["Greek", "Latin"]),
        character=np.array([1, 1, 2, 2, 1, 1]),
        drawer=np.array([1, 2] * 3),
        character_uid=np.array([0, 0, 1, 1, 2, 2]),
        looks_like_digit=flags == 0,
        maybe_digit=np.isin(flags, [0, 5]),
        similar_digit=np.where(flags == 0, 0, -1),
    )
    return tmp_path


class TestLoadImages:
    def test_flat_rows_from_zero_to_one(self, home):
        images = load_images("mnist", split="train", data_home=home)
        with np.load(home / "mnist.npz") as archive:
            pixels = archive["x_train"].reshape(6, 784)
        assert images.data.dtype == np.float32
        assert images.target.dtype == np.int64
        assert images.input_shape == (1, 28, 28)
        np.testing.assert_array_equal(np.rint(images.data * 255), pixels)
        assert images.data.max() <= 1.0
        assert images.target_names == list("0123456789")
        assert images.filename == str(home / "mnist.npz")

    def test_all_is_train_then_test(self, home):
        X, y = load_images("mnist", data_home=home, return_X_y=True)
        parts = [
            load_images("mnist", split=split, data_home=home, return_X_y=True)
            for split in ("train", "test")
        ]
        np.testing.assert_array_equal(X, np.concatenate([part[0] for part in parts]))
        assert y.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]

    def test_jpeg_images_have_their_channels_first(self, home):
        images = load_images("cifar10", split="test", data_home=home)
        channels = images.data.reshape(3, *images.input_shape).mean(axis=(2, 3))
        np.testing.assert_allclose(channels, np.eye(3), atol=0.01)
        assert images.target.tolist() == [0, 0, 9]
        assert images.target_names[3] == "cat"

    def test_lossless_cifar10_comes_first(self, home):
        x = np.zeros((2, 3, 32, 32), dtype=np.uint8)
        x[:, 1] = 255
        y = np.array([4, 5])
        np.savez(home / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        images = load_images("cifar10", data_home=home)
        assert images.filename.endswith("cifar10.npz")
        assert images.data.reshape(4, 3, -1).mean(axis=2).tolist() == [[0, 1, 0]] * 4

    def test_without_labels_the_target_is_minus_one(self, home):
        X, y = load_images("tinyimagenet", data_home=home, return_X_y=True)
        assert X.shape == (3, 3072)
        assert y.tolist() == [-1, -1, -1]

    @pytest.mark.parametrize(
        ("drop_digits", "split", "characters"),
        [
            (True, "all", [0, 1, 1, 2, 2]),
            ("maybe", "all", [0, 1, 1, 2]),
            (False, "all", [0, 0, 1, 1, 2, 2]),
            (True, "train", [0, 1, 1]),
            (True, "test", [2, 2]),
        ],
    )
    def test_omniglot_without_digits(self, home, drop_digits, split, characters):
        images = load_images("omniglot", split=split, data_home=home, drop_digits=drop_digits)
        assert images.target.tolist() == characters
        assert len(images.data) == len(images.drawer) == len(images.alphabet)
        assert images.target_names == ["Greek/1", "Greek/2", "Latin/1"]

    def test_environment_variable_names_the_folder(self, home, monkeypatch):
        monkeypatch.setenv("SKLEARN_OOD_DATA", str(home))
        assert len(load_images("notmnist").data) == 3

    def test_folder_falls_back_to_scikit_learns(self, home, monkeypatch):
        monkeypatch.delenv("SKLEARN_OOD_DATA", raising=False)
        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
        assert len(load_images("notmnist").data) == 3

    def test_unknown_name_lists_the_known_ones(self):
        with pytest.raises(ValueError, match="Got name='svhn', but expected one of 'mnist', "):
            load_images("svhn")

    def test_unknown_split(self, home):
        with pytest.raises(ValueError, match="Got split='val', but expected one of 'train'"):
            load_images("mnist", split="val", data_home=home)

    def test_split_that_the_set_lacks(self, home):
        with pytest.raises(ValueError, match="'notmnist' has no such part"):
            load_images("notmnist", split="train", data_home=home)

    def test_unknown_way_to_drop_digits(self, home):
        with pytest.raises(ValueError, match="Got drop_digits='all', but expected True"):
            load_images("omniglot", data_home=home, drop_digits="all")

    def test_missing_file_says_what_to_put_where(self, tmp_path):
        with pytest.raises(FileNotFoundError) as caught:
            load_images("omniglot", data_home=tmp_path)
        assert "omniglot28.npz" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "SKLEARN_OOD_DATA" in str(caught.value)
        assert "download" not in str(caught.value)

    @pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
    def test_missing_file_offers_the_download(self, tmp_path, name):
        with pytest.raises(FileNotFoundError, match="With download=True it is fetched"):
            load_images(name, data_home=tmp_path)

    def test_incomplete_file_names_the_missing_arrays(self, tmp_path):
        np.savez(tmp_path / "mnist.npz", x_train=np.zeros((1, 28, 28), dtype=np.uint8))
        with pytest.raises(ValueError, match="but expected also 'y_train'"):
            load_images("mnist", split="train", data_home=tmp_path)

    def test_jpeg_without_pillow_names_the_extra(self, home, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        with pytest.raises(ImportError, match=r"sklearn-ood\[images\]"):
            load_images("tinyimagenet", data_home=home)


class TestDownload:
    @pytest.fixture
    def openml(self, monkeypatch):
        """Stand in for the network: six training and four test rows of each set."""
        calls = []
        labels = np.array([3, 1, 2, 0, 4, 5, 0, 1, 1, 2])

        def fetch(name, **options):
            calls.append((name, options))
            width = 3072 if name == "CIFAR_10" else 784
            rows = np.arange(10 * width).reshape(10, width) % 256
            return Bunch(data=rows.astype(float), target=labels.astype(str).astype(object))

        monkeypatch.setattr(data, "fetch_openml", fetch)
        for name in ("mnist", "fashion_mnist", "cifar10"):
            spec = data.IMAGES[name]
            source = replace(spec.openml, n_train=6, test_counts=(1, 2, 1))
            monkeypatch.setitem(data.IMAGES, name, replace(spec, openml=source))
        return calls

    @pytest.mark.parametrize(
        ("name", "source", "shape"),
        [
            ("mnist", "mnist_784", (28, 28)),
            ("fashion_mnist", "Fashion-MNIST", (28, 28)),
            ("cifar10", "CIFAR_10", (3, 32, 32)),
        ],
    )
    def test_fetched_once_and_kept(self, tmp_path, openml, name, source, shape):
        folder = tmp_path / "new"
        X, y = load_images(name, data_home=folder, download=True, return_X_y=True)
        again, _ = load_images(name, data_home=folder, download=True, return_X_y=True)
        assert [call[0] for call in openml] == [source]
        assert openml[0][1]["version"] == 1
        np.testing.assert_array_equal(X, again)
        assert y.tolist() == [3, 1, 2, 0, 4, 5, 0, 1, 1, 2]
        expected = np.arange(X.size).reshape(X.shape) % 256
        np.testing.assert_array_equal(np.rint(X * 255), expected)
        with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
            assert archive["x_train"].shape == (6, *shape)
            assert archive["x_test"].shape == (4, *shape)
            assert archive["x_train"].dtype == np.uint8
        assert [path.name for path in folder.iterdir()] == [f"{name}.npz"]

    def test_rows_out_of_order_are_refused(self, tmp_path, openml, monkeypatch):
        spec = data.IMAGES["mnist"]
        source = replace(spec.openml, test_counts=(4, 0, 0))
        monkeypatch.setitem(data.IMAGES, "mnist", replace(spec, openml=source))
        with pytest.raises(ValueError, match="not in the original order"):
            load_images("mnist", data_home=tmp_path, download=True)
        assert not list(tmp_path.iterdir())

    def test_a_set_that_openml_lacks_is_not_fetched(self, tmp_path, openml):
        with pytest.raises(FileNotFoundError, match=r"notmnist\.npz"):
            load_images("notmnist", data_home=tmp_path, download=True)
        assert openml == []


class TestLoadTabular:
    @pytest.fixture
    def tables(self, tmp_path):
        (tmp_path / "tabular").mkdir()
        (tmp_path / "adbench").mkdir()
        rng = np.random.default_rng(0)
        np.savez(
            tmp_path / "tabular/wine_quality.npz",
            X=rng.normal(size=(4, 2)),
            y=np.array([3, 5, 5, 9]),
            is_red=np.array([True, True, False, False]),
            feature_names=np.array(["acid", "sugar"]),
        )
        np.savez(
            tmp_path / "tabular/pendigits_multiclass.npz",
            X_train=np.zeros((7494, 2), dtype=np.uint8),
            y_train=np.zeros(7494, dtype=int),
            X_test=np.ones((3, 2), dtype=np.uint8),
            y_test=np.array([1, 2, 3]),
        )
        np.savez(
            tmp_path / "adbench/32_shuttle.npz",
            X=np.array([[1, 2], [3, 4]], dtype=np.int16),
            y=np.array([0, 1], dtype=np.uint8),
        )
        return tmp_path

    def test_anomaly_table(self, tables):
        table = load_tabular("shuttle", data_home=tables)
        assert table.data.dtype == np.float64
        assert table.target.dtype == np.int64
        assert table.data.tolist() == [[1, 2], [3, 4]]
        assert [table.target_names[label] for label in table.target] == ["normal", "anomaly"]

    def test_class_table_with_its_names(self, tables):
        table = load_tabular("wine_quality", data_home=tables)
        assert table.feature_names == ["acid", "sugar"]
        assert table.is_red.tolist() == [True, True, False, False]
        assert table.target.tolist() == [3, 5, 5, 9]

    @pytest.mark.parametrize(("split", "rows"), [("train", 7494), ("test", 3), ("all", 7497)])
    def test_usual_split(self, tables, split, rows):
        X, y = load_tabular(
            "pendigits_multiclass", split=split, data_home=tables, return_X_y=True
        )
        assert len(X) == len(y) == rows
        assert X.max() == (0.0 if split == "train" else 1.0)

    def test_table_without_a_usual_split(self, tables):
        with pytest.raises(ValueError, match="'shuttle' has no such part"):
            load_tabular("shuttle", split="test", data_home=tables)

    def test_unknown_name_lists_the_known_ones(self):
        with pytest.raises(ValueError, match="Got name='iris', but expected one of 'letter_r"):
            load_tabular("iris")

    def test_missing_file_says_what_to_put_where(self, tables):
        with pytest.raises(FileNotFoundError, match=r"found no file adbench/6_cardio\.npz"):
            load_tabular("cardio", data_home=tables)


REAL_IMAGES = [
    ("mnist", "mnist.npz", 60_000, 10_000, 784),
    ("fashion_mnist", "fashion_mnist.npz", 60_000, 10_000, 784),
    ("omniglot", "omniglot28.npz", 18_520, 12_940, 784),
    ("notmnist", "notmnist.npz", None, 10_000, 784),
    ("cifar10", "cifar10_jpeg.npz", 50_000, 10_000, 3072),
    ("tinyimagenet", "tinyimagenet32_jpeg.npz", None, 10_000, 3072),
]
REAL_TABLES = {
    "letter_recognition": (20_000, 16, 26),
    "pendigits_multiclass": (10_992, 16, 10),
    "wine_quality": (6497, 11, 7),
    "dry_bean": (13_611, 16, 7),
    "cardio": (1831, 21, 176),
    "cover": (286_048, 10, 2747),
    "letter": (1600, 32, 100),
    "mammography": (11_183, 6, 260),
    "musk": (3062, 166, 97),
    "pendigits": (6870, 16, 156),
    "satimage-2": (5803, 36, 71),
    "shuttle": (49_097, 9, 3511),
    "thyroid": (3772, 6, 93),
}


class TestRealFiles:
    @pytest.mark.parametrize(("name", "file", "n_train", "n_test", "width"), REAL_IMAGES)
    def test_images(self, real_data, name, file, n_train, n_test, width):
        images = load_images(name, split="test", data_home=real_data(file))
        assert images.data.shape == (n_test, width) == (n_test, np.prod(images.input_shape))
        assert images.data.min() == 0.0
        assert images.data.max() == 1.0
        assert images.target.shape == (n_test,)
        if name in ("mnist", "fashion_mnist", "cifar10"):
            counts = data.IMAGES[name].openml.test_counts
            assert tuple(np.bincount(images.target)) == counts
        if n_train is not None and width == 784:
            X, y = load_images(name, split="train", data_home=real_data(file), return_X_y=True)
            assert X.shape == (n_train, width)
            assert len(y) == n_train

    @pytest.mark.parametrize(
        ("drop_digits", "n"), [(True, 31_460), ("maybe", 30_420), (False, 32_460)]
    )
    def test_omniglot_counts(self, real_data, drop_digits, n):
        home = real_data("omniglot28.npz")
        images = load_images("omniglot", data_home=home, drop_digits=drop_digits)
        assert len(images.data) == n
        assert len(images.target_names) == 1623
        assert images.target_names[0] == "Alphabet_of_the_Magi/1"

    @pytest.mark.parametrize("name", list(REAL_TABLES))
    def test_tables(self, real_data, name):
        table = load_tabular(name, data_home=real_data(data.TABLES[name].file))
        n, width, third = REAL_TABLES[name]
        assert table.data.shape == (n, width)
        anomalies = table.target_names == ["normal", "anomaly"]
        assert (table.target.sum() if anomalies else len(np.unique(table.target))) == third
        assert len(table.feature_names) in (0, width)


class TestLoadFrame:
    def test_a_frame_and_its_labels(self, tmp_path):
        (tmp_path / "mixed").mkdir()
        (tmp_path / "mixed" / "soybean.csv").write_text("a,b,target\n1,x,yes\n,y,no\n")
        frame, target = load_frame("soybean", data_home=tmp_path)
        assert frame.isna().to_numpy().tolist() == [[False, False], [True, False]]
        assert target.tolist() == ["yes", "no"]

    def test_what_is_not_there(self, tmp_path):
        with pytest.raises(ValueError, match="'soybean'"):
            load_frame("iris")
        with pytest.raises(FileNotFoundError, match="mixed/soybean.csv"):
            load_frame("soybean", data_home=tmp_path)
