"""The default classifier of tables as parts of a graph: its members and their pool."""

import numpy as np

from sklearn_ood.classifiers._table import FARTHEST, LEAST
from sklearn_ood.export._tables import SELECTED, append_indicators, append_table
from sklearn_ood.export._trees import tree_model

CLIPPED = """
part (double[n, d] rows) => (double[n, d] out) {
    above = Max(rows, lowest)
    out = Min(above, highest)
}
"""
LAYER = """
part (double[n, d] rows) => (double[n, k] out) {
    product = MatMul(rows, weight)
    out = Add(product, bias)
}
"""
RELU = "part (double[n, d] rows) => (double[n, d] out) { out = Relu(rows) }"
SOFTMAX = """
part (double[n, d] rows) => (double[n, K] out) {
    logits = MatMul(rows, to_classes)
    out = Softmax<axis = 1>(logits)
}
"""
TIMID = """
part (double[n, K] proba) => (double[n, K] out) {
    less = Mul(proba, share)
    some = Add(less, least)
    log_p = Log(some)
    out = Mul(log_p, weight)
}
"""
POOLED = """
part (double[n, K] first, double[n, K] second, double[n, K] third) => (double[n, K] out) {
    all = Sum(first, second, third)
    out = LogSoftmax<axis = 1>(all)
}
"""


def append_pool(builder, classifier, flow):
    """Log-probabilities (n, n_classes) of a fitted :class:`TableClassifier`."""
    rows = append_table(builder, classifier.columns_, flow)
    used = np.flatnonzero(classifier.used_)
    (seen,) = builder.append_text(SELECTED, rows, places=used)
    indicated = append_indicators(builder, classifier.indicators_, seen)
    limits = {"lowest": -FARTHEST, "highest": FARTHEST}
    (indicated,) = builder.append_text(CLIPPED, indicated, **limits)
    n_classes, parts = len(classifier.classes_), []
    for (name, member), weight in zip(
        classifier.members_.items(), classifier.weights_.tolist(), strict=True
    ):
        model = tree_model(member)
        if model is None:
            proba = _append_net(builder, member, indicated)
        else:
            (proba,) = builder.append(model, seen)
        least = {"share": 1 - LEAST[name], "least": LEAST[name] / n_classes}
        parts += builder.append_text(TIMID, proba, weight=weight, **least)
    return builder.append_text(POOLED, *parts)[0]


def _append_net(builder, net, rows):
    """Probabilities of a fitted ``MLPClassifier``."""
    layers = list(zip(net.coefs_, net.intercepts_, strict=True))
    for k, (weight, bias) in enumerate(layers):
        (rows,) = builder.append_text(LAYER, rows, weight=weight, bias=bias)
        if k < len(layers) - 1:
            (rows,) = builder.append_text(RELU, rows)
    n_outputs = len(bias)
    to_classes = np.eye(n_outputs) if n_outputs > 1 else np.array([[0.0, 1.0]])
    return builder.append_text(SOFTMAX, rows, to_classes=to_classes)[0]
