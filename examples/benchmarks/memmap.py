"""Fit and score a file that is mapped into memory, and say how much of it was ever resident.

Writes a file of float32 rows (4 GiB unless told otherwise), opens it with ``np.memmap``, fits
a :class:`SelectiveClassifier` around a net (which holds a part of the rows out), and asks it
for ``predict``, ``score_samples`` and ``accept``. The peak is the operating system's high-water
mark of all the process' resident memory (``VmHWM``): Python, torch, and also the pages of the
mapped file while they are resident. Fails where it is above the limit.

Run ``python examples/benchmarks/memmap.py [--gib 4] [--limit 1.5] [--json FILE]``; twice the
file's size must be free in the temporary folder.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_ood import SelectiveClassifier, SoftmaxClassifier

GIB = 2**30
CLASSES = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=4.0, help="size of the file")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--limit", type=float, default=1.5, help="in GiB")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)

    n_rows = int(args.gib * GIB) // (4 * args.features)
    result = {"file_gib": round(n_rows * 4 * args.features / GIB, 2), "rows": n_rows}
    result |= {"features": args.features, "epochs": args.epochs}
    result["resident_gib_after_import"] = peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.f32"
        y = write_rows(path, n_rows, args.features)
        X = np.memmap(path, dtype=np.float32, mode="r", shape=(n_rows, args.features))
        net = SoftmaxClassifier(
            max_epochs=args.epochs, batch_size=4096, device="cpu", random_state=0
        )
        model = SelectiveClassifier(net, coverage=0.95, random_state=0)
        begin = time.perf_counter()
        model.fit(X, y)
        result["fit_seconds"] = round(time.perf_counter() - begin, 1)
        result["peak_gib_of_fit"] = peak()
        for method in ("score_samples", "accept", "predict"):
            begin = time.perf_counter()
            answers = getattr(model, method)(X)
            result[f"{method}_seconds"] = round(time.perf_counter() - begin, 1)
            assert len(answers) == n_rows
        result["accuracy_of_the_answers"] = round(
            float(np.mean((answers == y)[answers >= 0])), 4
        )
        result["coverage"] = round(float(np.mean(answers >= 0)), 4)
    result["peak_gib"] = peak()
    result["limit_gib"] = args.limit
    result["torch"] = torch.__version__
    for name, value in result.items():
        print(f"{name:28s} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    if result["peak_gib"] > args.limit:
        raise SystemExit(f"The peak of {result['peak_gib']} GiB is above {args.limit} GiB.")


def write_rows(path, n_rows, n_features):
    """Gaussian classes, written block by block; returns their labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(CLASSES, size=n_rows)
    centres = rng.normal(scale=0.15, size=(CLASSES, n_features)).astype(np.float32)
    with path.open("wb") as file:
        for labels in np.array_split(y, max(1, n_rows // 2**16)):
            noise = rng.standard_normal((len(labels), n_features), dtype=np.float32)
            file.write((noise + centres[labels]).tobytes())
    return y


def peak():
    """Most memory that was ever resident, in GiB, with the pages of mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 2**20, 3)


if __name__ == "__main__":
    main()
