"""Several scores as one p-value and one confidence: the classifier that holds the members."""

from dataclasses import field
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import Estimator, RandomState, Share, check_arguments, fitted
from sklearn_ood.base import Composition, OODClassifier, Router
from sklearn_ood.combined import _conformal, _members
from sklearn_ood.combined._conformal import ConformalScale, log_right
from sklearn_ood.combined._explanation import ReferenceRows, explained
from sklearn_ood.combined._fitting import Lessons
from sklearn_ood.combined._network import from_module
from sklearn_ood.data._blocks import block_by_block, in_blocks, once
from sklearn_ood.data._rows import validate_rows

Rows = Annotated[int, Interval(Integral, _conformal.MIN_CALIBRATION, None, closed="left")]
PartOrNone = Annotated[float, Interval(Real, 0, 1, closed="left")]


class CombinedClassifier(Router, Composition, OODClassifier):
    """Is the row known, and is the answer right: the method to try first.

    No single score is best on all data. Each member's score becomes a conformal p-value on
    rows held out from training, the p-values are combined, and the combination becomes a
    p-value itself: of new rows like the training rows, at most a share alpha has ``p_values(X)
    <= alpha``, whatever the data and the members (about so with "cross"). The confidence in an
    answer is its probability, lowered where the row is likely to be of no known class.

    Parameters
    ----------
    classifier : classifier, default=None
        Names the class; needs ``predict_proba``. None is a small convolutional net for images
        (see ``input_shape``) and :class:`TableClassifier` for tables. A
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
    method : {"fisher", "average", "cauchy", "min"}, default="fisher"
        How p-values are combined. "fisher" sums their logarithms: all evidence counts. "min"
        takes the smallest; "average" (of p ** -1/4) and "cauchy" lie between, in this order.
    calibration : {"auto", "cross"}, float in (0, 1) or int >= 20, default="auto"
        Rows held out from training, as a share or a number: one half calibrates the members,
        the other the combination. "cross" scores every row by what learned from the others (in
        five folds) and fits once more to all rows: with the models of all folds, at most 2
        alpha of new rows would have a p-value of at most alpha [1]_; with one model in use that
        is not proved, and measured it is about alpha. "auto" is "cross" below 2,000 rows, else
        a tenth of them, between 500 and 10,000; where a member asks the classifier, which then
        loses them, "cross" below 1,000, and 200 at least; a third where members are made from a
        frozen one. Where all is frozen, all rows calibrate.
    outlier_share : float in [0, 1), default=0.01
        Share of unknown rows, for ``confidence``: the classifier's probability where it is 0.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the rows that trained the classifier.
    classifier_ : classifier or None
        The fitted classifier.
    is_asked_ : bool
        Whether a member asks it.
    members_ : dict of str to estimator
        The fitted members, in order; "classifier" where the classifier is meant.
    method_ : str
        How their p-values are combined, as the scale of the combination has learned.
    weights_ : ndarray of shape (n_members,)
        How much each member's evidence counts: exponents of the p-values.
    member_scales_, scale_ : list of ConformalScale, ConformalScale
        From each member's score, and from the combined evidence, to the p-value.
    reference_ : ReferenceRows or None
        At most 5,000 rows that trained, or else calibrate, for ``explain``; None for images.
    n_calibration_ : int or float
        Rows that calibrate the combination: no p-value is below ``1 / (n_calibration_ + 1)``.
        Of weighted rows the sum of their weights, relative to the largest.
    calibration_indices_ : ndarray of int
        Which rows calibrated; but for "cross" no p-value depends on what they trained.

    Notes
    -----
    The default members for tables are the largest probability of extremely randomised trees,
    whose evidence counts twice, the likelihood of the row under mixtures a class (three times),
    the distance to the nearest of 10,000 training rows (of more than 50 columns fewer), in
    directions in which classes vary alike and in ranks of each column (half), and how far out
    in its column the most extreme number lies (half). With one class the distance in standard
    deviations takes the place of the trees, and all count alike. Chosen by classes held out and
    corruptions. For images they are the classifier's probability, the angle between the last
    feature maps and those of the nearest of 10,000 training images of the class, and the
    likelihood of the pixels under one PCA a class; around a network without a child ``conv``
    that ends in a linear layer ViM (:class:`Subspace`), NCI, the energy and ReAct of its
    features, and how far an image is along the principal components of all and beside them.

    Where a member asks the classifier (as "classifier", or made from it), the classifier
    learns from the rows that train the members, and members that have one score a class are
    read at the class that it predicts. Else it learns from all rows, those that calibrate
    included, since no p-value depends on it, and members are read at their best class.

    ``score_samples`` is the logarithm of the p-value, joined by straight lines between the
    calibration rows (never below the logarithm of ``p_values`` there), and below the most
    outlying of them extrapolated by a generalised Pareto tail: beyond
    ``1 / (n_calibration_ + 1)`` it ranks, and promises nothing. Rows more typical than all
    calibration rows have 0. Members are scored on the same scale, so that a far row counts
    for more than one just outside.

    ``confidence`` is ``log p_max - log(1 + pi / (1 - pi) * f(u))`` with pi the
    ``outlier_share``, u the p-value, uniform on known rows, and ``f(u) = 0.05 * u ** -0.95``
    its density on unknown ones: Bayes' rule for refusing where answers to unknown rows are
    wrong [2]_. The p-values are those of [3]_ and [4]_.

    References
    ----------
    .. [1] V. Vovk et al., "Cross-conformal predictive distributions", COPA 2018; R. Barber et
       al., "Predictive inference with the jackknife+", AoS 2021.
    .. [2] H. Narasimhan, A. K. Menon, W. Jitkrittum and S. Kumar, "Plugin estimators for
       selective classification with out-of-distribution detection", ICLR 2024.
    .. [3] V. Vovk, A. Gammerman and G. Shafer, "Algorithmic learning in a random world", 2005.
    .. [4] S. Bates et al., "Testing for outliers with conformal p-values", AoS 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_ood import CombinedClassifier, GenerativeClassifier, NeighborDistance
    >>> X, y = load_iris(return_X_y=True)
    >>> pca, near = GenerativeClassifier("pca"), NeighborDistance()
    >>> members = [("confidence", "classifier"), ("pca", pca), ("neighbors", near)]
    >>> combined = CombinedClassifier(LogisticRegression(), members, random_state=0).fit(X, y)
    >>> far = X[:1] + 10
    >>> bool(combined.p_values(far)[0] == 1 / (combined.n_calibration_ + 1))
    True
    """

    classifier_: BaseEstimator | None = fitted()
    is_asked_: bool = fitted()
    members_: dict = fitted()
    calibration_indices_: np.ndarray = fitted()
    method_: str = fitted()
    weights_: np.ndarray = fitted()
    member_scales_: list = fitted()
    scale_: ConformalScale = fitted()
    reference_: ReferenceRows | None = fitted()

    _composed, _routes_to = "members", ("classifier",)
    __metadata_request__fit: ClassVar = {"sample_weight": None, "calibration_weight": None}
    _needs_labels = False

    classifier: Estimator | None = field(default=None, kw_only=False)
    members: list[tuple[str, Any]] | None = field(default=None, kw_only=False)
    method: Literal["fisher", "average", "cauchy", "min"] = "fisher"
    calibration: Literal["auto", "cross"] | Share | Rows = "auto"
    outlier_share: PartOrNone = 0.01
    input_shape: tuple[int, ...] | None = None
    n_jobs: int | None = None
    verbose: int = 0
    random_state: RandomState = None

    from_module = classmethod(from_module)

    def fit(self, X, y=None, **params):
        """Fit the classifier and the members, and calibrate them on rows held out.

        It is an error if there are too few rows to calibrate, a member has no score, or the
        classifier no probabilities or takes no weights. So few that no p-value is small, or a
        class that trained no member, are a warning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Frames are handed on as they are; images of a ``Dataset`` through a temporary file.
        y : array-like of shape (n_samples,), default=None
            Labels; None takes those of a dataset, and else is one class.
        **params : dict of str to array-like
            ``sample_weight``: how often there are such rows among new ones, in training and
            among rows that calibrate; ``calibration_weight`` for these alone. The classifier
            must take it, or be frozen; members get it where they, or a pipeline's last step,
            take it. Where scikit-learn routes metadata, each gets what it asks for.
        """
        self._validate_params()
        own, inside = self._route(**params)
        lessons, self.method_ = Lessons(self, X, y, inside, **own), self.method
        self.is_asked_, self.calibration_indices_ = lessons.is_asked, lessons.calibrating
        asked, self.members_ = model = lessons.model()
        self.weights_ = _members.weights_of(self.members_, are_default=self.members is None)
        self.member_scales_, self.scale_ = lessons.scales(model, self.weights_)
        self.classifier_, self.classes_ = lessons.answering(asked)
        self.reference_ = lessons.reference()
        lessons.warn_of_few(self.n_calibration_)
        return self

    @block_by_block
    def p_values(self, X):
        """How surprising each row would be, were it of the training distribution, (n_samples,).

        In ``[1 / (n_calibration_ + 1), 1]``; at most alpha for at most a share alpha (with
        "cross" about that) of rows that are exchangeable with the calibration rows.
        """
        typicality = self._typicality(self._log_p(self._validate_rows(X)))
        return self.scale_.p_values(typicality)

    def outliers_fdr(self, X, alpha: Share = 0.1):
        """Mask of the rows of a batch to call outliers, with few false alarms among them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        alpha : float in (0, 1), default=0.1
            Expected share of in-distribution rows among those called outliers, at most
            (Benjamini and Hochberg's procedure). To find any, ``n_calibration_`` must be about
            ``n_samples / (alpha * outliers)``.
        """
        check_arguments(self.outliers_fdr, {"alpha": alpha})
        return false_discovery_control(self.p_values(X)) <= alpha

    @block_by_block
    def member_p_values(self, X):
        """Each member's own p-value, (n_samples, n_members): which speaks against a row.

        Columns are in the order of ``members_``, each valid by itself.
        """
        scores = self._look(self._validate_rows(X))[1]
        return _conformal.on_scales(self.member_scales_, scores, "p_values")

    @block_by_block
    def member_score_samples(self, X):
        """Logarithm of each member's own p-value, extrapolated as in ``score_samples``."""
        return self._log_p(self._validate_rows(X))

    def explain(self, X):
        """Why rows of a table look strange: which member and which features speak against them.

        The :class:`Explanation` has frames with a line for each row;
        :class:`ExplanationDisplay` draws them. It is an error for images, and without pandas.
        """
        rows = self._validate_rows(X)
        if self.reference_ is None:
            raise ValueError(
                f"Got images of shape {self.input_shape_}, but expected a table, whose columns "
                "mean something by themselves; see InputGradientsDisplay for images."
            )
        return explained(self, self.reference_, rows)

    @block_by_block
    def confidence(self, X):
        return self._evidence_and_scores(self._validate_rows(X))[1]

    def answers_and_p_values(self, X):
        """``predict``, ``confidence``, ``p_values``, ``member_score_samples``, at one look."""
        return in_blocks(self._answers_and_p_values, X)

    @property
    def n_calibration_(self):
        """Rows that calibrate the combination; of weighted ones the sum of their weights."""
        return self.scale_.n_samples

    def _inside(self):
        return super()._inside() | _members.given(self.members)

    def _validate_params(self):
        super()._validate_params()
        _members.check_members(self.members)
        self._validate_names([name for name, _ in self.members or []])

    def _evidence(self, rows):
        return _members.class_log_proba(self.classifier_, rows)

    _log_proba = _evidence  # the evidence for a class is its log-probability

    def _scores(self, rows):
        return self.scale_.log_p(self._typicality(self._log_p(rows)))

    def _class_scores(self, rows, codes):
        return self._scores(rows)  # one score, whatever the class

    def _evidence_and_scores(self, rows):
        """The evidence, and the confidence in its best class."""
        return self._judged(rows)[:2]

    def _answers_and_p_values(self, X):
        log_proba, confidence, typicality, members = self._judged(self._validate_rows(X))
        answers = self.classes_[log_proba.argmax(axis=1)]
        return answers, confidence, self.scale_.p_values(typicality), members

    @once
    def _judged(self, rows):
        """The evidence, the confidence in its best class, how typical, and why."""
        log_proba, scores = self._look(rows)
        log_proba = log_proba if self.is_asked_ else self._evidence(rows)
        members = _conformal.on_scales(self.member_scales_, scores)
        typicality = self._typicality(members)
        likely = log_proba.max(axis=1), self.scale_.log_p(typicality)
        return log_proba, log_right(*likely, self.outlier_share), typicality, members

    def _typicality(self, log_p):
        return -_conformal.combine(log_p, self.method_, self.weights_)

    def _log_p(self, rows):
        return _conformal.on_scales(self.member_scales_, self._look(rows)[1])

    def _look(self, rows):
        """Log-probabilities of the classes, if members ask for them, and members' scores."""
        return _members.look(self.classifier_ if self.is_asked_ else None, self.members_, rows)

    def _validate_rows(self, X):
        check_is_fitted(self)
        is_table = len(self.input_shape_) == 1
        return validate_rows(self, X, read_rows=_members.keep_table if is_table else None)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        asked = [get_tags(each).input_tags for each in self._inside().values()]
        tags.input_tags.allow_nan = all(each.allow_nan for each in asked)
        return tags
