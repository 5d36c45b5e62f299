"""A folder of JPEG files scored by a ResNet-18, beside a bare loop of loader and forward.

CIFAR-10's test images are written as JPEG files of 224 x 224. The bare loop reads a
``DataLoader`` and keeps the logits; ``score_samples`` reads the same loader, checks the images
and scores them. Both are repeated in turns, and each counts with its fastest run. The weights
are random, as time does not depend on them, and layers have half the usual width, as less work
in the network shows more of what is added. The resident memory is the peak (``VmHWM``)
over a run of ``score_samples``, less what was resident before; the workers' own is not in it,
nor their time in the ratio of CPU time. The scores of the first images are compared with those
of the array, bit for bit. Where other work loads the machine (``load_of_the_machine``), the
ratio of the times on the clock says little, and that of CPU time is the one to read.

Run ``python examples/benchmarks/dataset_scoring.py [--images 2000] [--json FILE]`` with
CIFAR-10 in ``$SKLEARN_OOD_DATA``.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from sklearn_ood import SoftmaxClassifier

sys.path.append(str(Path(__file__).parents[1]))
from data import load_images

SHAPE = (3, 224, 224)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--width", type=int, default=32, help="64 is the usual ResNet-18's")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network = ResNet18(10, args.width).eval().to(args.device)
    classifier = SoftmaxClassifier.from_module(network, range(10), SHAPE, device=args.device)

    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.images)
        images = Folder(sorted(Path(folder).glob("*.jpg")))
        loader = DataLoader(images, batch_size=args.batch_size, num_workers=args.workers)
        few = np.stack([images[k] for k in range(min(32, len(images)))])
        expected = classifier.score_samples(few)
        bare(network, few, args.device)
        bare_seconds, seconds, added = [], [], []
        for _ in range(args.repeats):
            logits, took = timed(partial(bare, network, loader, args.device))
            bare_seconds.append(took)
            before = reset_peak()
            scores, took = timed(partial(classifier.score_samples, loader))
            seconds.append(took)
            added.append(peak() - before)
    wall, cpu = np.min(seconds, axis=0)
    bare_wall, bare_cpu = np.min(bare_seconds, axis=0)
    assert len(logits) == len(scores) == args.images

    result = {
        "images": args.images,
        "width": args.width,
        "device": args.device,
        "threads": args.threads,
        "workers": args.workers,
        "batch_size": args.batch_size,
        "bare_loop_seconds": round(bare_wall, 1),
        "score_samples_seconds": round(wall, 1),
        "ratio": round(wall / bare_wall, 3),
        "ratio_of_cpu_time": round(cpu / bare_cpu, 3),
        "bit_identical_to_the_array": bool((scores[: len(few)] == expected).all()),
        "images_as_float32_mib": round(args.images * int(np.prod(SHAPE)) * 4 / 2**20),
        "resident_mib_before": round(before),
        "resident_mib_added": round(max(added)),
        "load_of_the_machine": round(os.getloadavg()[0]),
        "torch": torch.__version__,
    }
    for name, value in result.items():
        print(f"{name:28s} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


class Folder(Dataset):
    """JPEG files as tensors, read when they are asked for."""

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


class Block(nn.Module):
    """Two convolutions beside what goes on as it is."""

    def __init__(self, n_inputs, n_outputs, stride):
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(n_inputs, n_outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_outputs),
            nn.ReLU(),
            nn.Conv2d(n_outputs, n_outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_outputs),
        )
        self.outer = nn.Identity()
        if stride > 1:
            self.outer = nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride, bias=False), nn.BatchNorm2d(n_outputs)
            )

    def forward(self, maps):
        return torch.relu(self.inner(maps) + self.outer(maps))


class ResNet18(nn.Sequential):
    """The network of He et al. (2016) with 18 layers."""

    def __init__(self, n_classes, width):
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        widths = [(width, width, 1), *((width * k, width * k * 2, 2) for k in (1, 2, 4))]
        blocks = [Block(*width) for n, m, s in widths for width in ((n, m, s), (m, m, 1))]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, n_classes)]
        super().__init__(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *head)


def timed(function):
    """What a function returns, and its seconds: on the clock, and of this process' CPU."""
    begin = time.perf_counter(), time.process_time()
    result = function()
    return result, (time.perf_counter() - begin[0], time.process_time() - begin[1])


@torch.no_grad()
def bare(network, batches, device):
    """Logits of all batches: what has to be computed in any case."""
    batches = [torch.from_numpy(batches)] if isinstance(batches, np.ndarray) else batches
    return torch.cat([network(batch.to(device)).cpu() for batch in batches])


def write_images(folder, n_images):
    """CIFAR-10's test images, enlarged, again from the first where there are too few."""
    rows = load_images("cifar10", split="test").data
    for number in range(n_images):
        row = rows[number % len(rows)]
        pixels = np.uint8(np.round(255 * row)).reshape(3, 32, 32).transpose(1, 2, 0)
        large = Image.fromarray(pixels).resize(SHAPE[:0:-1], Image.Resampling.BICUBIC)
        large.save(folder / f"{number:05d}.jpg", quality=90)


def reset_peak():
    """Forget the high-water mark of resident memory; what is resident now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
