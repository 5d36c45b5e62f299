"""Latent search: all rows and classes in one batch, beside scipy row by row.

Both minimise the same objective in float32 through the same decoder, from the same starts,
with the same stopping rules: scipy's L-BFGS-B is called once for each row and class. The
script also prints the limit set by the matrix products alone, that is how much longer one
row's value and gradient take than the same row's share of a batch.

Run with ``python examples/benchmarks/latent_search.py [--rows 256] [--scipy-rows 16]``.
"""

import argparse
import json
import platform
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from sklearn_ood.search._latents import search_latents, squared_distance

N_CLASSES, SIZES = 10, (10, 256, 256, 784)
NOISE_VARIANCE = 0.03
PENALTY = NOISE_VARIANCE / SIZES[-1]
GTOL, FTOL, MAX_ITER = 1e-5, 1e-6, 100


def make_decoder(seed=0):
    rng = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(N_CLASSES, a, b, generator=rng) * (2 / a) ** 0.5 for a, b in pairwise(SIZES)
    ]

    def decode(z, classes=slice(None)):
        hidden = torch.relu(z @ weights[0][classes])
        hidden = torch.relu(hidden @ weights[1][classes])
        return torch.sigmoid(hidden @ weights[2][classes])

    return decode


def penalty(z):
    return PENALTY * z.square().sum(-1)


def make_rows(decode, n_rows, seed=1):
    """Noisy generations of random classes, so that there is something to find."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(N_CLASSES, n_rows, SIZES[0], generator=rng)
    label = torch.randint(N_CLASSES, (n_rows,), generator=rng)
    x = decode(z)[label, torch.arange(n_rows)]
    x = x + NOISE_VARIANCE**0.5 * torch.randn(x.shape, generator=rng)
    start = 0.5 * torch.randn(N_CLASSES, n_rows, SIZES[0], generator=rng)
    return x, start


def scipy_row_by_row(decode, x, start):
    values, evaluations = [], 0
    for k in range(N_CLASSES):
        for row, first in zip(x, start[k], strict=True):

            def objective(flat, k=k, row=row):
                z = torch.tensor(flat, dtype=torch.float32).requires_grad_()
                value = squared_distance(row, decode(z[None], k)[0]) + penalty(z)
                (gradient,) = torch.autograd.grad(value, z)
                return value.item(), gradient.numpy().astype(np.float64)

            found = minimize(
                objective,
                first.numpy().astype(np.float64),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITER, "gtol": GTOL, "ftol": FTOL},
            )
            values.append(found.fun)
            evaluations += found.nfev
    return np.array(values).reshape(N_CLASSES, -1), evaluations


def seconds(function, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def evaluate(decode, z, x, classes):
    z = z.detach().requires_grad_()
    value = squared_distance(x, decode(z, classes)) + penalty(z)
    return torch.autograd.grad(value.sum(), z)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--scipy-rows", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    decode = make_decoder()
    x, start = make_rows(decode, args.rows)
    few = min(args.scipy_rows, args.rows)

    search_latents(decode, x, [start], penalty=penalty, max_iter=2)
    begin = time.perf_counter()
    ours = search_latents(
        decode, x, [start], penalty=penalty, max_iter=MAX_ITER, gtol=GTOL, ftol=FTOL
    )
    ours_seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    theirs, evaluations = scipy_row_by_row(decode, x[:few], start[:, :few])
    theirs_seconds = (time.perf_counter() - begin) * args.rows / few

    batch = seconds(lambda: evaluate(decode, start, x, slice(None)))
    single = seconds(lambda: evaluate(decode, start[0, :1], x[:1], 0), repeats=50)
    limit = single * N_CLASSES * args.rows / batch
    same_rows = ours.objective[:few]
    at_start = squared_distance(x, decode(start)) + penalty(start)
    result = {
        "rows": args.rows,
        "scipy_rows": few,
        "threads": args.threads,
        "batched_seconds": round(ours_seconds, 3),
        "scipy_seconds": round(theirs_seconds, 2),
        "speed_up": round(theirs_seconds / ours_seconds, 1),
        "limit_of_one_evaluation": round(limit, 1),
        "batched_objective": round(same_rows.mean().item(), 6),
        "scipy_objective": round(float(theirs.mean()), 6),
        "scipy_evaluations_a_problem": round(evaluations / theirs.size, 1),
        "never_above_the_start": bool((ours.objective <= at_start.T).all()),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    for name, value in result.items():
        print(f"{name:28s} {value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
