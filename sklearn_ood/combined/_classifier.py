"""Several scores as one p-value: the classifier that holds the members and their scales."""

from dataclasses import field
from numbers import Integral
from typing import Annotated, Any, Literal

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Estimator, RandomState, Share, check_arguments, fitted
from sklearn_ood._response import clone_completed, log_proba
from sklearn_ood.base import Composition, OODClassifier
from sklearn_ood.combined import _conformal, _members
from sklearn_ood.combined._conformal import ConformalScale
from sklearn_ood.combined._network import from_module
from sklearn_ood.data._blocks import block_by_block
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.detectors._features import features_once
from sklearn_ood.metrics import aurc_score
from sklearn_ood.model_selection import LeaveClassesOut

AUTO_SPLITS, AUTO_LEFT_OUT, AUTO_CLASSES = 2, 0.3, 3
LARGEST_SEED = np.iinfo(np.int32).max
Rows = Annotated[int, Interval(Integral, _conformal.MIN_CALIBRATION, None, closed="left")]


class CombinedClassifier(Composition, OODClassifier):
    """Several scores as one calibrated p-value: the method to try first.

    No single score is best on all data. Each member's score becomes a conformal p-value on
    rows held out from training, the p-values are combined, and the combination becomes a
    p-value on further held-out rows: of new rows like the training rows, at most a share
    alpha has ``p_values(X) <= alpha``, whatever the data and the members.

    Parameters
    ----------
    classifier : classifier, default=None
        Names the class; needs ``predict_proba``. None is a small convolutional net for images
        (see ``input_shape``) and the mean of a forest and a net for tables. A
        ``sklearn.frozen.FrozenEstimator`` is used as it is: the rows given to ``fit`` must then
        be others than it was trained on, and rows of classes that it does not know are left
        out. With one class there is no classifier.
    members : list of (str, member), default=None
        A member is anything with ``score_samples``, ``predict_proba`` or
        ``decision_function``, a pipeline that ends in one, or a PyOD detector. In place of an
        estimator, "classifier" stands for the classifier's own confidence, and a callable
        makes the member from the fitted classifier, which it gets frozen: so
        :class:`NetFeatures` takes its features. Both are left out where there is one class.
        "drop" stands for no member. None chooses by the kind of data, see the notes.
    method : {"fisher", "cauchy", "min", "auto"}, default="fisher"
        How p-values are combined. "fisher" sums their logarithms: all evidence counts.
        "min" takes the smallest, "cauchy" lies between. "auto" chooses the one with the lowest
        area under the risk-coverage curve where classes are held out within the training
        rows; it fits everything two times more. It is "fisher" below three classes.
    calibration : "auto", float in (0, 1) or int >= 20, default="auto"
        Rows held out from training, as a share or a number: one half calibrates the members,
        the other the combination. "auto" is a fifth, between 100 (or half of the rows) and
        10,000. Where classifier and members are all frozen, all rows calibrate.
    conditional : {"predicted", "none"}, default="predicted"
        Whether a member that has one score a class is read at the class that ``classifier``
        predicts, or at its own best class.
    input_shape : tuple (C, H, W), default=None
        Shape of one image, for flat rows that are images.
    ood_label : label, default=None
        Rows of ``y`` with this label are outliers; they are left out.
    random_state : int, RandomState or None, default=None
        Chooses the rows held out, and seeds the members that have no seed.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    classifier_ : classifier or None
        The fitted classifier.
    members_ : dict of str to estimator
        The fitted members, in order; "classifier" where the classifier is meant.
    method_ : str
        The combination in use.
    member_scales_ : list of ConformalScale
        From each member's score to its p-value.
    scale_ : ConformalScale
        From the combined evidence to the p-value.
    n_calibration_ : int
        Rows that calibrate the combination: no p-value is below ``1 / (n_calibration_ + 1)``.
    calibration_indices_ : ndarray of int
        Which of the in-distribution rows given to ``fit`` calibrated; they trained nothing.
    n_features_in_ : int
    input_shape_ : tuple of int

    Notes
    -----
    The defaults for tables are the classifier's probability and three Gaussian mixtures a
    class: of a size chosen by held-out classes, of 8 and of 16 components; with one class,
    which has no probability, one mixture, the nearest training row and the local outlier
    factor. For images they are the classifier's probability, the angle between its last
    feature maps and those of the nearest of 10,000 training images of the class, and the
    likelihood of the pixels under one PCA a class, of 32 components. Around a network that has
    no child ``conv`` but ends in a linear layer they are :class:`MahalanobisDistance`, ViM
    (:class:`Subspace`), NCI and the energy of its features, and the same pixels. Combination,
    members and number of components were chosen by classes held out within training data, but
    for the pixels, which tell nothing there and stay for images unlike all classes.

    ``score_samples`` is the logarithm of the p-value, joined by straight lines between the
    calibration rows (never below the logarithm of ``p_values`` there), and below the most
    outlying of them extrapolated by a generalised Pareto tail: beyond
    ``1 / (n_calibration_ + 1)`` it ranks, and promises nothing. Rows more typical than all
    calibration rows have 0. Members are scored on the same scale, so that a far row counts
    for more than one just outside.

    Below 20 calibration rows for both halves together p-values say next to nothing: with
    ``calibration="auto"`` the score still ranks, and ``p_values`` raises.

    References
    ----------
    .. [1] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random world", 2005.
    .. [2] S. Bates et al., "Testing for outliers with conformal p-values", Annals of
       Statistics 2023.

    See Also
    --------
    SelectiveClassifier : Answers, or refuses with a guarantee on the risk.
    NoveltyDetector : Takes the p-value as it is: ``contamination`` is its level.
    MemberPValuesDisplay : Draws which member speaks against which row.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import CombinedClassifier, GenerativeClassifier, NeighborDistance
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [
    ...     ("confidence", "classifier"),
    ...     ("pca", GenerativeClassifier("pca")),
    ...     ("neighbors", NeighborDistance()),
    ... ]
    >>> combined = CombinedClassifier(LogisticRegression(), members, random_state=0).fit(X, y)
    >>> far = X[:1] + 10
    >>> bool(combined.p_values(far)[0] == 1 / (combined.n_calibration_ + 1))
    True
    >>> combined.member_p_values(far).shape
    (1, 3)
    """

    classifier_: BaseEstimator | None = fitted()
    members_: dict = fitted()
    method_: str = fitted()
    calibration_indices_: np.ndarray = fitted()
    member_scales_: list = fitted()
    scale_: ConformalScale = fitted()

    _composed = "members"

    classifier: Estimator | None = field(default=None, kw_only=False)
    members: list[tuple[str, Any]] | None = field(default=None, kw_only=False)
    method: Literal["fisher", "cauchy", "min", "auto"] = "fisher"
    calibration: Literal["auto"] | Share | Rows = "auto"
    conditional: Literal["predicted", "none"] = "predicted"
    input_shape: tuple[int, ...] | None = None
    ood_label: Any = None
    random_state: RandomState = None

    from_module = classmethod(from_module)

    def fit(self, X, y=None):
        """Fit the classifier and the members, and calibrate them on held-out rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,), default=None
            Labels; None is one class.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are too few rows to calibrate, or a parameter is out of range.
        TypeError
            If a member has no score, or the classifier no probabilities.
        """
        self._check_parameters()
        data = validate_training_data(self, X, y, min_classes=1)
        rows, codes, classes = self._known(data, is_labelled=y is not None)
        random_state = check_random_state(self.random_state)
        calibration = "all" if self._is_frozen(classes) else self.calibration
        training, calibrating = _conformal.split_rows(codes, calibration, random_state)
        seed = random_state.randint(LARGEST_SEED)
        taught, labels = rows[training], classes[codes[training]]
        self._fit_members(taught, labels, classes, seed)
        self.method_ = self._choose_method(taught, labels, seed)
        self._calibrate(rows[calibrating])
        self.calibration_indices_, self.classes_ = calibrating, classes
        return self

    @block_by_block
    def p_values(self, X):
        """How surprising each row would be, were it of the training distribution.

        Returns
        -------
        ndarray of shape (n_samples,)
            In ``[1 / (n_calibration_ + 1), 1]``; at most alpha for at most a share alpha of
            rows that are exchangeable with the calibration rows.
        """
        rows = self._validate_rows(X)
        _conformal.check_enough(self.member_scales_[0].n_samples + self.n_calibration_)
        return self.scale_.p_values(self._typicality(rows))

    def outliers_fdr(self, X, alpha: Share = 0.1):
        """Which rows of a batch to call outliers, with few false alarms among them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        alpha : float in (0, 1), default=0.1
            Expected share of in-distribution rows among those called outliers, at most
            (Benjamini and Hochberg's procedure). To find any, ``n_calibration_`` must be about
            ``n_samples / (alpha * outliers)``.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
        check_arguments(self.outliers_fdr, {"alpha": alpha})
        return false_discovery_control(self.p_values(X)) <= alpha

    @block_by_block
    def member_p_values(self, X):
        """Each member's own p-value: which evidence speaks against a row.

        Returns
        -------
        ndarray of shape (n_samples, n_members)
            Columns in the order of ``members_``, each valid by itself.
        """
        return self._on_scales(ConformalScale.p_values, self._validate_rows(X))

    @block_by_block
    def member_score_samples(self, X):
        """Logarithm of each member's own p-value, extrapolated as in ``score_samples``.

        Returns
        -------
        ndarray of shape (n_samples, n_members)
        """
        return self._on_scales(ConformalScale.log_p, self._validate_rows(X))

    @property
    def n_calibration_(self):
        """Rows that calibrate the combination."""
        return self.scale_.n_samples

    def _evidence(self, rows):
        if self.classifier_ is None:
            return np.zeros((len(rows), 1))
        return log_proba(self.classifier_, rows)

    _log_proba = _evidence  # the evidence for a class is its log-probability

    def _scores(self, rows):
        return self.scale_.log_p(self._typicality(rows))

    def _class_scores(self, rows, codes):
        return self._scores(rows)  # one score, whatever the class

    def _typicality(self, rows):
        log_p = self._on_scales(ConformalScale.log_p, rows)
        return -_conformal.combine(log_p, self.method_)

    def _on_scales(self, read, rows):
        """A method of each member's scale, of its scores."""
        scales = zip(self.member_scales_, self._member_scores(rows).T, strict=True)
        return np.column_stack([read(scale, scores) for scale, scores in scales])

    def _member_scores(self, rows):
        return _members.score_table(self.members_, self.classifier_, rows, self.conditional)

    def _validate_rows(self, X):
        return self._for_members(validate_rows(self, X))

    def _for_members(self, rows):
        # In float32 a row's score by most methods would depend on the rows beside it.
        return rows if len(self.input_shape_) == 3 else rows.astype(np.float64)

    def _known(self, data, *, is_labelled):
        """Rows, codes and classes to learn; a frozen classifier's where there is one."""
        rows, codes = data.in_distribution
        rows = self._for_members(rows)
        if not (is_labelled and isinstance(self.classifier, FrozenEstimator)):
            return rows, codes, data.classes
        check_is_fitted(self.classifier)
        classes = np.asarray(self.classifier.classes_)
        codes = codes_in(classes, data.classes[codes])
        inside = codes != OUTLIER
        return rows[inside], codes[inside], classes

    def _is_frozen(self, classes):
        """Whether nothing is to be trained: neither the classifier, if any, nor a member."""
        used = [self.classifier] if len(classes) > 1 else []
        used += [None] if self.members is None else [member for _, member in self.members]
        return all(isinstance(each, (FrozenEstimator, str)) for each in used)

    @features_once
    def _fit_members(self, rows, labels, classes, seed):
        seeds = np.random.RandomState(seed)

        def taught(name, estimator):
            takes_shape = "input_shape" in estimator.get_params(deep=False)
            completed = clone_completed(
                estimator,
                random_state=seeds.randint(LARGEST_SEED),
                input_shape=self.input_shape_ if takes_shape else None,
            ).fit(rows, labels)
            width = getattr(completed, "n_features_in_", self.n_features_in_)
            if width != self.n_features_in_:
                raise ValueError(
                    f"Got X with {self.n_features_in_} features, but {name!r} was fitted on "
                    f"{width}; fit all members on the same features."
                )
            return completed

        shape, classifier, members = self.input_shape_, self.classifier, self.members
        if classifier is None:
            classifier = _members.default_classifier(shape)
        self.classifier_ = taught(_members.CLASSIFIER, classifier) if len(classes) > 1 else None
        if members is None:
            members = _members.default_members(shape, self.classifier_)
        self.members_ = {
            name: member if member == _members.CLASSIFIER else taught(name, member)
            for name, member in _members.resolve_members(members, self.classifier_)
        }

    def _choose_method(self, rows, labels, seed):
        if self.method != "auto":
            return self.method
        if len(np.unique(labels)) < AUTO_CLASSES:
            return "fisher"
        fixed = {"method": "fisher", "calibration": "auto", "random_state": seed}
        splitter = LeaveClassesOut(AUTO_LEFT_OUT, AUTO_SPLITS, random_state=seed)
        risks = dict.fromkeys(_conformal.COMBINATIONS, 0.0)
        for train, test in splitter.split(rows, labels):
            inner = clone(self).set_params(input_shape=self.input_shape_, **fixed)
            inner.fit(rows[train], labels[train])
            answers, log_p = inner.predict(rows[test]), inner.member_score_samples(rows[test])
            for method in risks:
                typicality = -_conformal.combine(log_p, method)
                risks[method] += aurc_score(labels[test], answers, typicality)
        return min(risks, key=risks.get)

    def _calibrate(self, rows):
        first, second = np.array_split(rows, 2)
        self.member_scales_ = list(map(ConformalScale.fit, self._member_scores(first).T))
        self.scale_ = ConformalScale.fit(self._typicality(second))

    def _check_parameters(self):
        self._validate_params()
        if self.method == "auto" and isinstance(self.classifier, FrozenEstimator):
            raise ValueError(
                "Got method='auto' with a frozen classifier, but the method is chosen by "
                "fitting anew without some of the classes; name the method."
            )
        if self.members is not None:
            _members.check_members(self.members)
            self._validate_names([name for name, _ in self.members])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
