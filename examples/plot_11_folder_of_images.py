"""
A folder of images
==================

A camera above a conveyor belt takes a picture of every part: washer, nut or plate. A network
sorts them; what is none of the three is to be put aside for a person. The pictures lie in
folders, as cameras leave them.
"""

# %%
# The folders are drawn here; yours are there already. In ``new`` there are also gears, which
# nobody has ever labelled, and now and then there is a drop of oil on the lens.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from sklearn.frozen import FrozenEstimator
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sklearn_ood import CombinedClassifier, SelectiveClassifier, SoftmaxClassifier

ROOT, SIZE = Path(tempfile.mkdtemp()), 32
PARTS = ("nut", "plate", "washer")


def polygon(n_corners, radius, angle, centre):
    turns = angle + 2 * np.pi * np.arange(n_corners) / n_corners
    radii = radius * np.where(np.arange(n_corners) % 2, 0.72, 1) if n_corners > 8 else radius
    corners = np.column_stack([np.cos(turns), np.sin(turns)]) * np.reshape(radii, (-1, 1))
    return [tuple(corner) for corner in 4 * (corners + centre)]


def draw_part(kind, rng, *, is_oily):
    image = Image.new("RGB", (4 * SIZE, 4 * SIZE), tuple(rng.integers(30, 70, 3)))
    draw, centre, angle = ImageDraw.Draw(image), rng.normal(SIZE / 2, 1.5, 2), rng.random() * 7
    radius, steel = rng.uniform(9, 12), tuple(rng.integers(150, 200) + rng.integers(-9, 9, 3))
    corners = {"nut": 6, "plate": 4, "washer": 60, "gear": 24}[kind]
    outline = polygon(corners, radius, angle, centre)
    if kind == "washer":
        draw.ellipse(
            [*(4 * (centre - radius * 0.9)), *(4 * (centre + radius * 0.9))], fill=steel
        )
    else:
        draw.polygon(outline, fill=steel)
    hole = radius * {"plate": 0.18}.get(kind, 0.42)
    draw.ellipse([*(4 * (centre - hole)), *(4 * (centre + hole))], fill=(25, 25, 28))
    if is_oily:
        spot = rng.uniform(0.2, 0.8, 2) * 4 * SIZE
        draw.ellipse([*(spot - 30), *(spot + 30)], fill=(60, 45, 20))
    image = image.resize((SIZE, SIZE), Image.Resampling.BOX).filter(
        ImageFilter.GaussianBlur(0.6)
    )
    noise = rng.normal(0, 6, (SIZE, SIZE, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def fill(folder, counts, seed, oily=0.0):
    rng = np.random.default_rng(seed)
    for kind, count in counts.items():
        (ROOT / folder / kind).mkdir(parents=True)
        for i in range(count):
            is_oily = rng.random() < oily
            name = f"{i:04}{'_oil' * is_oily}.jpg"
            draw_part(kind, rng, is_oily=is_oily).save(ROOT / folder / kind / name, quality=90)


fill("training", dict.fromkeys(PARTS, 300), seed=0)
fill("calibration", dict.fromkeys(PARTS, 250), seed=1)
fill("new", {**dict.fromkeys(PARTS, 150), "gear": 50}, seed=2, oily=0.04)

# %%
# A small network of one's own, trained as one trains in torch. Any other that is trained
# already would do.


class Folder(Dataset):  # or torchvision's ImageFolder
    def __init__(self, folder):
        self.paths = sorted(folder.rglob("*.jpg"))
        self.targets = [path.parent.name for path in self.paths]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = np.asarray(Image.open(self.paths[index]))
        return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255, self.targets[index]


torch.manual_seed(0)
network = nn.Sequential(
    *(nn.BatchNorm2d(3), nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    *(nn.Linear(32 * 6 * 6, 32), nn.ReLU(), nn.Linear(32, len(PARTS))),
)
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
for _ in range(12):
    for images, labels in DataLoader(Folder(ROOT / "training"), batch_size=32, shuffle=True):
        codes = torch.tensor([PARTS.index(label) for label in labels])
        loss = nn.functional.cross_entropy(network(images), codes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
network = network.eval()

# %%
# Around the trained network, a few hundred further images say how parts look to it: one half
# teaches the members, the other calibrates. Of new pictures of known parts at most 5 % have a
# p-value of 5 % or less. For comparison, the network's own probability, with a threshold that
# answers 95 % of the same images.

held_out = Folder(ROOT / "calibration")
combined = CombinedClassifier.from_module(network, held_out, calibration=0.5, random_state=0)
softmax = SoftmaxClassifier.from_module(network, PARTS, input_shape=(3, SIZE, SIZE))
by_probability = SelectiveClassifier(FrozenEstimator(softmax), coverage=0.95)
by_probability.fit(DataLoader(held_out, batch_size=64))

# %%
# The new folder is read picture by picture and never held.

new = DataLoader(Folder(ROOT / "new"), batch_size=64)
paths, truth = new.dataset.paths, np.array(new.dataset.targets)
p_values, answers = combined.p_values(new), combined.predict(new)
is_oily = np.array(["oil" in path.name for path in paths])
groups = {
    "known parts": ~is_oily & (truth != "gear"),
    "with oil": is_oily & (truth != "gear"),
    "gears": truth == "gear",
}
refused = {"p-value": p_values <= 0.05, "probability": ~by_probability.accept(new)}
for group, rows in groups.items():
    shares = (f"{aside[rows].mean():.0%} by {name}" for name, aside in refused.items())
    print(f"{group:12} {rows.sum():4} pictures, put aside:", ", ".join(shares))
sorted_ = ~refused["p-value"] & (truth != "gear")
print(f"right of the known parts that are sorted: {(answers == truth)[sorted_].mean():.1%}")

# %%
# For the person at the belt: what was put aside, the strangest first.

aside = np.argsort(p_values, kind="stable")[: refused["p-value"].sum()]
fig, axes = plt.subplots(3, 10, figsize=(9, 3.2), layout="constrained")
shown = aside[np.linspace(0, len(aside) - 1, axes.size).astype(int)]
for ax, index in zip(axes.flat, shown, strict=True):
    ax.imshow(Image.open(paths[index]))
    ax.set_title(f"{truth[index]}{' (oil)' if is_oily[index] else ''}", fontsize=8)
    ax.set_axis_off()
fig.suptitle(f"put aside: {len(aside)} of {len(paths)} pictures")
