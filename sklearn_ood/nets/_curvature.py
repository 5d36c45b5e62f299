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
    <dh_k/dx, dr/dh_k>, where m < D. Units of a ReLU code that are zero have a zero gradient
    and cost nothing. Each row goes forward once; each unit costs one backward pass.

    Parameters
    ----------
    encode : callable
        From rows (n, D) to codes (n, m), differentiable, each row on its own.
    decode : callable
        From codes (n, m) to reconstructions (n, D), likewise.
    inputs : tensor of shape (n, D)
    code_is_relu : bool, default=False
        Whether a code unit that is exactly zero has a zero gradient too.
    pairs_per_block : int, default=64
        Pairs of a row and a unit differentiated at once; bounds the memory.

    Returns
    -------
    tensor of shape (n,), float64

    References
    ----------
    .. [1] G. Spigler, "Denoising autoencoders for overgeneralization in neural networks",
       IEEE TPAMI 2020, eqs. 2 and 5.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.nets._curvature import exact_trace
    >>> half = torch.eye(3) / 2
    >>> exact_trace(lambda x: x @ half, lambda h: h, torch.ones(2, 3)).tolist()
    [1.5, 1.5]
    """
    inputs = inputs.detach()
    with torch.no_grad():
        code = encode(inputs)
    through_code = code.shape[1] < inputs.shape[1]
    units = code if through_code else inputs
    contributes = units != 0 if through_code and code_is_relu else torch.ones_like(units).bool()
    terms = _code_terms if through_code else _input_terms
    trace = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    for rows in _blocks(contributes.sum(dim=1), pairs_per_block):
        chosen, weights = _contributing(contributes[rows])
        with torch.enable_grad():
            change_of = terms(encode, decode, inputs[rows].requires_grad_())
            for unit, weight in _columns(chosen, weights, pairs_per_block):
                trace[rows] += (change_of(unit) * weight).double().sum(dim=0)
    return trace


def hutchinson_trace(reconstruct, inputs, probes):
    """Estimate of the trace of d reconstruct(x) / dx for each row (Hutchinson, 1990).

    Parameters
    ----------
    reconstruct : callable
        From rows (n, D) to reconstructions (n, D), differentiable, each row on its own.
    inputs : tensor of shape (n, D)
    probes : tensor of shape (n_probes, D) or (n_probes, n, D)
        Independent entries of mean 0 and variance 1, such as random signs. The same probes
        for every row make the estimates of two rows comparable; each estimate is unbiased
        either way, with an error that shrinks as 1 / sqrt(n_probes).

    Returns
    -------
    tensor of shape (n,), float64

    Examples
    --------
    >>> import torch
    >>> from sklearn_ood.nets._curvature import hutchinson_trace
    >>> signs = torch.tensor([[1.0, -1.0, 1.0]])
    >>> hutchinson_trace(lambda x: x / 2, torch.ones(2, 3), signs).tolist()
    [1.5, 1.5]
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


def _contributing(contributes):
    """Units of each row, (most, n), and 1 for each of them, 0 where a row has fewer."""
    most = int(contributes.sum(dim=1).max())
    weights, chosen = contributes.to(torch.uint8).sort(dim=1, descending=True, stable=True)
    return chosen[:, :most].T, weights[:, :most].T


def _columns(chosen, weights, pairs_per_block):
    n_columns = max(1, pairs_per_block // chosen.shape[1])
    return zip(chosen.split(n_columns), weights.split(n_columns), strict=True)


def _code_terms(encode, decode, inputs):
    """Function of units (k, n): <dh_k/dx, dr/dh_k> for each, by half a backward pass twice."""
    code = encode(inputs)
    free_code = code.detach().requires_grad_()
    outputs = decode(free_code)

    def change(unit):
        directions = _products(code, inputs, _one_hot(unit, code))
        return _entries(_products(outputs, free_code, directions), unit)

    return change


def _input_terms(encode, decode, inputs):
    """Function of features (k, n): dr_i/dx_i for each, by one backward pass."""
    outputs = decode(encode(inputs))

    def change(feature):
        return _entries(_products(outputs, inputs, _one_hot(feature, outputs)), feature)

    return change


def _products(outputs, inputs, vectors):
    """Vectors (k, n, n_outputs) times the Jacobian of each row: (k, n, n_inputs)."""
    (products,) = torch.autograd.grad(
        outputs, inputs, vectors, retain_graph=True, is_grads_batched=True
    )
    return products


def _one_hot(index, like):
    ones = torch.zeros(*index.shape, like.shape[1], dtype=like.dtype, device=like.device)
    return ones.scatter_(2, index[:, :, None], 1.0)


def _entries(values, index):
    return values.gather(2, index[:, :, None])[:, :, 0]
