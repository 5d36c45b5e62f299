"""Where do classifiers differ? Samples on the data's manifold that set them apart most."""

import reprlib
from dataclasses import field
from itertools import permutations
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_ood._parameters import RandomState, clone_completed, drawn_seed, forget
from sklearn_ood._response import fit_weights, fitted_by_weight
from sklearn_ood.base import Composition, OODClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.data._labels import class_means
from sklearn_ood.data._rows import validate_training_data
from sklearn_ood.generators import VAE, BaseGenerator, InterpolationGenerator
from sklearn_ood.gevaldi import _climbing, _samples
from sklearn_ood.gevaldi._regions import find_regions
from sklearn_ood.metrics._blocks import differs, labels_for

TABLE_MAX_FEATURES = 64


class GeValDi(Composition, _climbing.Climbing):
    """Compare classifiers where they differ most, and answer together where they agree.

    A generator's latents climb the divergence of the classifiers' predictions: what they
    generate at the top lies on the data's manifold and shows where the classifiers differ,
    without validation data (V. Palaniappan et al., "GeValDi: generative validation of
    discriminative models", ICLR 2023 tiny papers, eq. 2 and Algorithm 1, with its log prior).
    As an estimator it is the consensus of its members, as confident as they agree.

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

    Notes
    -----
    ``predict_proba`` is the mean of the members', ``decision_function`` its logarithm, and
    ``score_samples`` minus the members' divergence at x in nats: 0 where they agree (be it that
    a row is ambiguous), down to ``-log(n_members)`` for "js" and -36 for "kl".

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
    input_shape: Any = None
    n_jobs: int | None = None
    random_state: RandomState = None

    def fit(self, X=None, y=None, **params):
        """Fit clones of the members and of the generator; frozen ones are taken as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            May be left out, with y, where all are frozen.
        y : array-like of shape (n_samples,)
        **params : dict of str to array-like
            ``sample_weight``: how much each row counts, for the generator and for every
            member, which must take it unless it is frozen.
        """
        weight = self._weight_in(params)
        self._validate_params()
        named = self.estimators
        if named is None:
            deep = SoftmaxClassifier(hidden_layer_sizes=(64, 64))
            named = [("wide", SoftmaxClassifier()), ("deep", deep)]
        names = names_of(named)
        self._validate_names(names)
        (rows, codes, weight), classes = self._training_rows(named, X, y, weight)
        labels = None if X is None else classes[codes]
        self._constraints()  # raises
        parts = [as_estimator(*pair, classes, self.input_shape_) for pair in named]
        is_small = self.n_features_in_ <= TABLE_MAX_FEATURES
        default = InterpolationGenerator() if is_small else VAE()
        parts.append(default if self.generator is None else self.generator)
        rng = check_random_state(self.random_state)
        completion = {"input_shape": self.input_shape_, "random_state": rng}
        learned = rows, labels, weight
        *members, generator = fit_clones(parts, *learned, n_jobs=self.n_jobs, **completion)
        classes = members[0].classes_ if X is None else classes
        check_fitted(names, members, generator, classes, self.n_features_in_)
        self.input_shape_ = image_shape(members) or self.input_shape_
        self.estimator_names_, self.estimators_, self.generator_ = names, members, generator
        self.optimizer_ = _climbing.resolve_optimizer(self.optimizer, members, generator)
        self.class_means_ = None if X is None else class_means(rows, codes)
        self.classes_ = classes
        return self

    def disagreement_matrix(
        self, n_samples=100, *, X=None, random_state=None
    ) -> _samples.Disagreement:
        """How far every member can be set apart from every other, in both orders of KL.

        By ``n_samples`` that climb for each ordered pair, from where ``random_state`` says,
        unless these are compared on rows X.
        """
        check_is_fitted(self)
        names, asked = self.estimator_names_, None
        if X is not None:
            asked = _climbing.log_proba(self.estimators_, self._validate_rows(X))
        seed = drawn_seed(random_state)
        divergence, different = np.zeros((2, len(names), len(names)))
        for pair in permutations(range(len(names)), 2):
            if asked is None:
                settings = {"divergence": "kl", "random_state": seed}
                of_pair = [names[member] for member in pair]
                found = self.maximally_different_samples(n_samples, pair=of_pair, **settings)
            log_proba = found.end.log_proba if asked is None else asked[list(pair)]
            first, second = log_proba.argmax(axis=2)
            divergence[pair] = _climbing.kl_divergence(torch.from_numpy(log_proba)).mean()
            different[pair] = (first != second).mean()
        return _samples.Disagreement(names, divergence, different)

    def compare_accuracy(self, samples, X, y, **options):
        """Which member is really better where they differ: on the real rows nearest there.

        Parameters
        ----------
        samples : DifferentSamples
        X, y
            Real rows that no member was fitted to, and their labels. Those are judged that are
            nearest to a sample, in units of the features' standard deviations; each counts
            once.
        **options
            As for :meth:`DifferentSamples.compare_accuracy`, which returns the same.
        """
        check_is_fitted(self)
        rows = self._validate_rows(X)
        truth = labels_for(self, y, len(rows))
        nearest = _samples.nearest_rows(samples.end.samples, rows)
        members = [self.named_estimators_[name] for name in samples.names]
        answers = self.classes_[_climbing.log_proba(members, rows[nearest]).argmax(axis=2)]
        correct = ~differs(truth[nearest], answers)
        return _samples.compare_accuracy(correct, samples.names, **options)

    def failure_regions(self, samples, *, space="auto", min_samples=10, eps=None):
        """Clusters of different samples: what kinds of input the members cannot settle.

        They are a list of :class:`FailureRegion`, the largest first.

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
        """
        check_is_fitted(self)
        options = {"space": space, "min_samples": min_samples, "eps": eps}
        return find_regions(samples, self.generator_, **options)

    def refit_with(self, samples, X, y, *, evaluate=None):
        """A :class:`Refit` of the members with different samples as further training rows.

        A sample's label is the class that it was generated for. Whether the ascent helped shows
        beside ``refit_with(dataclasses.replace(samples, end=samples.start), X, y)``.

        Parameters
        ----------
        samples : DifferentSamples
        X, y
            The training rows and their labels.
        evaluate : dict of str to (X, y), default=None
            On which the consensus is judged before and after: test rows, fresh samples.
        """
        check_is_fitted(self)
        refitted = clone(self)
        data = validate_training_data(refitted, X, y)
        rows, codes, _ = data.known
        rows = np.concatenate([rows, samples.end.samples])
        labels = np.concatenate([data.classes[codes], samples.condition()])
        members = fit_clones(self.estimators_, rows, labels, n_jobs=self.n_jobs)
        frozen = zip(self.estimator_names_, map(FrozenEstimator, members), strict=True)
        generator = FrozenEstimator(self.generator_)
        refitted.set_params(estimators=list(frozen), generator=generator).fit(X, y)
        before, after = (
            {name: float(each.score(*rows)) for name, rows in (evaluate or {}).items()}
            for each in (self, refitted)
        )
        return _samples.Refit(refitted, before, after)

    def _evidence_and_scores(self, rows):
        each = _climbing.log_proba(self.estimators_, rows)
        apart = _climbing.resolve_divergence(self.divergence)(torch.from_numpy(each))
        return np.logaddexp.reduce(each, axis=0) - np.log(len(each)), -apart.double().numpy()

    def _evidence(self, rows):
        return self._evidence_and_scores(rows)[0]

    def _class_scores(self, rows, codes):
        return self._scores(rows)

    def _training_rows(self, named, X, y, weight):
        """Known rows and classes; no rows where none are given and all parts are frozen."""
        if X is not None:
            data = validate_training_data(self, X, y, sample_weight=weight)
            return data.known, data.classes
        check_frozen([*named, ("generator", self.generator)])
        if weight is not None:
            raise TypeError("Got sample_weight without X, but it weighs rows; leave it out.")
        forget(self)
        self.n_features_in_ = self.generator.n_features_in_
        self.input_shape_ = tuple(self.input_shape or (self.n_features_in_,))
        return (None, None, None), self.generator.classes_


def names_of(estimators):
    """The names of a list of named members, or an error that says what is wrong with it."""
    try:
        names = [name for name, _ in estimators]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Got estimators={estimators!r}, but expected a list of (name, classifier)."
        ) from error
    if len(names) < 2:
        raise ValueError(
            f"Got estimators with {len(names)} classifier(s), but at least two are needed to "
            "differ; for the doubts of a single one use SelectiveClassifier."
        )
    return names


def check_frozen(parts):
    """Raise unless members and generator, pairs of a name and a part, need no data."""
    done = FrozenEstimator | nn.Module
    to_fit = [name for name, part in parts if not isinstance(part, done)]
    if to_fit:
        raise ValueError(
            f"Got X=None, but {to_fit} have to be fitted; pass X and y, or put what is fitted "
            "into sklearn.frozen.FrozenEstimator."
        )
    check_is_fitted(dict(parts)["generator"])


def as_estimator(name, member, classes, input_shape):
    """A torch module as a frozen classifier of inputs of a shape; all else as it is."""
    if not isinstance(member, nn.Module):
        return member
    if classes is None:
        raise ValueError(
            f"Got the module {name!r}, but neither the generator nor y says which classes its "
            "outputs are; pass SoftmaxClassifier.from_module(module, classes, input_shape)."
        )
    return FrozenEstimator(SoftmaxClassifier.from_module(member, classes, input_shape))


def fit_clones(estimators, rows, labels, weight=None, *, n_jobs=None, **completion):
    """Classifiers and generators: clones, completed and fitted, or what was frozen."""
    to_fit = [each for each in estimators if not isinstance(each, FrozenEstimator)]
    clones = [clone_completed(each, **completion) for each in to_fit]
    fits = (delayed(_fit)(each, rows, labels, weight) for each in clones)
    fitted = iter(Parallel(n_jobs=n_jobs)(fits))
    return [
        _inside(each) if isinstance(each, FrozenEstimator) else next(fitted)
        for each in estimators
    ]


def image_shape(members):
    """The shape of images that some member takes, or None."""
    shapes = [tuple(getattr(member, "input_shape_", ())) for member in members]
    return next((shape for shape in shapes if len(shape) == 3), None)


def check_fitted(names, members, generator, classes, n_features):
    """Raise unless all are for the same inputs and classes, and have what is compared."""
    if not isinstance(generator, BaseGenerator):
        raise TypeError(
            f"Got generator={generator!r}, but expected one from sklearn_ood.generators; a "
            "trained network goes into PretrainedGenerator."
        )
    for name, member in zip(names, members, strict=True):
        if not hasattr(member, "predict_proba"):
            raise TypeError(
                f"Got the classifier {name!r} ({type(member).__name__}) without predict_proba, "
                "but probabilities are compared; wrap it in CalibratedClassifierCV."
            )
        if not np.array_equal(member.classes_, classes):
            raise ValueError(
                f"Got the classifier {name!r} with classes_={_shown(member.classes_)}, but "
                f"expected {_shown(classes)}; all classifiers must know the same classes."
            )
    for name, part in zip([*names, "generator"], [*members, generator], strict=True):
        own = getattr(part, "n_features_in_", n_features)
        if own != n_features:
            raise ValueError(
                f"Got {name!r} for {own} features, but expected {n_features}; all classifiers "
                "and the generator must be for the same inputs."
            )
    unknown = [] if generator.classes_ is None else np.setdiff1d(generator.classes_, classes)
    if len(unknown):
        raise ValueError(
            f"Got a generator of the classes {_shown(unknown)}, but the classifiers know "
            f"{_shown(classes)}; it may generate no others."
        )


def _inside(frozen):
    """The fitted estimator that is frozen."""
    check_is_fitted(frozen.estimator)
    return frozen.estimator


def _fit(estimator, rows, labels, weight):
    """Fitted to rows in the precision that it computes in."""
    if weight is not None and not fit_weights(estimator, weight):
        raise TypeError(
            f"Got sample_weight, but {type(estimator).__name__} takes none in fit; freeze it "
            "(FrozenEstimator), fitted, or compare another classifier."
        )
    single = isinstance(estimator, OODClassifier | BaseGenerator)
    rows = rows if single else rows.astype(np.float64)
    return fitted_by_weight(estimator, rows, labels, weight)


def _shown(classes):
    return reprlib.repr(np.asarray(classes).tolist())
