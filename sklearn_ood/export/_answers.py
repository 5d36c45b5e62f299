"""What fitted estimators answer to rows, as tensor operations."""

from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
import torch
from sklearn.base import is_classifier
from torch.nn.functional import pad

from sklearn_ood._response import SMALLEST_PROBA, steps_and_inner
from sklearn_ood.classifiers._generative import LEAST_SIMILARITY, GenerativeClassifier
from sklearn_ood.classifiers._table import FARTHEST, INDICATED, LEAST, TableClassifier
from sklearn_ood.combined._classifier import CombinedClassifier
from sklearn_ood.combined._columns import ExtremeColumn, least_share
from sklearn_ood.combined._conformal import combine, log_right, on_scales
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.data._tables import MAX_INDICATORS
from sklearn_ood.detectors import NeighborDistance, TableDensity
from sklearn_ood.detectors._linear import RowFunction
from sklearn_ood.detectors._table_density import LEAST as LEAST_DENSITY
from sklearn_ood.detectors._table_density import from_squares
from sklearn_ood.export._flow import LARGEST, clipped, onnx_of, places_in, tensor
from sklearn_ood.export._steps import allows_nan, converted, indicated, read, through
from sklearn_ood.export._trees import tree_probabilities
from sklearn_ood.generators import PCAGenerator
from sklearn_ood.nets._heads import log_softmax

CLASSIFIER = "classifier"
# How far below a calibration score another may be rounded, of scores up to 1 or as a share.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Answers:
    """What an estimator says of n rows; what is not finite is refused."""

    log_proba: torch.Tensor
    score: torch.Tensor
    evidence: torch.Tensor | None = None
    proba: torch.Tensor | None = None
    confidence: torch.Tensor | None = None
    p_value: torch.Tensor | None = None


def answers(estimator, flow):
    """What a fitted classifier or detector, a pipeline or a search answers to rows."""
    steps, inner = steps_and_inner(estimator)
    flow = through(steps, flow)
    allow_nan = isinstance(inner, CombinedClassifier) or allows_nan(inner)  # its parts refuse
    said, refused = answered(inner, flow), flow.refused(allow_nan=allow_nan)
    return replace(said, score=torch.where(refused, torch.nan, said.score))


@singledispatch
def answered(estimator, flow):
    """Answers of one estimator, or a TypeError with its name."""
    is_ours = hasattr(estimator, "score_samples")
    if is_classifier(estimator) and hasattr(estimator, "predict_proba") and not is_ours:
        return _of_probabilities(estimator, flow)
    name = type(estimator).__name__
    for parameter, without in (("epsilon", 0), ("curvature", "off")):
        value = getattr(estimator, parameter, without)
        if value != without:
            raise TypeError(
                f"Got {name}({parameter}={value!r}), whose score needs gradients, which ONNX "
                f"has not; take {parameter}={without!r}."
            )
    if not hasattr(estimator, "scored_network_"):
        raise TypeError(
            f"Got {name}, which has no ONNX form here, but expected a classifier that is one "
            "network, a classifier of scikit-learn, scores that are tensor operations, or a "
            "CombinedClassifier, SelectiveClassifier, pipeline or search around such."
        )
    scored = flow.parts.on_cpu(estimator, "scored_network_")
    is_plain = isinstance(scored.network, RowFunction)
    outputs = scored.network(flow.values) if is_plain else flow.by_network(scored.network)
    evidence, score = scored.head(outputs)
    at_class = hasattr(estimator, "class_score_samples") and scored.head.scores_best_class
    return Answers(scored.head.log_proba(outputs), score, evidence if at_class else None)


def _of_probabilities(estimator, flow):
    proba = tree_probabilities(estimator, flow)
    if proba is None:
        proba = converted(estimator, flow, type(estimator).__name__, "predict_proba").values
    log_proba = torch.maximum(proba, tensor(SMALLEST_PROBA)).log()
    # The score is the largest probability; members are read at its logarithm.
    return Answers(log_proba, proba.amax(dim=1), log_proba, proba)


def _of_evidence(evidence, temperature=1.0):
    log_proba = log_softmax(evidence / tensor(temperature))
    return Answers(log_proba, evidence.amax(dim=1), evidence)


@answered.register
def _(estimator: GenerativeClassifier, flow):
    if estimator.similarity_ != "likelihood":
        raise TypeError(
            f"Got GenerativeClassifier(similarity={estimator.similarity_!r}), which is "
            "searched, as ONNX cannot; take similarity='likelihood' with the generator 'pca' "
            "or 'gmm'."
        )
    core = flow.parts.on_cpu(estimator.generator_, "core_")
    rows = clipped(flow.values, LARGEST)
    density = core.log_density(rows.float() if core.is_single else rows).double()
    density = torch.maximum(density / rows.shape[1], tensor(LEAST_SIMILARITY))
    return _of_evidence(density, estimator.temperature_)


@answered.register
def _(estimator: NeighborDistance, flow):
    """What a product finds nearest is measured by itself."""
    rows = flow.values - tensor(estimator.centre_)
    sizes = np.array([len(each) for each in estimator.rows_])
    most, n_classes = max(sizes), len(sizes)
    padded = [pad(tensor(each), (0, 0, 0, most - len(each))) for each in estimator.rows_]
    known = torch.cat(padded)
    absent = torch.as_tensor(np.arange(most) >= sizes[:, None]).flatten()
    lengths = torch.where(absent, torch.inf, known.square().sum(dim=1))
    apart = (lengths - 2 * (rows @ known.T)).reshape(-1, n_classes, most)
    found = apart.topk(min(estimator.n_neighbors, most), largest=False).indices
    places = found + most * torch.arange(n_classes)[:, None]
    squares = (known[places] - rows[:, None, None]).square().sum(dim=3)
    squares = torch.where(absent[places], 0.0, squares)  # of a class with fewer
    return _of_evidence(-squares.amax(dim=2).sqrt(), estimator.scale_)


@answered.register
def _(estimator: TableClassifier, flow):
    rows = _with_shares(estimator, read(estimator.columns_, flow))
    pooled = 0.0
    weights = zip(estimator.members_.items(), estimator.weights_, strict=True)
    for (name, member), weight in weights:
        if name in INDICATED:
            numbers = indicated(estimator.indicators_, rows).values
            numbers = torch.cat([numbers, rows.values[:, estimator.used_.sum() :]], dim=1)
            near = rows.to(clipped(numbers, FARTHEST))
            proba = converted(member, near, name, "predict_proba").values
        else:
            proba = tree_probabilities(member, rows)
        least = LEAST[name]
        some = tensor(1 - least) * proba + tensor(least / len(estimator.classes_))
        pooled = pooled + tensor(weight) * some.log()
    log_proba = log_softmax(pooled)
    return Answers(log_proba, log_proba.amax(dim=1), log_proba)


def _with_shares(estimator, flow):
    """What the members of a :class:`TableClassifier` see of rows that were read."""
    rows, shares = flow.select(np.flatnonzero(estimator.used_)), estimator.shares_
    is_category = estimator.columns_.is_category[estimator.used_]
    most = tensor(np.where(is_category, MAX_INDICATORS, np.inf))
    seen = [torch.where(rows.values > most, most, rows.values)]
    for column, table in zip(shares.columns, shares.log_ratios, strict=True):
        cells, missing = rows.values[:, column], len(table) - 1
        place = torch.where(cells.isnan(), missing, cells.clamp(max=missing))
        seen.append(tensor(table)[place.long()])
    return flow.guarded(torch.cat(seen, dim=1), allow_nan=True)


@answered.register
def _(estimator: TableDensity, flow):
    rows = read(estimator.columns_, flow).values
    total = torch.zeros_like(rows[:, :1])
    counted, last = estimator.frequencies_, 0
    for column, known in zip(counted.columns, counted.values, strict=True):
        cells, first, last = rows[:, column], last, last + len(known) + 2
        place = torch.where(cells.isnan(), len(known) + 1, places_in(known, cells))
        total = total + tensor(counted.log_p[first:last])[place]
    if estimator.densities_:
        numbers = rows[:, torch.as_tensor(estimator.numbers_)]
        numbers = flow.to((numbers - tensor(estimator.centre_)) / tensor(estimator.scale_))
        found = torch.stack([_log_density(each, numbers) for each in estimator.densities_])
        total = total + found.logsumexp(dim=0) - float(np.log(len(found)))
    evidence = total - tensor(np.log(estimator.scale_).sum())
    return _of_evidence(torch.maximum(evidence, tensor(LEAST_DENSITY)))


def _log_density(generator, flow):
    """Log densities (n, K) under a fitted generator, as :class:`TableDensity` has them."""
    rows, core = flow.values, flow.parts.on_cpu(generator, "core_")
    complete = core.log_density(rows.nan_to_num(0.0))
    if isinstance(generator, PCAGenerator):
        return complete
    centred = flow.to((rows - core.centre) / core.scale)
    squares = centred.by_model((id(generator), "squares"), lambda: _squares(core))
    squares = squares.reshape(-1, *core.weights.shape)
    missing = rows.isnan()
    some = from_squares(core, ~missing, squares)
    return torch.where(missing.any(dim=1, keepdim=True), some, complete)


def _squares(core):
    """Squared lengths (n, K W) of what is seen, in the units of each component."""
    d, eye = core.n_features, torch.eye(core.n_features).double()
    covariances = core.covariance_root @ core.covariance_root.mT
    is_used = (core.weights > 0)[..., None, None]  # the others are padding
    covariances = torch.where(is_used, covariances, eye).reshape(-1, d, d)
    arrays = {"covariances": covariances.numpy(), "means": core.means.reshape(-1, d).numpy()}
    arrays |= {"eye": eye.numpy(), "corner": np.zeros((len(covariances), 1))}
    return onnx_of("squares", n_columns=d, **arrays)


@answered.register
def _(estimator: ExtremeColumn, flow):
    score = least_share(estimator.columns_, estimator.tails_, flow.values)
    return Answers(torch.zeros_like(score)[:, None], score)


@answered.register
def _(combined: CombinedClassifier, flow):
    classifier, members = combined.classifier_, combined.members_
    asked = None if classifier is None else answers(classifier, flow)
    log_proba = torch.zeros_like(flow.values[:, :1]) if asked is None else asked.log_proba
    columns = []
    for name, member in members.items():
        try:
            columns.append(_member_score(combined, flow, asked, name, member))
        except TypeError as error:
            raise TypeError(f"In the member {name!r}: {error}") from error
    scores = torch.stack(columns, dim=1)
    members_log_p = on_scales(combined.member_scales_, scores)
    typicality = -combine(members_log_p, combined.method_, combined.weights_)
    log_p = combined.scale_.log_p(typicality)
    confidence = log_right(log_proba.amax(dim=1), log_p, combined.outlier_share)
    # A calibration row, rounded otherwise, is still level with itself.
    higher = typicality + tensor(ROUNDING) * typicality.abs().clamp(min=1)
    p_value = combined.scale_.p_values(higher)
    valid = scores.isfinite().all(dim=1) & (True if asked is None else asked.score.isfinite())
    log_p = torch.where(valid, log_p, torch.nan)
    return Answers(log_proba, log_p, None, None, confidence, p_value)


def _member_score(combined, flow, asked, name, member):
    """Score of each row by a member, read at the likeliest class where members ask for it."""
    if member == CLASSIFIER:
        asks_more = hasattr(combined.classifier_, "score_samples")
        return asked.score if asks_more else asked.log_proba.amax(dim=1)
    said = answers(member, flow)
    refused = said.score * 0  # NaN where it is
    if not combined.is_asked_ or asked is None or said.evidence is None:
        best = said.evidence.amax(dim=1) if said.proba is not None else said.score
        return best + refused
    codes = codes_in(np.asarray(member.classes_), combined.classes_)
    if (codes == OUTLIER).any():
        raise TypeError("it was not taught all classes; fit it on all of them.")
    places = torch.as_tensor(codes)[asked.log_proba.argmax(dim=1)]
    return said.evidence.gather(1, places[:, None])[:, 0] + refused
