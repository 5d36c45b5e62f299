"""The contract of every classifier here, and what estimators around others have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from operator import attrgetter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._metadata_requests import (
    _raise_for_params,
    _routing_enabled,
    _RoutingNotSupportedMixin,
)
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import _check_method_params, check_is_fitted

from sklearn_ood import _response
from sklearn_ood._parameters import Parameterized, fitted
from sklearn_ood._response import fit_weights, is_frozen, ood_label_in, unwrap
from sklearn_ood.data import _blocks
from sklearn_ood.data._labels import OUTLIER, check_same_kind, codes_in, foreign, is_label
from sklearn_ood.data._rows import as_native, validate_rows, validate_training_data
from sklearn_ood.data._tables import takes_tables
from sklearn_ood.metrics._blocks import as_labels, as_rows


class Answering(ClassifierMixin):
    """What scikit-learn expects of a classifier; the labels may be those of a dataset."""

    def score(self, X, y=None, sample_weight=None):
        """Share of right answers; ``y`` may be left out where X is a dataset with labels."""
        return super().score(X, _blocks.labels_of(X, y), sample_weight)


class OODClassifier(Answering, Parameterized):
    """A classifier that also says how in-distribution a row is.

    X is an array or frame of shape (n_samples, n_features), images (n_samples, C, H, W), a
    ``torch.utils.data`` ``Dataset`` of them, or a ``DataLoader``.

    Parameters
    ----------
    ood_label : label, default=None
        Rows with this label are outliers: they form no class, and methods that do not learn
        from outliers leave them out of training.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The in-distribution labels, sorted.
    input_shape_ : tuple of int
        Shape of one input.
    n_features_in_ : int
        Number of features, C * H * W for images.
    """

    ood_label: Any = None

    input_shape_: tuple = fitted()
    classes_: np.ndarray = fitted()

    __metadata_request__fit: ClassVar = {"sample_weight": None}

    # Whether tensors are scored where they are; else in host memory.
    _keeps_tensors = False
    # Whether it learns from labels alone, else also without.
    _needs_labels = True
    # What reads the rows of a table; None wants finite numbers.
    _read_rows: ClassVar[Callable | None] = None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._needs_labels
        return takes_tables(tags) if self._read_rows else tags

    @_blocks.block_by_block
    def predict(self, X: ArrayLike) -> NDArray:
        """The most likely class of each row, (n_samples,), from ``classes_``; never rejects."""
        evidence = self._evidence(self._validate_rows(X))
        return self.classes_[evidence.argmax(axis=1)]

    @_blocks.block_by_block
    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Probabilities over the in-distribution classes, (n_samples, n_classes)."""
        return np.exp(self._log_proba(self._validate_rows(X)))

    @_blocks.block_by_block
    def predict_log_proba(self, X: ArrayLike) -> NDArray:
        """Logarithm of ``predict_proba``, exact also where a probability is nearly 1."""
        return self._log_proba(self._validate_rows(X))

    @_blocks.block_by_block
    def decision_function(self, X: ArrayLike) -> NDArray:
        """Evidence for each class, (n_samples, n_classes): its argmax is ``predict``.

        For two classes it is that for the second less that for the first, (n_samples,).
        """
        evidence = self._evidence(self._validate_rows(X))
        return evidence[:, 1] - evidence[:, 0] if evidence.shape[1] == 2 else evidence

    @_blocks.block_by_block
    def score_samples(self, X: ArrayLike) -> NDArray:
        """How in-distribution each row is, (n_samples,): higher is more trustworthy."""
        return self._scores(self._validate_rows(X))

    @_blocks.block_by_block
    def confidence(self, X: ArrayLike) -> NDArray:
        """How likely the answer to each row is right, (n_samples,): higher is more.

        It is ``score_samples``, unless the method knows better.
        """
        return self.score_samples(X)

    def answers_and_confidence(self, X: ArrayLike) -> tuple[NDArray, NDArray]:
        """``predict`` and ``confidence`` of each row, at once: two arrays (n_samples,)."""
        return _blocks.in_blocks(self._answers_and_scores, X)

    def class_score_samples(self, X: ArrayLike, y: ArrayLike) -> NDArray:
        """How in-distribution each row is, were it of a given class, (n_samples,).

        The evidence for that class where the score is the best class's, else ``score_samples``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,)
            A label from ``classes_`` for each row; a ValueError names others.
        """
        rows = self._validate_rows(X)
        y = as_labels("y", y, len(rows))
        codes = codes_in(self.classes_, y)
        if unknown := foreign(y, codes):
            raise ValueError(
                f"Got {type(self).__name__}, which was not taught the classes {unknown} of y; "
                f"expected labels from classes_={self.classes_.tolist()}."
            )
        return self._class_scores(rows, codes)

    def _answers_and_scores(self, X):
        evidence, scores = self._evidence_and_scores(self._validate_rows(X))
        return self.classes_[evidence.argmax(axis=1)], scores

    @property
    def _min_classes(self):
        return 1 + self._needs_labels

    def _training_data(self, X, y, sample_weight, **how):
        self._validate_params()
        how |= {"sample_weight": sample_weight, "min_classes": self._min_classes}
        return validate_training_data(self, X, y, read_rows=self._read_rows, **how)

    def _validate_rows(self, X):
        how = {"keep_tensors": self._keeps_tensors, "read_rows": self._read_rows}
        return validate_rows(self, X, **how)

    def _log_proba(self, rows):
        return _response.log_softmax(self._evidence(rows))

    def _scores(self, rows):
        return self._evidence_and_scores(rows)[1]

    def _evidence_and_scores(self, rows):  # overridden where the score is another
        evidence = self._evidence(rows)
        return evidence, evidence.max(axis=1)

    def _class_scores(self, rows, codes):
        return self._evidence(rows)[np.arange(len(codes)), codes]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "classes_")


class Wrapper(MetaEstimatorMixin):
    """Around ``estimator``: what is true of the inner one's input is true of its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator.
    n_features_in_, feature_names_in_
        As the estimator has them.
    """

    n_features_in_: Any = property(attrgetter("estimator_.n_features_in_"))
    feature_names_in_: Any = property(attrgetter("estimator_.feature_names_in_"))
    _wrapped: Any = property(attrgetter("estimator"))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._wrapped).input_tags
        return tags


class ScoreWrapper(Wrapper):
    """Around what may need no labels: they are asked for where the estimator inside does."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        required = get_tags(self.estimator).target_tags.required
        tags.target_tags.required = required and not is_frozen(self.estimator)
        return tags

    def _rows_and_labels(self, X, y):
        """X and y to take parts of; a dataset's own labels where they may say something."""
        knows = ood_label_in(self.estimator) is not None
        required = get_tags(self).target_tags.required
        if_there = None if is_frozen(self.estimator) else False  # what it was not taught
        needs_labels = knows or required or if_there
        X, y = _blocks.indexable_rows(X, as_native(y), needs_labels=needs_labels)
        if y is None and required:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; its "
                f"estimator ({type(self.estimator).__name__}) needs labels: pass them, or use "
                "one that needs none."
            )
        return X, y

    def _known_outliers(self, X, y):
        """Mask of the rows that are outliers, as told or of classes that a frozen one lacks."""
        if y is None:
            return np.zeros(_blocks.n_rows(X), dtype=bool)
        y, inner = as_rows("y", y), unwrap(self.estimator)[0]
        if is_frozen(self.estimator) and is_classifier(inner) and hasattr(inner, "classes_"):
            check_same_kind(y, inner.classes_)
            return codes_in(inner.classes_, y) == OUTLIER
        ood_label = ood_label_in(self.estimator)
        if ood_label is None and set(y.tolist()) == {-1, 1}:
            if not get_tags(self).target_tags.required:
                return y == -1
            warnings.warn(
                f"Got y of -1 and 1, which {type(self.estimator).__name__} takes for classes "
                "and not for outliers and inliers; pass ood_label=-1 to it if they are, or an "
                "estimator that needs no labels.",
                stacklevel=3,
            )
        return is_label(y, ood_label)


def fitted_beside(estimator, held_out, outlier, *, X, y, **params):
    """A clone, fitted on the other rows, on outliers if it knows them; or what is frozen."""
    if is_frozen(estimator):
        check_is_fitted(estimator)
        return estimator
    rows = ~held_out & (~outlier | (ood_label_in(estimator) is not None))
    data = [X] if y is None else [X, y]
    if not rows.all():
        data = [_blocks.take_rows(each, rows) for each in data]
        params = _check_method_params(X, params, np.flatnonzero(rows)) if params else {}
    return _response.fitted_foreign(clone(estimator), *data, **params)


def random_part(n_rows, share, random_state, *, parameter):
    """Mask of a random part of the rows, neither none nor all, whatever their labels."""
    n_drawn = round(share * n_rows)
    if not 0 < n_drawn < n_rows:
        raise ValueError(
            f"Got {parameter}={share!r} for n_samples={n_rows}, which holds out {n_drawn} of "
            f"them, but some must be and some train; give more rows, or another {parameter}."
        )
    drawn = np.zeros(n_rows, dtype=bool)
    drawn[check_random_state(random_state).permutation(n_rows)[:n_drawn]] = True
    return drawn


class Router:
    """Takes metadata itself, and passes them on to the estimators that it trains."""

    _routes_to: tuple[str, ...] = ("estimator",)

    def get_metadata_routing(self) -> MetadataRouter:
        """What is wanted here and inside, for scikit-learn's routing."""
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        trained = {name: each for name, each in self._inside().items() if not is_frozen(each)}
        return router.add(method_mapping=mapping, **trained) if trained else router

    def _inside(self):
        given = {name: getattr(self, name) for name in self._routes_to}
        return {name: each for name, each in given.items() if each is not None}

    def _route(self, **metadata):
        """What ``fit`` does with metadata itself, and what each of ``_inside()`` gets."""
        given = {name: value for name, value in metadata.items() if value is not None}
        if not given:
            return {}, {name: {} for name in self._inside()}
        requests = self._get_metadata_request().fit.requests
        _raise_for_params(given, self, "fit", allow=requests.keys())
        if _routing_enabled():
            routed = process_routing(self, "fit", **given)
            inside = {n: routed[n].fit if n in routed else {} for n in self._inside()}
            own = {n: v for n, v in given.items() if requests.get(n, False) is not False}
            return own, inside
        weight, inside = given.get("sample_weight"), {}
        for name, each in self._inside().items():
            inside[name] = {} if is_frozen(each) else fit_weights(each, weight)
            lacks = weight is not None and not (inside[name] or is_frozen(each))
            if lacks and name in self._routes_to:
                raise TypeError(
                    f"Got sample_weight, but {type(each).__name__} takes none in fit; let "
                    "scikit-learn route it (enable_metadata_routing, set_fit_request), or "
                    "freeze what is inside, so that weights calibrate alone."
                )
        return given, inside


class Composition(_RoutingNotSupportedMixin, _BaseComposition):
    """Of named members, a list of (name, estimator) in the parameter ``_composed``."""

    _composed = "estimators"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return self._get_params(self._composed, deep=deep)

    def set_params(self, **params: Any) -> Self:
        return self._set_params(self._composed, **params)
