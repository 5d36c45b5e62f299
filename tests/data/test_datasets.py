"""Folders of images: torch's datasets and loaders give the answers of the same array."""

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)
from torch.utils.data.distributed import DistributedSampler

from sklearn_ood import (
    CombinedClassifier,
    DAEConfidence,
    GenerativeClassifier,
    MahalanobisDistance,
    NeighborDistance,
    NetFeatures,
    NoveltyDetector,
    RejectClassifier,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.data._datasets import DatasetRows

Image = pytest.importorskip("PIL.Image")

SHAPE, CLASSES = (3, 8, 8), 3
RNG = np.random.default_rng(0)
Y = RNG.integers(CLASSES, size=150)
PIXELS = (RNG.integers(60, size=(150, 8, 8, 3)) + 60 * Y[:, None, None, None]).astype(np.uint8)
X = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / 255
SCORING = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "confidence",
    "accept",
    "answers",
    "p_values",
    "member_p_values",
    "transform",
    "answers_and_confidence",
]


class Folder(Dataset):
    """Images of a folder, read when they are asked for."""

    def __init__(self, folder, labels=None):
        self.paths, self.labels = sorted(folder.glob("*.png")), labels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        return pixels if self.labels is None else (pixels, self.labels[index])


class Items(Dataset):
    """A list as a dataset."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(path / f"{number:03d}.png")
    return path


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, CLASSES),
    ).eval()


def trained(classes=range(CLASSES)):
    return SoftmaxClassifier.from_module(network(), list(classes), SHAPE, device="cpu")


FROZEN = FrozenEstimator(trained())
FITTED = [
    trained(),
    NetFeatures(FROZEN).fit(X),
    NetFeatures(network()).fit(X),
    MahalanobisDistance().fit(X, Y),
    GenerativeClassifier("pca", random_state=0).fit(X, Y),
    DAEConfidence(max_epochs=1, random_state=0, device="cpu").fit(X, Y),
    SelectiveClassifier(FROZEN, coverage=0.8).fit(X, Y),
    NoveltyDetector(FROZEN).fit(X),
    CombinedClassifier(FROZEN, [("net", "classifier")], random_state=0).fit(X, Y),
]


@pytest.mark.parametrize("estimator", FITTED, ids=lambda each: type(each).__name__)
def test_scores_are_those_of_the_array_bit_for_bit(estimator, folder):
    labelled = Folder(folder, Y.tolist())
    given = [Folder(folder), labelled, DataLoader(labelled, batch_size=32)]
    asked = [name for name in SCORING if hasattr(estimator, name)]
    assert asked
    for method in asked:
        expected = getattr(estimator, method)(X)
        for images in given:
            answers = getattr(estimator, method)(images)
            np.testing.assert_array_equal(answers, expected)
            assert isinstance(answers, (np.ndarray, tuple))


def test_neighbours_of_scikit_learn_are_those_of_the_array_to_rounding(folder):
    near = make_pipeline(NetFeatures(FROZEN), NeighborDistance())
    selective = SelectiveClassifier(FROZEN, coverage=0.8, detector=near).fit(X, Y)
    for model in (selective, selective.detector_):
        scores = model.score_samples(Folder(folder))
        np.testing.assert_allclose(scores, model.score_samples(X), atol=1e-6)


def test_two_workers_read(folder):
    loader = DataLoader(Folder(folder, Y.tolist()), batch_size=20, num_workers=2)
    classifier = SelectiveClassifier(FROZEN, coverage=0.8).fit(loader)
    assert (
        classifier.threshold_ == SelectiveClassifier(FROZEN, coverage=0.8).fit(X, Y).threshold_
    )
    np.testing.assert_array_equal(classifier.predict(loader), classifier.predict(X))


@pytest.mark.parametrize("limit", [{"risk": 0.95}, {"coverage": 0.5}, {"threshold": -1.1}])
def test_labels_come_from_the_dataset_or_from_y(folder, limit):
    expected = SelectiveClassifier(FROZEN, **limit).fit(X, Y)
    labelled, plain = Folder(folder, torch.as_tensor(Y)), Folder(folder)
    for given in [(labelled,), (DataLoader(labelled, 7),), (plain, Y), (DataLoader(plain), Y)]:
        fitted = SelectiveClassifier(FROZEN, **limit).fit(*given)
        assert fitted.threshold_ == expected.threshold_
        assert fitted.guarantee_ == expected.guarantee_
        assert fitted.answers_by_largest_ == expected.answers_by_largest_


def test_labels_that_are_text(folder):
    names = np.array(["cat", "dog", "fox"])
    model = SelectiveClassifier(FrozenEstimator(trained(names)), risk=0.95)
    expected = model.fit(X, names[Y]).threshold_
    assert model.fit(Folder(folder, names[Y].tolist())).threshold_ == expected
    with pytest.raises(ValueError, match=r"labels such as .* classes\[y\]"):
        model.fit(Folder(folder, Y.tolist()))


def test_known_outliers_of_a_dataset_do_not_place_the_offset(folder):
    frozen = FrozenEstimator(
        SoftmaxClassifier(max_epochs=1, ood_label=2, random_state=0, device="cpu").fit(X, Y)
    )
    expected = NoveltyDetector(frozen).fit(X, Y).offset_
    labelled = Folder(folder, Y.tolist())
    for images in (labelled, DataLoader(labelled, batch_size=32, num_workers=2)):
        assert NoveltyDetector(frozen).fit(images).offset_ == expected


def test_only_what_learns_on_features_is_trained(folder):
    """Held-out images are a part of the dataset, and the network sees the rest by batches."""
    features = NetFeatures(network())
    novelty = NoveltyDetector(make_pipeline(features, NeighborDistance()), random_state=0)
    linear = make_pipeline(features, LogisticRegression())
    selective = SelectiveClassifier(linear, coverage=0.8, random_state=0)
    labelled = Folder(folder, Y.tolist())
    batches = [range(start, min(start + 40, 150)) for start in range(0, 150, 40)]
    loaders = DataLoader(labelled, batch_size=32), DataLoader(labelled, batch_sampler=batches)
    for images in (labelled, *loaders):
        offsets = (novelty.fit(each).offset_ for each in (images, X))
        np.testing.assert_allclose(*offsets, rtol=1e-5)
        given, expected = (selective.fit(*each).threshold_ for each in ((images,), (X, Y)))
        np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_random_generators_are_left_as_found(folder):
    before = torch.get_rng_state()
    FITTED[0].predict(Folder(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_numpy_images_half_precision_and_flat_rows():
    expected = FITTED[0].predict(X)
    np.testing.assert_array_equal(FITTED[0].predict(Items(list(X))), expected)
    np.testing.assert_array_equal(FITTED[0].predict(Items(list(X.reshape(150, -1)))), expected)
    half = torch.from_numpy(X).bfloat16()
    np.testing.assert_array_equal(
        FITTED[0].score_samples(TensorDataset(half)),
        FITTED[0].score_samples(half.float().numpy()),
    )


PICTURE, IMAGE = Image.fromarray(PIXELS[0]), torch.from_numpy(X[0])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([PICTURE], r"Got Image as an image, but expected float images .*ToTensor"),
        ([IMAGE, IMAGE[:, :4]], r"shapes \(3, 4, 8\), \(3, 8, 8\).*resize"),
        ([(IMAGE * 255).to(torch.uint8)], r"Got images of torch.uint8 and shape \(3, 8, 8\)"),
        ([IMAGE[0]], r"shape \(8, 8\).*channel axis"),
        ([IMAGE.permute(1, 2, 0)], r"shape \(8, 8, 3\).*transpose"),
        ([IMAGE[:, :4, :4]], r"shape \(3, 4, 4\).*fitted on inputs of shape \(3, 8, 8\)"),
        ([(IMAGE, 0, "path")], r"items of 3 parts.*pairs.*collate_fn"),
        ([{"image": IMAGE, "label": 0}], r"keys \['image', 'label'\].*pairs"),
        ([PIXELS[0]], r"torch.uint8 and shape \(8, 8, 3\).*scale.*permute"),
        ([IMAGE * np.nan], "NaN"),
        ([], "0 sample"),
    ],
)
def test_items_of_other_kinds_say_what_came(items, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FITTED[0].predict(Items(items))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"boxes": 1}, "labels as dict"),
        (torch.eye(3)[0], r"labels as Tensor of shape \(2, 3\) for 2 images"),
        (IMAGE, r"labels as Tensor of shape \(2, 3, 8, 8\) for 2 images"),
        (Image.fromarray(PIXELS[0]), "found .*Image"),
    ],
    ids=["detection", "one-hot", "mask", "segmentation"],
)
def test_labels_of_another_kind_matter_where_labels_are_learned(label, message):
    labelled = Items([(IMAGE, label)] * 2)
    np.testing.assert_array_equal(
        FITTED[0].score_samples(labelled),
        FITTED[0].score_samples(IMAGE[None].repeat(2, 1, 1, 1)),
    )
    with pytest.raises((ValueError, TypeError), match=message):
        SoftmaxClassifier().fit(labelled)


@pytest.mark.parametrize(
    "pixels",
    [
        X[:3, :, :, ::-1],
        X[:3].astype(">f4"),
        np.frombuffer(X[:3].tobytes(), np.float32).reshape(3, *SHAPE),
    ],
    ids=["mirrored", "byte order", "not writable"],
)
def test_arrays_as_people_have_them(pixels, recwarn):
    expected = FITTED[0].score_samples(np.ascontiguousarray(pixels, np.float32))
    np.testing.assert_array_equal(FITTED[0].score_samples(Items(list(pixels))), expected)
    assert not recwarn.list


class Shuffled(Sampler):
    """As those of class-balanced batches."""

    def __iter__(self):
        return iter(torch.randperm(8).tolist())

    def __len__(self):
        return 8


EIGHT = Items(list(zip(X[:8], range(8), strict=True)))
UNLIKE = {
    "batches at random": {"batch_sampler": BatchSampler(RandomSampler(EIGHT), 2, False)},
    "batches that drop": {"batch_sampler": BatchSampler(SequentialSampler(EIGHT), 3, True)},
    "a sampler of one's own": {"sampler": Shuffled(), "batch_size": 2},
    "its batches": {"batch_sampler": BatchSampler(Shuffled(), 2, False)},
    "drawn with replacement": {"sampler": RandomSampler(EIGHT, replacement=True)},
    "some drawn": {"sampler": RandomSampler(EIGHT, num_samples=3)},
}


@pytest.mark.parametrize("how", UNLIKE)
def test_loaders_that_draw_otherwise_are_seen_whatever_their_sampler(how):
    with pytest.raises(ValueError, match="shuffle=False"):
        FITTED[0].predict(DataLoader(EIGHT, **UNLIKE[how]))
    in_order = DataLoader(EIGHT, batch_sampler=BatchSampler(SequentialSampler(EIGHT), 3, False))
    np.testing.assert_array_equal(FITTED[0].predict(in_order), FITTED[0].predict(X[:8]))


class OfAllProcesses(DistributedSampler):
    """As each of several processes has one; here there is one process."""

    def __init__(self, **options):
        super().__init__(EIGHT, num_replicas=1, rank=0, **options)


@pytest.mark.parametrize("given", [False, True], ids=["labels inside", "labels given"])
@pytest.mark.parametrize(
    "how",
    [
        {"sampler": Shuffled()},
        {"batch_sampler": BatchSampler(Shuffled(), 3, False)},
        {"sampler": OfAllProcesses()},
    ],
    ids=["a sampler", "its batches", "of all processes"],
)
def test_labels_are_those_of_images_in_whatever_order_a_loader_draws_them(how, given):
    images = Items(list(X[:8])) if given else Items(list(zip(X[:8], Y[:8], strict=True)))
    fitted, expected = (SoftmaxClassifier(max_epochs=2, random_state=0) for _ in range(2))
    fitted.fit(DataLoader(images, **how), Y[:8] if given else None)
    expected.fit(X[:8], Y[:8])
    np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


def test_a_loader_of_several_processes_gives_answers_in_order_where_it_does_not_shuffle():
    in_order = DataLoader(EIGHT, sampler=OfAllProcesses(shuffle=False))
    np.testing.assert_array_equal(FITTED[0].predict(in_order), FITTED[0].predict(X[:8]))
    with pytest.raises(ValueError, match="shuffle=False"):
        FITTED[0].predict(DataLoader(EIGHT, sampler=OfAllProcesses()))


class Drawn(Shuffled):
    """Some images again, others never."""

    def __iter__(self):
        return iter([0, 0, *torch.randperm(8)[:6].tolist()])


class Part(Shuffled):
    """Others in each pass."""

    def __iter__(self):
        self.first = getattr(self, "first", 0) + 3
        return iter([image % 8 for image in range(self.first, self.first + 3)])


@pytest.mark.parametrize("sampler", [Drawn(), Part()])
def test_training_on_images_that_are_drawn_is_refused(sampler):
    with pytest.raises(ValueError, match="draws images by weights, drops some"):
        SoftmaxClassifier(max_epochs=1).fit(DataLoader(EIGHT, sampler=sampler))


@pytest.mark.parametrize("ask", [FITTED[0].predict, SoftmaxClassifier().fit])
def test_batches_without_an_end(ask):
    with pytest.raises(ValueError, match="batches have no end, of a dataset of 8 images"):
        ask(DataLoader(EIGHT, batch_sampler=itertools.cycle([[0, 1], [2]])))


class Targets(Items):
    """Beside its items it has targets, as those of torchvision."""

    def __init__(self, items, targets, **transforms):
        super().__init__(items)
        self.targets = targets
        vars(self).update(transforms)


LABELLED = list(zip(X[:8], Y[:8].tolist(), strict=True))
OF_IMAGES = SimpleNamespace(transform=len, target_transform=None)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (Targets(LABELLED, Y[:8].tolist(), transforms=OF_IMAGES), Y[:8]),
        (Targets(list(X[:8]), Y[:8].tolist()), Y[:8]),
        (Targets(LABELLED, (Y[:8] + 1).tolist()), Y[:8]),
        (Targets(LABELLED, [*Y[:7].tolist(), 9]), Y[:8]),
        (Targets(LABELLED, [*Y[:1].tolist(), *[9] * 7], transforms=zip), Y[:8]),
        (Subset(Targets(LABELLED, (Y[:8] + 1).tolist()), [3, 1, 2]), Y[[3, 1, 2]]),
    ],
    ids=[
        "the same",
        "images alone",
        "others",
        "one other",
        "of pairs that are transformed",
        "a part",
    ],
)
def test_labels_are_those_of_the_items_whatever_targets_there_are(dataset, expected):
    assert DatasetRows(dataset).labels().tolist() == expected.tolist()


@pytest.mark.parametrize("fitted", FITTED[::6], ids=["classifier", "selective"])
def test_the_share_of_right_answers_is_of_the_labels_that_a_dataset_has(fitted):
    labelled = Items(list(zip(X, Y.tolist(), strict=True)))
    assert fitted.score(labelled) == fitted.score(X, Y) == fitted.score(labelled, Y)


class WithoutLength(Dataset):
    def __getitem__(self, index):
        return IMAGE


class Stream(IterableDataset):
    def __iter__(self):
        yield IMAGE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Stream(), "iterable"),
        (DataLoader(Stream()), "iterable"),
        (WithoutLength(), "without a length"),
        (DataLoader(Items([IMAGE, IMAGE]), shuffle=True), "shuffle=False"),
        (DataLoader(Items([IMAGE, IMAGE]), batch_size=2, drop_last=True), "drop_last=False"),
        (DataLoader(Items([IMAGE, IMAGE]), batch_size=None), "expected one of batches"),
    ],
)
def test_loaders_give_every_image_in_order(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FITTED[0].predict(given)


@pytest.mark.parametrize(
    "estimator",
    [
        GenerativeClassifier("pca", random_state=0),
        RejectClassifier(max_epochs=1, outliers="uniform", random_state=0, device="cpu"),
        CombinedClassifier(FROZEN, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("given", [False, True], ids=["labels inside", "labels given"])
def test_what_passes_over_images_several_times_reads_them_from_a_file(estimator, given):
    labelled = Items(list(zip(X, Y.tolist(), strict=True)))
    fitted = clone(estimator).fit(labelled, Y if given else None)
    expected = clone(estimator).fit(X, Y).score_samples(X)
    np.testing.assert_array_equal(fitted.score_samples(X), expected)


def test_images_without_labels_are_one_class():
    alone = CombinedClassifier(random_state=0).fit(Items(list(X)))
    assert alone.classes_.tolist() == [1]
    expected = CombinedClassifier(random_state=0).fit(X).p_values(X)
    np.testing.assert_array_equal(alone.p_values(X), expected)


def test_what_fits_and_what_does_not():
    labelled = Items(list(zip(X, Y.tolist(), strict=True)))
    with pytest.raises(TypeError, match="Got X as Items, but this needs all rows.*NetFeatures"):
        CombinedClassifier(random_state=0).fit(X, Y).explain(labelled)
    with pytest.raises(ValueError, match="150 images in X, but 149 labels in y"):
        SelectiveClassifier(FROZEN, coverage=0.8).fit(labelled, Y[1:])
    with pytest.raises(ValueError, match="no labels, and no y"):
        SelectiveClassifier(FROZEN, coverage=0.8).fit(Items(list(X)))


GUIDE = Path(__file__).parents[2] / "docs" / "user_guide.rst"


def test_the_guide_goes_from_a_folder_to_a_guarantee(tmp_path, monkeypatch):
    section = GUIDE.read_text().split("A folder of images\n---")[1]
    code = textwrap.dedent(section.split("code-block:: python\n")[1].split("\n\nLabels")[0])
    assert len(code.strip().splitlines()) <= 30
    names = np.array(["cat", "dog", "fox"])[Y[:70]]
    for name, pixels in zip(names, PIXELS[:70], strict=True):
        for part in ("calibration", "new"):
            place = tmp_path / part / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{len(list(place.iterdir()))}.jpg")
    brightness = nn.Linear(3, CLASSES)
    centers = 3 * torch.tensor([30.0, 90.0, 150.0]) / 255
    with torch.no_grad():
        brightness.weight.copy_(50 * centers[:, None].expand(3, 3))
        brightness.bias.copy_(-25 * centers**2)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), brightness)
    torch.save(network, tmp_path / "network.pt")
    monkeypatch.chdir(tmp_path)
    made = {}
    exec(code.replace("num_workers=4", "num_workers=0"), made)
    assert made["model"].guarantee_["risk"].bound <= 0.05
    answered = made["answers"] != "reject"
    assert answered.mean() > 0.9
    np.testing.assert_array_equal(made["answers"][answered], np.sort(names)[answered])


LARGE = """
    import sys, tracemalloc
    from pathlib import Path
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import Dataset
    from sklearn_ood import SoftmaxClassifier
    from sklearn_ood.data import _datasets

    class Folder(Dataset):
        def __init__(self, paths):
            self.paths = paths

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, index):
            with Image.open(self.paths[index]) as image:
                return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255

    def resident(name):
        status = Path("/proc/self/status").read_text()
        return int(status.split(name + ":")[1].split()[0]) / 1024

    _datasets.BATCH_BYTES = 2**22
    torch.set_num_threads(1)
    shape, rng = (3, 96, 96), np.random.default_rng(0)
    for k in range(2000):
        pixels = np.full((96, 96, 3), k % 256, dtype=np.uint8)
        Image.fromarray(pixels).save(Path(sys.argv[1]) / f"{k:04d}.png", compress_level=1)
    images = Folder(sorted(Path(sys.argv[1]).glob("*.png")))
    network = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(108, 2))
    model = SoftmaxClassifier.from_module(network, [0, 1], shape, device="cpu")
    model.predict(Folder(images.paths[:100]))
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmHWM")
    assert len(model.score_samples(images)) == 2000
    print(2000 * np.prod(shape) * 4 / 2**20, resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_two_thousand_images_add_little_to_resident_memory(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(LARGE), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    size, added = map(float, run.stdout.split())
    assert size > 200
    assert added < 30


class Counted(Items):
    """Counts how often each item is asked for."""

    def __init__(self, items):
        super().__init__(items)
        self.asked = np.zeros(len(items), dtype=int)

    def __getitem__(self, index):
        self.asked[index] += 1
        return self.items[index]


def test_images_and_labels_are_read_in_one_pass():
    images = Counted(list(zip(torch.from_numpy(X), Y.tolist(), strict=True)))
    detector = MahalanobisDistance().fit(images)
    assert images.asked[0] == 2  # the first tells what the others are
    assert (images.asked[1:] == 1).all()
    np.testing.assert_array_equal(detector.means_, MahalanobisDistance().fit(X, Y).means_)


def test_images_of_another_shape_in_a_later_batch(monkeypatch):
    monkeypatch.setattr("sklearn_ood.data._datasets.LARGEST_BATCH", 16)
    images = Items([*zip(X[:40], Y[:40], strict=True), *((X[0][:, :4], 0) for _ in range(9))])
    for use in (MahalanobisDistance().fit, FITTED[0].predict):
        with pytest.raises(ValueError, match=r"shapes \(3, 4, 8\), \(3, 8, 8\).*resize"):
            use(images)
    images = Items([*X[:32], *(each[:, :4] for each in X[32:48])])
    with pytest.raises(ValueError, match=r"shapes \(3, 8, 8\), \(3, 4, 8\).*resize"):
        FITTED[0].predict(images)


def test_subsets_and_joined_datasets_keep_their_order():
    whole = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    order = np.random.default_rng(1).permutation(150)
    nested = Subset(Subset(whole, order), torch.arange(40))
    np.testing.assert_array_equal(
        FITTED[0].score_samples(nested), FITTED[0].score_samples(X[order[:40]])
    )
    joined = ConcatDataset([Subset(whole, range(70)), Subset(whole, range(70, 150))])
    np.testing.assert_array_equal(FITTED[0].score_samples(joined), FITTED[0].score_samples(X))
    fitted = MahalanobisDistance().fit(joined)
    np.testing.assert_array_equal(fitted.means_, MahalanobisDistance().fit(X, Y).means_)


def test_lists_and_single_images_say_what_to_pass():
    for images in (list(X[:3]), [torch.from_numpy(X[0])]):
        with pytest.raises(ValueError, match="stack"):
            FITTED[0].predict(images)
    with pytest.raises(ValueError, match=r"single image is X\[None\]"):
        FITTED[0].predict(X[0])


def filtered(items):
    kept = [item for item in items if item[1] != 1]
    return torch.stack([image for image, _ in kept]), [label for _, label in kept]


class Fewer(Items):
    def __getitems__(self, index):
        return [self.items[i] for i in index if self.items[i][1] != 1]


@pytest.mark.parametrize("make", [Items, Fewer])
@pytest.mark.parametrize("ask", [FITTED[0].score_samples, SoftmaxClassifier().fit])
def test_what_leaves_out_images_by_itself_is_refused(make, ask):
    first = int(np.argmin(Y == 1))  # is read alone
    items = make(list(zip(map(torch.from_numpy, X[first:]), Y[first:].tolist(), strict=True)))
    given = items if make is Fewer else DataLoader(items, 8, collate_fn=filtered)
    with pytest.raises(ValueError, match=r"Got \d+ images of \d+ items.*a Subset"):
        ask(given)


def test_errors_of_a_dataset_are_its_own():
    class Broken(Items):
        def __getitem__(self, index):
            if index == 70:
                raise OSError("cannot read 70.jpg")
            return self.items[index]

    for workers in (0, 2):
        with pytest.raises(OSError, match=r"cannot read 70\.jpg"):
            FITTED[0].predict(DataLoader(Broken(list(X)), num_workers=workers))


def test_autocast_around_changes_nothing():
    expected = [each.score_samples(X) for each in FITTED if hasattr(each, "score_samples")]
    with torch.autocast("cpu", torch.bfloat16):
        found = [each.score_samples(X) for each in FITTED if hasattr(each, "score_samples")]
        assert torch.is_autocast_enabled("cpu")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
