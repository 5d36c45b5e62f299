"""Trace of the Jacobian of an autoencoder, exact or estimated: pure functions on tensors.

For a denoising autoencoder r the Jacobian of r(x) - x follows the Hessian of the log-density
(Alain and Bengio, 2014), so that its trace says whether x lies near a maximum of the density
or between maxima.
"""

import torch

# Pairs of a row and a unit that are differentiated at once: enough to fill the matrix
# products, little enough to stay in the cache.
PAIRS_PER_BLOCK = 256


def exact_trace(encode, decode, inputs, *, code_is_relu=False, pairs_per_block=PAIRS_PER_BLOCK):
    """Trace of d decode(encode(x)) / dx for each row, exact up to rounding.

    The full Jacobian is never formed. With D inputs and m code units the cheaper of two sums
    is taken: over inputs, the sum of dr_i/dx_i, where D <= m; over code units, the sum of
    <dh_k/dx, dr/dh_k>, where m < D. Units of a ReLU code that are zero have a zero gradient
    and cost nothing.

    Parameters
    ----------
    encode : callable
        From rows (n, D) to codes (n, m), differentiable, each row on its own.
    decode : callable
        From codes (n, m) to reconstructions (n, D), likewise.
    inputs : tensor of shape (n, D)
    code_is_relu : bool, default=False
        Whether a code unit that is exactly zero has a zero gradient too.
    pairs_per_block : int, default=256
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
    >>> from sklearn_ood._curvature import exact_trace
    >>> half = torch.eye(3) / 2
    >>> exact_trace(lambda x: x @ half, lambda h: h, torch.ones(2, 3)).tolist()
    [1.5, 1.5]
    """
    inputs = inputs.detach()
    with torch.no_grad():
        code = encode(inputs)
    through_code = code.shape[1] < inputs.shape[1]
    units = code if through_code else inputs
    contributes = units != 0 if through_code and code_is_relu else torch.ones_like(units)
    pairs = contributes.nonzero()
    trace = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    for block in pairs.split(pairs_per_block):
        row, unit = block.unbind(dim=1)
        if through_code:
            terms = _code_terms(encode, decode, inputs[row], code[row], unit)
        else:
            terms = _input_terms(encode, decode, inputs[row], unit)
        trace.index_add_(0, row, terms.double())
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
    >>> from sklearn_ood._curvature import hutchinson_trace
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


def _code_terms(encode, decode, inputs, code, unit):
    """<dh_k/dx, dr/dh_k> for one unit k of each row, by two backward passes."""
    unit = unit[:, None]
    with torch.enable_grad():
        inputs = inputs.requires_grad_()
        activation = encode(inputs).gather(1, unit).sum()
        (direction,) = torch.autograd.grad(activation, inputs)
        code = code.requires_grad_()
        (change,) = torch.autograd.grad((decode(code) * direction).sum(), code)
    return change.gather(1, unit)[:, 0]


def _input_terms(encode, decode, inputs, feature):
    """dr_i/dx_i for one feature i of each row, by one backward pass."""
    feature = feature[:, None]
    with torch.enable_grad():
        inputs = inputs.requires_grad_()
        output = decode(encode(inputs)).gather(1, feature).sum()
        (change,) = torch.autograd.grad(output, inputs)
    return change.gather(1, feature)[:, 0]
