"""Trace of the Jacobian of an autoencoder, exact or estimated: pure functions on tensors.

For a denoising autoencoder r the Jacobian of r(x) - x follows the Hessian of the log-density
(Alain and Bengio, 2014), so that its trace says whether x lies near a maximum of the density
or between maxima.
"""

import torch

# Pairs of a row and a unit that are differentiated at once: enough to fill the matrix
# products, little enough to stay in the cache.
PAIRS_PER_BLOCK = 64


def exact_trace(encode, decode, inputs, *, code_is_relu=False, pairs_per_block=PAIRS_PER_BLOCK):
    """Trace of d decode(encode(x)) / dx for each row, exact up to rounding.

    The full Jacobian is never formed. With D inputs and m code units the cheaper of two sums
    is taken: over inputs, the sum of dr_i/dx_i, where D <= m; over code units, the sum of
    <dh_k/dx, dr/dh_k>, where m < D. Each row goes forward once; each unit costs one backward
    pass, but one of a ReLU's that is exactly zero. Both functions treat each row on its own.

    The traces (n,) are in float64, but rounded to the inputs' type, so that a row's does not
    depend on the rows beside it; ``pairs_per_block`` bounds the memory.
    """
    inputs = inputs.detach()
    with torch.no_grad():
        code = encode(inputs)
    through_code = code.shape[1] < inputs.shape[1]
    units = code if through_code else inputs
    active = units != 0 if through_code and code_is_relu else torch.ones_like(units).bool()
    trace = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    for rows in _blocks(active.sum(dim=1), pairs_per_block):
        n_columns = max(1, pairs_per_block // len(rows))
        columns = (part.T.split(n_columns) for part in _active_first(active[rows]))
        with torch.enable_grad():
            links = _links(encode, decode, inputs[rows].requires_grad_(), through_code)
            for unit, weight in zip(*columns, strict=True):
                trace[rows] += (_change(links, unit) * weight).double().sum(dim=0)
    return trace.to(inputs.dtype).double()  # the order of the sums is not seen


def hutchinson_trace(reconstruct, inputs, probes):
    """Estimate of the trace of d reconstruct(x) / dx for each row (Hutchinson, 1990).

    Unbiased, with an error that shrinks as 1 / sqrt(n_probes). ``probes``, (n_probes, D) or
    (n_probes, n, D), have independent entries of mean 0 and variance 1, such as random signs;
    the same ones for every row make the estimates of two rows comparable.
    """
    total = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_()
        outputs = reconstruct(inputs)
        for probe in probes:
            probe = probe.expand_as(outputs)
            (product,) = torch.autograd.grad(outputs, inputs, probe, retain_graph=True)
            total += (product * probe).double().sum(dim=1)
    return total / len(probes)


def _blocks(counts, pairs_per_block):
    """Rows with about as many units each, so many that their pairs make one block."""
    counts, order = counts.sort(descending=True)
    order, counts = order[counts > 0], counts[counts > 0].tolist()
    start = 0
    while start < len(order):
        stop = start + max(1, pairs_per_block // counts[start])
        yield order[start:stop]
        start = stop


def _active_first(active):
    """Units of each row, (n, most), and 1 for each of them, 0 where a row has fewer."""
    most = int(active.sum(dim=1).max())
    weights, chosen = active.to(torch.uint8).sort(dim=1, descending=True, stable=True)
    return chosen[:, :most], weights[:, :most]


def _links(encode, decode, inputs, through_code):
    """Outputs and their inputs, whose Jacobians multiplied are that of the whole."""
    code = encode(inputs)
    if not through_code:
        return [(decode(code), inputs)]
    free_code = code.detach().requires_grad_()
    return [(code, inputs), (decode(free_code), free_code)]


def _change(links, unit):
    """Derivatives of units (k, n) by themselves, once around: one backward pass for each."""
    first, index = links[0][0], unit[:, :, None]
    vectors = torch.zeros(*unit.shape, first.shape[1], dtype=first.dtype, device=first.device)
    vectors.scatter_(2, index, 1.0)
    for outputs, inputs in links:
        how = {"retain_graph": True, "is_grads_batched": True}
        (vectors,) = torch.autograd.grad(outputs, inputs, vectors, **how)
    return vectors.gather(2, index)[:, :, 0]
