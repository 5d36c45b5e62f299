from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._response import log_proba
from sklearn_ood.base import Composition, OODClassifier
from sklearn_ood.combined._calibration import check_calibration, check_enough, split_rows
from sklearn_ood.combined._conformal import (
    COMBINATIONS,
    ConformalScale,
    benjamini_hochberg,
    combine,
)
from sklearn_ood.combined._members import (
    CLASSIFIER,
    DROP,
    check_detectors,
    complete,
    default_classifier,
    default_detectors,
    draw_p_values,
    is_word,
    member_scores,
    own_confidence,
)
from sklearn_ood.data._blocks import block_by_block
from sklearn_ood.data._labels import OUTLIER, codes_in
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.metrics import aurc_score
from sklearn_ood.model_selection import LeaveClassesOut

AUTO_SPLITS, AUTO_LEFT_OUT, AUTO_CLASSES = 2, 0.3, 3


class CombinedDetector(Composition, OODClassifier):
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
        be others than it was trained on. With one class there is no classifier.
    detectors : list of (str, estimator), default=None
        The members: anything with ``score_samples``, ``predict_proba`` or
        ``decision_function``, a pipeline that ends in one, or a PyOD detector.
        "classifier" in place of an estimator stands for the classifier's own confidence
        (dropped where there is one class), "drop" for none. :class:`NetFeatures` without an
        estimator takes the features of ``classifier``. None chooses by the kind of data, see
        the notes.
    method : {"fisher", "cauchy", "min", "auto"}, default="fisher"
        How p-values are combined. "fisher" sums their logarithms: all evidence counts.
        "min" takes the smallest, "cauchy" lies between. "auto" chooses the one with the lowest
        area under the risk-coverage curve where classes are held out within the training
        rows; it fits everything two times more. It is "fisher" below three classes.
    calibration : "auto", float in (0, 1), int or "prefit", default="auto"
        Rows held out from training, as a share or a number: one half calibrates the members,
        the other the combination. "auto" is a fifth, between 100 (or half of the rows) and
        10,000. "prefit": classifier and detectors are fitted already and used as they are, and
        all rows given to ``fit`` calibrate.
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
    detectors_ : dict of str to estimator
        The fitted members, in order; "classifier" where the classifier is meant.
    method_ : str
        The combination in use.
    n_calibration_ : int
        Rows that calibrate the combination: no p-value is below ``1 / (n_calibration_ + 1)``.
    n_features_in_ : int
    input_shape_ : tuple of int

    Notes
    -----
    The defaults for tables are the classifier's probability and three Gaussian mixtures a
    class: of a size chosen by held-out classes, of 8 and of 16 components; with one class,
    which has no probability, one mixture, the nearest training row and the local outlier
    factor. For images they are the classifier's probability, the angle between its last
    feature maps and those of the nearest of 10,000 training images of the class, and the
    likelihood of the pixels under one PCA a class, of 32 components. The combination, the
    members and the number of components were chosen by classes held out within training data,
    but for the pixels, which tell nothing there and stay for images unlike all classes.

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

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import CombinedDetector, GenerativeClassifier, NeighborDistance
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [
    ...     ("confidence", "classifier"),
    ...     ("pca", GenerativeClassifier("pca")),
    ...     ("neighbors", NeighborDistance()),
    ... ]
    >>> detector = CombinedDetector(LogisticRegression(), members, random_state=0).fit(X, y)
    >>> far = X[:1] + 10
    >>> bool(detector.p_values(far)[0] == 1 / (detector.n_calibration_ + 1))
    True
    >>> detector.member_p_values(far).shape
    (1, 3)
    """

    _composed = "detectors"

    def __init__(
        self,
        classifier=None,
        detectors=None,
        *,
        method="fisher",
        calibration="auto",
        conditional="predicted",
        input_shape=None,
        ood_label=None,
        random_state=None,
    ):
        self.classifier = classifier
        self.detectors = detectors
        self.method = method
        self.calibration = calibration
        self.conditional = conditional
        self.input_shape = input_shape
        self.ood_label = ood_label
        self.random_state = random_state

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
        random_state = check_random_state(self.random_state)
        rows, codes, classes = self._in_distribution(data)
        rows = self._for_members(rows)
        training, calibrating = split_rows(codes, self.calibration, random_state)
        seed = random_state.randint(np.iinfo(np.int32).max)
        self._fit_members(rows[training], classes[codes[training]], classes, seed)
        self.method_ = self._choose_method(rows[training], classes[codes[training]], seed)
        self._calibrate(rows[calibrating])
        self.classes_ = classes
        return self

    @block_by_block
    def p_values(self, X):
        """How surprising each row would be, were it of the training distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)

        Returns
        -------
        ndarray of shape (n_samples,)
            In ``[1 / (n_calibration_ + 1), 1]``; at most alpha for at most a share alpha of
            rows that are exchangeable with the calibration rows.
        """
        rows = validate_rows(self, X)
        check_enough(self._n_held_out)
        return self._scale.p_values(self._typicality(self._for_members(rows)))

    def outliers_fdr(self, X, alpha=0.1):
        """Which rows of a batch to call outliers, with few false alarms among them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        alpha : float in (0, 1), default=0.1
            Expected share of in-distribution rows among those called outliers, at most. To
            find any, ``n_calibration_`` must be about ``n_samples / (alpha * outliers)``.

        Returns
        -------
        ndarray of bool of shape (n_samples,)
        """
        if not isinstance(alpha, Real) or not 0 < alpha < 1:
            raise ValueError(f"Got alpha={alpha!r}, but expected a number in (0, 1).")
        return benjamini_hochberg(self.p_values(X), alpha)

    @block_by_block
    def member_p_values(self, X):
        """Each member's own p-value: which evidence speaks against a row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)

        Returns
        -------
        ndarray of shape (n_samples, n_members)
            Columns in the order of ``detectors_``, each valid by itself.
        """
        scores = self._member_scores(self._for_members(validate_rows(self, X)))
        columns = zip(self._member_scales, scores.T, strict=True)
        return np.column_stack([scale.p_values(column) for scale, column in columns])

    def plot_member_p_values(self, X, y=None, *, max_rows=10):
        """Draw which member speaks how loudly against which row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Rows; the first `max_rows` are drawn.
        y : array-like of shape (n_samples,), default=None
            Their labels, to be written beside the predictions.
        max_rows : int, default=10

        Returns
        -------
        matplotlib.figure.Figure
            One line a row: the p-values of the members and of the combination, darker for
            smaller.
        """
        rows = X[:max_rows]
        p_values = np.column_stack(
            [self.member_p_values(rows), np.exp(self.score_samples(rows))]
        )
        captions = [f"{label}" for label in self.predict(rows)]
        if y is not None:
            captions = [f"{c} (is {t})" for c, t in zip(captions, y[:max_rows], strict=True)]
        return draw_p_values(p_values, captions, [*self.detectors_, "combined"])

    @property
    def n_calibration_(self):
        """Rows that calibrate the combination."""
        return self._scale.n_samples

    def _evidence(self, rows):
        if self.classifier_ is None:
            return np.zeros((len(rows), 1))
        return log_proba(self.classifier_, self._for_members(rows))

    def _log_proba(self, rows):
        return self._evidence(rows)

    def _scores(self, rows):
        return self._scale.log_p(self._typicality(self._for_members(rows)))

    def _typicality(self, rows):
        return -combine(self._member_log_p(rows), self.method_)

    def _member_log_p(self, rows):
        columns = zip(self._member_scales, self._member_scores(rows).T, strict=True)
        return np.column_stack([scale.log_p(column) for scale, column in columns])

    def _member_scores(self, rows):
        labels, log_p = None, None
        if self.classifier_ is not None:
            log_p = log_proba(self.classifier_, rows)
            if self.conditional == "predicted":
                labels = np.asarray(self.classifier_.classes_)[log_p.argmax(axis=1)]
        columns = []
        for name, member in self.detectors_.items():
            if is_word(member, CLASSIFIER):
                scores = own_confidence(self.classifier_, rows, log_p)
            else:
                scores = member_scores(member, rows, labels)
            if np.isnan(scores).any():
                raise ValueError(
                    f"Got {int(np.isnan(scores).sum())} NaN scores from the member {name!r}, "
                    "but evidence needs numbers."
                )
            columns.append(scores)
        return np.column_stack(columns)

    def _for_members(self, rows):
        # In float32 a row's score by most methods would depend on the rows beside it.
        return rows if len(self.input_shape_) == 3 else rows.astype(np.float64)

    def _in_distribution(self, data):
        """Rows, their codes and the classes; those of the classifier where it is fitted."""
        rows, codes = data.in_distribution
        if not self._is_prefit or self.classifier is None:
            return rows, codes, data.classes
        classes = np.asarray(self.classifier.classes_)
        codes = codes_in(classes, data.classes[codes])
        inside = codes != OUTLIER
        return rows[inside], codes[inside], classes

    def _fit_members(self, rows, labels, classes, seed):
        random_state = np.random.RandomState(seed)

        def fitted(estimator):
            if self._is_prefit:
                check_is_fitted(estimator)
                return estimator
            seed = random_state.randint(np.iinfo(np.int32).max)
            completed = complete(
                clone(estimator),
                seed=seed,
                input_shape=self.input_shape_,
                classifier=self.classifier_,
            )
            return completed.fit(rows, labels)

        self.classifier_ = None
        if len(classes) > 1:
            own = self.classifier
            self.classifier_ = fitted(
                default_classifier(self.input_shape_) if own is None else own
            )
            self._check_width("classifier", self.classifier_)
        self.detectors_ = {
            name: member if is_word(member, CLASSIFIER) else fitted(member)
            for name, member in self._unfitted_members()
        }
        for name, member in self.detectors_.items():
            self._check_width(name, member)

    def _unfitted_members(self):
        detectors = self.detectors
        if detectors is None:
            detectors = default_detectors(self.input_shape_, self.classifier_)
        left_out = (DROP,) if self.classifier_ is not None else (DROP, CLASSIFIER)
        kept = [pair for pair in detectors if not is_word(pair[1], *left_out)]
        if not kept:
            raise ValueError(
                f"Got detectors={detectors!r}, which leaves no member; with one class the "
                "classifier is none: give a density or another detector."
            )
        return kept

    def _choose_method(self, rows, labels, seed):
        if self.method != "auto":
            return self.method
        if len(np.unique(labels)) < AUTO_CLASSES:
            return "fisher"
        shape = self.input_shape_ if len(self.input_shape_) == 3 else None
        splitter = LeaveClassesOut(AUTO_LEFT_OUT, AUTO_SPLITS, random_state=seed)
        risks = dict.fromkeys(COMBINATIONS, 0.0)
        for train, test in splitter.split(rows, labels):
            inner = clone(self).set_params(
                method="fisher", calibration="auto", input_shape=shape, random_state=seed
            )
            inner.fit(rows[train], labels[train])
            answers, log_p = inner.predict(rows[test]), inner._member_log_p(rows[test])
            for method in risks:
                risks[method] += aurc_score(labels[test], answers, -combine(log_p, method))
        return min(risks, key=risks.get)

    def _calibrate(self, rows):
        self._n_held_out = len(rows)
        first, second = np.array_split(rows, 2)
        self._member_scales = [
            ConformalScale.of(column) for column in self._member_scores(first).T
        ]
        self._scale = ConformalScale.of(self._typicality(second))

    @property
    def _is_prefit(self):
        return self.calibration == "prefit"

    def _check_width(self, name, member):
        width = getattr(member, "n_features_in_", self.n_features_in_)
        if width != self.n_features_in_:
            raise ValueError(
                f"Got X with {self.n_features_in_} features, but {name!r} was fitted on "
                f"{width}; fit all members on the same features."
            )

    def _check_parameters(self):
        methods = [*COMBINATIONS, "auto"]
        if self.method not in methods:
            raise ValueError(f"Got method={self.method!r}, but expected one of {methods}.")
        if self.conditional not in ("predicted", "none"):
            raise ValueError(
                f"Got conditional={self.conditional!r}, but expected 'predicted' or 'none'."
            )
        check_calibration(self.calibration)
        if self._is_prefit and self.detectors is None:
            raise ValueError(
                "Got calibration='prefit' with detectors=None, but the default members have to "
                "be fitted; pass fitted ones, or a FrozenEstimator as the classifier."
            )
        if self._is_prefit and self.method == "auto":
            raise ValueError(
                "Got calibration='prefit' with method='auto', which fits the members again; "
                "name the method."
            )
        if self.detectors is not None:
            check_detectors(self.detectors)
            self._validate_names([name for name, _ in self.detectors])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
