"""Trace of an autoencoder's Jacobian, which tells the density's maxima (Alain & Bengio)."""

import torch

# Pairs of a row and a unit that are differentiated at once: enough to fill the matrix
# products, little enough to stay in the cache.
PAIRS_PER_BLOCK = 64


def exact_trace(encode, decode, inputs, *, code_is_relu=False, pairs_per_block=PAIRS_PER_BLOCK):
    """Trace (n,) of d decode(encode(x)) / dx: a sum over inputs or, if fewer, code units."""
    inputs = inputs.detach()
    with torch.no_grad():
        code = encode(inputs)
    # Of <dh_k/dx, dr/dh_k> over code units or dr_i/dx_i over inputs, the cheaper sum: one
    # backward pass for each, but for a ReLU's that is exactly zero.
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
    """Estimate of the trace by random probes (p, D) or (p, n, D) (Hutchinson, 1990)."""
    # Unbiased for entries of mean 0 and variance 1; alike for all rows, these compare.
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
