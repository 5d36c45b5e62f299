"""Where do classifiers differ? Samples on the data's manifold that set them apart most."""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood._parameters import (
    Count,
    Natural,
    NonNegative,
    Positive,
    RandomState,
    fitted,
    forget,
)
from sklearn_ood.base import Composition, OODClassifier
from sklearn_ood.data._labels import check_same_kind
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.gevaldi import _comparison, _divergence, _members
from sklearn_ood.gevaldi._regions import find_regions
from sklearn_ood.gevaldi._samples import DifferentSamples, Snapshot
from sklearn_ood.metrics._blocks import as_labels, differs
from sklearn_ood.search._ascent import identity
from sklearn_ood.search._constraints import ColumnConstraints


class GeValDi(Composition, OODClassifier):
    """Compare classifiers where they differ most, and answer together where they agree.

    A generator's latents climb the divergence of the classifiers' predictions: what they
    generate at the top lies on the data's manifold and shows where the classifiers differ,
    without validation data. As an estimator it is the consensus of its members, as
    confident as they agree.

    Parameters
    ----------
    estimators : list of (str, classifier), default=None
        At least two, with ``predict_proba``; None is a wide and a deep network. One in
        :class:`~sklearn.frozen.FrozenEstimator` is taken as it is, as is a torch module, which
        returns logits. Those without gradients are climbed by evolution.
    generator : generator or None, default=None
        From :mod:`sklearn_ood.generators`, frozen or not. None is an
        :class:`~sklearn_ood.generators.InterpolationGenerator`, which keeps to the data, for
        up to 64 features, a :class:`~sklearn_ood.generators.VAE` for more.
    divergence : {"js", "kl"} or callable, default="js"
        What is maximised: the Jensen-Shannon divergence of all members, or the
        Kullback-Leibler divergence of the first from the second (of more than two: the mean
        over ordered pairs). A callable maps log-probabilities, a float64 tensor (n_members,
        n_samples, n_classes), to one number a sample.
    prior_weight : float >= 0, default=0.0
        Weight of the latent's log prior in the objective: more pulls samples towards the
        prior's mode, all the way where the members agree too surely for a gradient.
    prior_mass : float in (0, 1], default=0.9
        Latents start and stay among the likeliest ones, which hold this share of the prior:
        this keeps samples on the data's manifold; with 1 a positive ``prior_weight`` has to.
    optimizer : {"auto", "adam", "sgd", "evolution"}, default="auto"
        "sgd" is the plain gradient step of [1]_, "adam" scales it coordinate by coordinate.
        "auto" is "adam" where members and generator are differentiable, else "evolution".
    lr : float > 0, default=0.05
        Learning rate of "adam" and "sgd".
    n_steps : int >= 0, default=100
        Steps of the ascent.
    n_starts : int >= 1, default=1
        Latents that climb for each sample; the one with the highest objective is kept.
    population_size : int >= 4, default=20
        "evolution": proposals in each step for each latent.
    step_size : float > 0, default=0.5
        "evolution": standard deviation of the first proposals.
    constraints : dict, default=None
        What samples keep to, by names or positions of columns: ``"integer"``, a list of them;
        ``"range"``, a dict of (low, high); ``"one_hot"``, a list of groups, in which one is 1
        and the others are 0; ``"fixed"``, a dict of values. Samples are the nearest such rows
        to generations; gradients pass.
    input_shape : tuple (C, H, W), default=None
        Shape of one image, for flat rows that are images.
    ood_label : label, default=None
        Rows of ``y`` with this label are known outliers; they are left out.
    n_jobs : int or None, default=None
        Members fitted at the same time.
    random_state : int, RandomState instance or None, default=None
        For members and a generator that have no ``random_state`` of their own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_, estimator_names_ : list of classifiers, list of str
        The fitted members.
    named_estimators_ : Bunch
        The same by name.
    generator_ : generator
    optimizer_ : str
    class_means_ : ndarray of shape (n_classes, n_features), or None
        Mean of each class's training rows; None where ``fit`` saw no data.
    n_features_in_ : int
    input_shape_ : tuple of int

    Notes
    -----
    ``predict_proba`` is the mean of the members', ``decision_function`` its logarithm, and
    ``score_samples`` minus the members' divergence at x in nats: 0 where they agree (be it that
    a row is ambiguous), down to ``-log(n_members)`` for "js" and -36 for "kl".

    References
    ----------
    .. [1] V. Palaniappan et al., "GeValDi: generative validation of discriminative models",
       ICLR 2023 tiny papers, eq. 2 and Algorithm 1 (with the log prior of eq. 2).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn_ood import GeValDi
    >>> from sklearn_ood.generators import GaussianMixtureGenerator
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("linear", LogisticRegression(max_iter=500)), ("bayes", GaussianNB())]
    >>> generator = GaussianMixtureGenerator(1)
    >>> gevaldi = GeValDi(members, generator=generator, n_steps=10, random_state=0)
    >>> found = gevaldi.fit(X, y).maximally_different_samples(20, random_state=0)
    >>> bool(found.end.divergence.mean() > 2 * found.start.divergence.mean())
    True
    """

    estimators: Any = field(default=None, kw_only=False)
    generator: BaseEstimator | None = None
    divergence: Literal["js", "kl"] | Annotated[Callable, callable] = "js"
    prior_weight: NonNegative = 0.0
    prior_mass: Annotated[float, Interval(Real, 0, 1, closed="right")] = 0.9
    optimizer: Literal["auto", "adam", "sgd", "evolution"] = "auto"
    lr: Positive = 0.05
    n_steps: Natural = 100
    n_starts: Count = 1
    population_size: Annotated[int, Interval(Integral, 4, None, closed="left")] = 20
    step_size: Positive = 0.5
    constraints: dict | None = None
    input_shape: Any = None
    ood_label: Any = None
    n_jobs: int | None = None
    random_state: RandomState = None

    estimator_names_: list = fitted()
    estimators_: list = fitted()
    generator_: BaseEstimator = fitted()
    optimizer_: str = fitted()
    class_means_: np.ndarray | None = fitted()

    def fit(self, X=None, y=None):
        """Fit clones of the members and of the generator; frozen ones are taken as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            May be left out, with y, where all are frozen.
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        self._validate_params()
        named = _members.default_members() if self.estimators is None else self.estimators
        names = _members.names_of(named)
        self._validate_names(names)
        rows, labels, classes = self._training_rows(named, X, y)
        self._constraints()  # raises
        parts = [_members.as_estimator(*pair, classes, self.input_shape_) for pair in named]
        default = _members.default_generator(self.n_features_in_)
        parts.append(default if self.generator is None else self.generator)
        rng = check_random_state(self.random_state)
        completion = {"input_shape": self.input_shape_, "random_state": rng}
        *members, generator = _members.fit_clones(
            parts, rows, labels, n_jobs=self.n_jobs, **completion
        )
        classes = members[0].classes_ if X is None else classes
        _members.check_fitted(names, members, generator, classes, self.n_features_in_)
        self.input_shape_ = _members.image_shape(members) or self.input_shape_
        self.estimator_names_, self.estimators_, self.generator_ = names, members, generator
        self.optimizer_ = _divergence.resolve_optimizer(self.optimizer, members, generator)
        self.class_means_ = None if X is None else _members.class_means(rows, labels, classes)
        self.classes_ = classes
        return self

    @property
    def named_estimators_(self):
        """The fitted members by name."""
        return Bunch(**dict(zip(self.estimator_names_, self.estimators_, strict=True)))

    def maximally_different_samples(
        self, n_samples=100, *, pair=None, y=None, divergence=None, random_state=None
    ):
        """Generate samples on which the members differ most.

        Parameters
        ----------
        n_samples : int >= 1, default=100
        pair : tuple of two str, default=None
            Names of the members to set apart, in the order in which "kl" takes them; None is
            all of them.
        y : label or array-like of shape (n_samples,), default=None
            Class whose generator is climbed; None takes all in equal shares.
        divergence : {"js", "kl"} or callable, default=None
            None is the parameter ``divergence``.
        random_state : int, RandomState instance or None, default=None
            Determines where the ascent starts and evolution's proposals.

        Returns
        -------
        DifferentSamples
        """
        check_is_fitted(self, "generator_")
        known, generator = self.named_estimators_, self.generator_
        names = list(known if pair is None else pair)
        if pair is not None and not len(names) == len(known.keys() & names) == 2:
            raise ValueError(
                f"Got pair={pair!r}, but expected two different members from {[*known]}."
            )
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"Got n_samples={n_samples!r}, but expected a whole number >= 1.")
        rng = check_random_state(random_state)
        if y is None:
            codes = rng.permutation(np.arange(n_samples) % generator.n_classes_)
        else:
            codes = generator.class_index(y, n_samples)
        compared = [known[name] for name in names]
        divergence = _divergence.resolve_divergence(divergence or self.divergence)
        ascent = _divergence.climb(self, compared, divergence, self._constraints(), codes, rng)
        log_proba = np.moveaxis(ascent.log_proba, 0, 2)

        def snapshot(step, z, x):
            seen = log_proba[step], generator.log_prior(z), ascent.divergence[:, step]
            return Snapshot(z, x.astype(np.float32), *seen, self.classes_)

        return DifferentSamples(
            start=snapshot(0, ascent.start, ascent.start_x),
            end=snapshot(-1, ascent.z, ascent.x),
            y=None if generator.classes_ is None else generator.classes_[codes],
            names=names,
            divergence_path=ascent.divergence.T,
            drift_path=ascent.drift.T,
            log_proba_path=log_proba,
            input_shape=self.input_shape_,
            class_means=self.class_means_,
        )

    def disagreement_matrix(self, n_samples=100, *, X=None, random_state=None):
        """How far every member can be set apart from every other, in both orders of KL.

        Parameters
        ----------
        n_samples : int >= 1, default=100
            Samples that climb for each ordered pair.
        X : array-like of shape (n_samples, n_features), default=None
            Compare on these rows instead.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Disagreement
        """
        check_is_fitted(self)
        names = self.estimator_names_
        if X is not None:
            predictions = _divergence.log_proba(self.estimators_, validate_rows(self, X))
            return _comparison.disagreement(names, lambda *pair: predictions[list(pair)])
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        climb = partial(self.maximally_different_samples, divergence="kl", random_state=seed)

        def at_the_top(a, b):
            return climb(n_samples, pair=(names[a], names[b])).end.log_proba

        return _comparison.disagreement(names, at_the_top)

    def compare_accuracy(self, samples, X, y, **options):
        """Which member is really better where they differ: on the real rows nearest there.

        Parameters
        ----------
        samples : DifferentSamples
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Real rows that no member was fitted to. Those are judged that are nearest to a
            sample, in units of the features' standard deviations; each counts once.
        y : array-like of shape (n_samples,)
            Their labels.
        **options
            As for :meth:`DifferentSamples.compare_accuracy`.

        Returns
        -------
        list of PairedAccuracy
            One a pair of the members that were set apart.
        """
        check_is_fitted(self)
        rows = validate_rows(self, X)
        truth = as_labels("y", y, len(rows))
        check_same_kind(truth, self.classes_)
        nearest = _comparison.nearest_rows(samples.end.samples, rows)
        members = [self.named_estimators_[name] for name in samples.names]
        answers = self.classes_[_divergence.log_proba(members, rows[nearest]).argmax(axis=2)]
        correct = ~differs(truth[nearest], answers)
        return _comparison.compare_accuracy(correct, samples.names, **options)

    def failure_regions(self, samples, *, space="auto", min_samples=10, eps=None):
        """Clusters of different samples: what kinds of input the members cannot settle.

        Parameters
        ----------
        samples : DifferentSamples
        space : {"auto", "latent", "probability", "input"}, default="auto"
            Where samples are near each other: in their latents, in the members'
            probabilities (square roots: Hellinger's distances), or as inputs on their first
            20 principal components. "auto" is "latent" where all classes share one latent
            space, as in a conditional network, else "probability".
        min_samples : int >= 2, default=10
            The smallest region; for DBSCAN, neighbours that make a dense point.
        eps : float > 0, default=None
            Radius of DBSCAN; None is HDBSCAN, which needs none.

        Returns
        -------
        list of FailureRegion
            The largest first.
        """
        options = {"space": space, "min_samples": min_samples, "eps": eps}
        return find_regions(samples, self.generator_, **options)

    def refit_with(self, samples, X, y, *, evaluate=None):
        """Fit the members again with different samples as further training rows.

        A sample's label is the class that it was generated for. Whether the ascent helped shows
        beside ``refit_with(dataclasses.replace(samples, end=samples.start), X, y)``.

        Parameters
        ----------
        samples : DifferentSamples
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            The training rows.
        y : array-like of shape (n_samples,)
        evaluate : dict of str to (X, y), default=None
            On which the consensus is judged before and after: test rows, fresh samples.

        Returns
        -------
        Refit
            The estimator, whose members are frozen, and the accuracies before and after.
        """
        check_is_fitted(self)
        refitted = clone(self)
        data = validate_training_data(refitted, X, y)
        rows, codes = data.in_distribution
        rows = np.concatenate([rows, samples.end.samples])
        labels = np.concatenate([data.classes[codes], samples.condition()])
        members = _members.fit_clones(self.estimators_, rows, labels, n_jobs=self.n_jobs)
        frozen = zip(self.estimator_names_, map(FrozenEstimator, members), strict=True)
        generator = FrozenEstimator(self.generator_)
        refitted.set_params(estimators=list(frozen), generator=generator).fit(X, y)
        before, after = (
            {name: float(each.score(*rows)) for name, rows in (evaluate or {}).items()}
            for each in (self, refitted)
        )
        return _comparison.Refit(refitted, before, after)

    def _constraints(self):
        """What moves rows to the nearest ones that are allowed."""
        names = getattr(self, "feature_names_in_", None)
        wanted, n_features = self.constraints, self.n_features_in_
        return ColumnConstraints(wanted, n_features, names) if wanted else identity

    def _evidence_and_scores(self, rows):
        each = _divergence.log_proba(self.estimators_, rows)
        apart = _divergence.resolve_divergence(self.divergence)(torch.from_numpy(each))
        return np.logaddexp.reduce(each, axis=0) - np.log(len(each)), -apart.double().numpy()

    def _evidence(self, rows):
        return self._evidence_and_scores(rows)[0]

    def _class_scores(self, rows, codes):
        return self._scores(rows)

    def _training_rows(self, named, X, y):
        """Rows, labels and classes; no rows where none are given and all parts are frozen."""
        if X is not None:
            data = validate_training_data(self, X, y)
            rows, codes = data.in_distribution
            return rows, data.classes[codes], data.classes
        _members.check_frozen([*named, ("generator", self.generator)])
        forget(self)
        self.n_features_in_ = self.generator.n_features_in_
        self.input_shape_ = tuple(self.input_shape or (self.n_features_in_,))
        return None, None, self.generator.classes_
