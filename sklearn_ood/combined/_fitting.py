"""What classifier and members of a combination learn from, and which rows calibrate them."""

import warnings

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, check_is_fitted

from sklearn_ood import _response
from sklearn_ood._parameters import as_chosen, clone_completed, drawn_seed
from sklearn_ood.combined import _conformal, _members
from sklearn_ood.combined._explanation import ReferenceRows
from sklearn_ood.data._blocks import mapped_images, n_rows, once, take_rows, with_bar
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.metrics._blocks import as_weights
from sklearn_ood.selective._thresholds import checked_weights

LEVEL = 0.05


class Lessons:
    """Known rows of a combination: those that its models learn from, and that calibrate."""

    def __init__(self, combination, X, y, inside, sample_weight=None, calibration_weight=None):
        X, y = mapped_images(X, y)
        self.combination, sample_weight = combination, as_weights(sample_weight, n_rows(X))
        known, places = self._known(X, y, sample_weight)
        self.rows, self.weight = known.rows, known.weight
        self.labels = self.classes[known.codes]
        # Whether members ask the classifier, whether the same rows train and calibrate, and
        # whether the classifier knows the classes without a lesson.
        self.is_asked = _members.ask_classifier(combination.members, combination.input_shape_)
        random_state = check_random_state(combination.random_state)
        calibration = self._calibration()
        self.is_crossed, self.is_given = calibration == "cross", calibration == "all"
        self.is_given |= isinstance(combination.classifier, FrozenEstimator)
        parts = _conformal.split_rows(len(places), calibration, random_state)
        self.training, self.parts = parts
        how_often = sample_weight if calibration_weight is None else calibration_weight
        how_often = checked_weights(how_often, n_rows(X), "calibration_weight")
        if how_often is not None:
            how_often = [how_often[places[part]] for part in self.parts]
        self.calibration_weights = how_often
        # What the fit of an estimator that was given gets beside rows and labels.
        self.metadata = {n: _check_method_params(X, each, places) for n, each in inside.items()}
        self.seed = drawn_seed(random_state)

    def _known(self, X, y, sample_weight):
        """The rows of known classes, and their places among all."""
        combination, classifier = self.combination, self.combination.classifier
        is_image = len(combination.input_shape or ()) == 3 or getattr(X, "ndim", 2) != 2
        reader = None if is_image else _members.keep_table
        how = {"sample_weight": sample_weight, "min_classes": 1, "read_rows": reader}
        data = validate_training_data(combination, X, y, **how)
        known, self.classes, places = data.known, data.classes, np.arange(n_rows(X))
        if sample_weight is not None:
            places = np.flatnonzero(sample_weight)
        places = places[data.codes != OUTLIER]
        if isinstance(classifier, FrozenEstimator) and y is not None:
            check_is_fitted(classifier)
            self.classes = np.asarray(classifier.classes_)
            known = known._replace(codes=codes_in(self.classes, data.classes[known.codes]))
            is_known = known.codes != OUTLIER
            known, places = known.those(is_known), places[is_known]
        return known, places

    def _calibration(self):
        """How rows calibrate: "all" where no p-value depends on what is to be trained."""
        combination, is_asked = self.combination, self.is_asked
        used = [combination.classifier] if is_asked and len(self.classes) > 1 else []
        used += [member for _, member in combination.members or [(None, None)]]
        if all(isinstance(each, (FrozenEstimator, str)) for each in used):
            return "all"
        if combination.calibration != "auto":
            return combination.calibration
        is_made = any(not (isinstance(each, str) or hasattr(each, "fit")) for each in used)
        is_given = isinstance(combination.classifier, FrozenEstimator) and is_made
        n_known = len(self.labels)
        return _conformal.auto_calibration(n_known, is_asked=is_asked, is_given=is_given)

    @property
    def calibrating(self):
        return np.concatenate(self.parts)

    @once
    def model(self, chosen=None, task="model in use", like=(None, None)):
        """The classifier, None where no member asks it, and the members by name.

        What these choose from rows they choose as in a model ``like`` which they are to be.
        """
        chosen = self.training if chosen is None else chosen
        seeds = np.random.RandomState(self.seed)
        first, others = like
        classifier = self._classifier(chosen, task, seeds, first) if self.is_asked else None
        members = self.combination.members
        if members is None:
            shape = self.combination.input_shape_
            members = _members.default_members(shape, classifier, self.labels[chosen])
        named = _members.resolve_members(members, classifier)
        return classifier, self._fitted(named, chosen, task, seeds, others)

    def scales(self, model, weights):
        """Of the members and their combination: each part by what others taught, if crossed."""
        models = [model] * len(self.parts)
        if self.is_crossed:
            folds = (np.setdiff1d(self.training, part) for part in self.parts)
            # Scores of one form say nothing of what is usual for those of another.
            models = [self.model(fold, f"fold {i + 1}", model) for i, fold in enumerate(folds)]
        scores = []
        for each, part in zip(models, self.parts, strict=True):
            rows = self._rows(part)
            scores.append(_members.look(*each, rows, model[1])[1])
            if len(scores) == 1:
                _members.warn_of_company_in(*each, rows, scores[0], model[1])
        settings = {"is_crossed": self.is_crossed, "row_weights": self.calibration_weights}
        return _conformal.calibrated(scores, self.combination.method, weights, **settings)

    @once
    def answering(self, classifier):
        """The classifier in use and its classes: what no member asks learns from all rows."""
        taught = self._taught if self.is_asked else self.classes
        if not self.is_asked:
            seeds = np.random.RandomState(self.seed)
            classifier = self._classifier(np.arange(len(self.labels)), "answers", seeds)
        if classifier is None:
            return None, taught
        order = codes_in(taught, _response.classes_of(classifier))  # which need not be sorted
        return classifier, taught if OUTLIER in order else taught[order]

    def reference(self):
        """Some rows of a table that the model in use has seen; of images none."""
        if len(self.combination.input_shape_) == 3:
            return None
        seen = self.training if len(self.training) else self.parts[0]
        return ReferenceRows.sampled(self.rows, self.labels, seen, self.seed)

    def warn_of_few(self, n_calibration):
        """Warn of classes that no row taught, and of too few rows that calibrate."""
        if len(untaught := np.setdiff1d(self.classes, self._taught)):
            warnings.warn(
                f"Got no row of the classes {untaught.tolist()} among those that trained, so "
                "that they are unknown; give more rows of them, or calibration='cross'.",
                stacklevel=4,
            )
        smallest = 1 / (n_calibration + 1)
        if smallest > LEVEL:
            warnings.warn(
                f"Got {n_calibration:.4g} rows that calibrate, so that no p-value is below "
                f"{smallest:.2f}; for {LEVEL} give more rows, a larger calibration, or "
                "calibration='cross'.",
                stacklevel=4,
            )

    @property
    def _taught(self):
        return self.classes if self.is_given else np.unique(self.labels[self.training])

    def _rows(self, places):
        """The rows at these places, which ascend."""
        return take_rows(self.rows, np.isin(np.arange(len(self.labels)), places))

    def _classifier(self, chosen, task, seeds, like=None):
        """The classifier, fitted to some rows; None where there is one class."""
        known = self.classes if self.is_given else np.unique(self.labels[chosen])
        if len(known) == 1:
            return None
        classifier = self.combination.classifier
        if classifier is None:
            classifier = _members.default_classifier(self.combination.input_shape_)
        named, like = {"classifier": classifier}, {"classifier": like}
        return self._fitted(named, chosen, task, seeds, like)["classifier"]

    def _fitted(self, named, chosen, task, seeds, like=None):
        """Named estimators, completed and fitted; a bar shows which, where one is asked for."""
        combination, X, y = self.combination, self._rows(chosen), self.labels[chosen]
        shape, like = combination.input_shape_, like or {}
        own = {n: each for n, each in named.items() if each != _members.CLASSIFIER}
        # A search that gets metadata is searched again: what it holds might not take them.
        own |= {n: as_chosen(own[n], like.get(n)) for n in own if not self.metadata.get(n)}
        unfitted = {
            name: clone_completed(each, random_state=drawn_seed(seeds), input_shape=shape)
            for name, each in own.items()
        }
        weight = None if self.weight is None else self.weight[chosen]
        metadata = self.metadata.items()
        given = {n: _check_method_params(self.rows, each, chosen) for n, each in metadata}
        fits = (
            delayed(_response.fitted_foreign)(each, X, y, **given[name])
            if name in given
            else delayed(_response.fitted_by_weight)(each, X, y, weight)
            for name, each in unfitted.items()
        )
        fitted = Parallel(n_jobs=combination.n_jobs, return_as="generator")(fits)
        shown = unfitted
        if combination.verbose:
            told = f"{task}, {{}}".format
            shown = with_bar(unfitted, total=len(unfitted), unit="fit", told=told)
        fitted = {name: next(fitted) for name in shown}
        for name, each in fitted.items():
            _response.check_told_no_classes(each)
            width = getattr(each, "n_features_in_", X.shape[1])
            if width != X.shape[1]:
                raise ValueError(
                    f"Got X with {X.shape[1]} features, but {name!r} was fitted on {width}; "
                    "fit all members on the same features."
                )
        return {name: fitted.get(name, _members.CLASSIFIER) for name in named}
