"""What classifier and members of a combination learn from, and which rows calibrate them."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._response import clone_completed, fitted_foreign
from sklearn_ood.combined import _conformal, _members
from sklearn_ood.data._blocks import once, take_rows, with_bar
from sklearn_ood.data._labels import OUTLIER, codes_in

LARGEST_SEED = np.iinfo(np.int32).max
LEVEL = 0.05


@dataclass(frozen=True)
class Lessons:
    """Rows of a combination: those that its models learn from, and those that calibrate.

    Attributes
    ----------
    combination : CombinedClassifier
        Says what learns, and whether members ask the classifier.
    rows, labels : array-like or frame, ndarray
    classes : ndarray
        Of all rows.
    is_given : bool
        Whether the classifier knows them without a lesson.
    training : ndarray of int
    parts : list of ndarray of int
        Places of the rows that calibrate; where ``is_crossed`` they train, too.
    is_crossed : bool
    seed : int
    """

    combination: BaseEstimator
    rows: Any
    labels: np.ndarray
    classes: np.ndarray
    is_given: bool
    training: np.ndarray
    parts: list[np.ndarray]
    is_crossed: bool
    seed: int

    @classmethod
    def of(cls, combination, data, *, is_labelled):
        """Of validated data, divided at random."""
        is_frozen = isinstance(combination.classifier, FrozenEstimator)
        rows, codes = data.in_distribution
        classes = data.classes
        if is_frozen and is_labelled:
            check_is_fitted(combination.classifier)
            classes = np.asarray(combination.classifier.classes_)
            codes = codes_in(classes, data.classes[codes])
            rows, codes = take_rows(rows, codes != OUTLIER), codes[codes != OUTLIER]
        random_state = check_random_state(combination.random_state)
        calibration = _calibration(combination, len(codes), classes)
        split = _conformal.split_rows(len(codes), calibration, random_state)
        seed = random_state.randint(LARGEST_SEED)
        is_given = is_frozen or calibration == "all"
        learns = combination, rows, classes[codes], classes, is_given
        return cls(*learns, *split, calibration == "cross", seed)

    @property
    def taught(self):
        """The classes of the rows that train."""
        return self.classes if self.is_given else np.unique(self.labels[self.training])

    @once
    def model(self, chosen=None, task="model in use"):
        """The classifier, None where no member asks it, and the members by name."""
        chosen = self.training if chosen is None else chosen
        seeds, combination = np.random.RandomState(self.seed), self.combination
        classifier = None
        if combination.is_asked_:
            classifier = self.classifier(chosen, task, seeds)
        members = combination.members
        if members is None:
            shape, labels = combination.input_shape_, self.labels[chosen]
            members = _members.default_members(shape, classifier, labels)
        named = _members.resolve_members(members, classifier)
        return classifier, self._fitted(named, chosen, task, seeds)

    def classifier(self, chosen=None, task="answers", seeds=None):
        """The classifier, fitted to some rows or all; None where there is one class."""
        chosen = np.arange(len(self.labels)) if chosen is None else chosen
        known = self.classes if self.is_given else np.unique(self.labels[chosen])
        if len(known) == 1:
            return None
        classifier = self.combination.classifier
        if classifier is None:
            classifier = _members.default_classifier(self.combination.input_shape_)
        named = {_members.CLASSIFIER: classifier}
        seeds = seeds or np.random.RandomState(self.seed)
        return self._fitted(named, chosen, task, seeds)[_members.CLASSIFIER]

    def scores(self, model):
        """Of each part that calibrates, by the model in use, or by what others taught."""
        models = [model] * len(self.parts)
        if self.is_crossed:
            folds = (np.setdiff1d(self.training, part) for part in self.parts)
            models = [self.model(fold, f"fold {i + 1}") for i, fold in enumerate(folds)]
        return [
            _members.look(*each, self._rows(part), model[1])[1]
            for each, part in zip(models, self.parts, strict=True)
        ]

    def known(self):
        """Rows that the model in use has seen, their labels and places, and a seed."""
        seen = self.training if len(self.training) else self.parts[0]
        return self.rows, self.labels, seen, self.seed

    def warn_of_few(self, n_calibration):
        """Warn of classes that no row taught, and of too few rows that calibrate."""
        if len(untaught := np.setdiff1d(self.classes, self.taught)):
            warnings.warn(
                f"Got no row of the classes {untaught.tolist()} among those that trained, so "
                "that they are unknown; give more rows of them, or calibration='cross'.",
                stacklevel=4,
            )
        smallest = 1 / (n_calibration + 1)
        if smallest > LEVEL:
            warnings.warn(
                f"Got {n_calibration} rows that calibrate, so that no p-value is below "
                f"{smallest:.2f}; for {LEVEL} give more rows, a larger calibration, or "
                "calibration='cross'.",
                stacklevel=4,
            )

    def _rows(self, places):
        """The rows at these places, which ascend."""
        return take_rows(self.rows, np.isin(np.arange(len(self.labels)), places))

    def _fitted(self, named, chosen, task, seeds):
        """Named estimators, completed and fitted; a bar shows which, where one is asked for."""
        combination, X = self.combination, self._rows(chosen)
        unfitted = {
            name: clone_completed(
                each,
                random_state=seeds.randint(LARGEST_SEED),
                input_shape=(
                    combination.input_shape_
                    if "input_shape" in each.get_params(deep=False)
                    else None
                ),
            )
            for name, each in named.items()
            if each != _members.CLASSIFIER
        }
        fits = (
            delayed(fitted_foreign)(each, X, self.labels[chosen]) for each in unfitted.values()
        )
        fitted = Parallel(n_jobs=combination.n_jobs, return_as="generator")(fits)
        shown = unfitted
        if combination.verbose:
            told = f"{task}, {{}}".format
            shown = with_bar(unfitted, total=len(unfitted), unit="fit", told=told)
        fitted = {name: next(fitted) for name in shown}
        for name, each in fitted.items():
            width = getattr(each, "n_features_in_", X.shape[1])
            if width != X.shape[1]:
                raise ValueError(
                    f"Got X with {X.shape[1]} features, but {name!r} was fitted on {width}; "
                    "fit all members on the same features."
                )
        return {name: fitted.get(name, _members.CLASSIFIER) for name in named}


def _calibration(combination, n_rows, classes):
    """How rows calibrate: "all" where no p-value depends on what is to be trained."""
    is_asked, members = combination.is_asked_, combination.members
    used = [combination.classifier] if is_asked and len(classes) > 1 else []
    used += [None] if members is None else [member for _, member in members]
    if all(isinstance(each, (FrozenEstimator, str)) for each in used):
        return "all"
    if combination.calibration == "auto":
        is_given = isinstance(combination.classifier, FrozenEstimator) and any(
            each is None or not (isinstance(each, str) or hasattr(each, "fit")) for each in used
        )
        return _conformal.auto_calibration(n_rows, is_asked=is_asked, is_given=is_given)
    return combination.calibration
