"""Where do classifiers differ? Samples on the data's manifold that set them apart most."""

from copy import copy
from numbers import Integral

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_ood.base import Composition, OODClassifier
from sklearn_ood.classifiers._softmax import SoftmaxClassifier
from sklearn_ood.data._rows import forget, validate_rows, validate_training_data
from sklearn_ood.generators import VAE, GaussianMixtureGenerator
from sklearn_ood.gevaldi._checks import (
    check_generator,
    check_member,
    check_names,
    check_parameters,
)
from sklearn_ood.gevaldi._disagreement import Disagreement, Refit, accuracy_of, kl_matrix
from sklearn_ood.gevaldi._divergence import resolve_divergence
from sklearn_ood.gevaldi._members import (
    class_means,
    climb,
    fit_clones,
    fitted_member,
    is_differentiable,
    log_proba,
)
from sklearn_ood.gevaldi._regions import find_regions
from sklearn_ood.gevaldi._samples import DifferentSamples
from sklearn_ood.nets._evaluation import device_of
from sklearn_ood.search._ascent import likeliest

MIXTURE_MAX_FEATURES = 64


class GeValDi(Composition, OODClassifier):
    """Compare classifiers where they differ most, and answer together where they agree.

    A generator's latents climb the divergence of the classifiers' predictions: what they
    generate at the top lies on the data's manifold and shows where the classifiers differ,
    without validation data. As an estimator it is the consensus of its members, as
    confident as they agree.

    Parameters
    ----------
    estimators : list of (str, classifier), default=None
        At least two, with ``predict_proba``. Members with gradients (this package's networks,
        torch modules) are climbed along them, any other by evolution. With ``prefit=True`` a
        torch module that returns logits may stand for a classifier. None is a wide and a
        deep network.
    generator : generator or None, default=None
        From `sklearn_ood.generators`. None is a Gaussian mixture a class for up to 64
        features, a `VAE` for more.
    divergence : {"js", "kl"} or callable, default="js"
        What is maximised: the Jensen-Shannon divergence of all members, or the
        Kullback-Leibler divergence of the first from the second (of more than two: the mean
        over ordered pairs). A callable maps log-probabilities, a float64 tensor of shape
        (n_members, n_samples, n_classes), to one number a sample.
    prior_weight : float >= 0, default=0.0
        Weight of the latent's log prior in the objective: more pulls samples towards the
        prior's mode, all the way where the members agree too surely for a gradient.
    prior_mass : float in (0, 1], default=0.9
        Latents start and stay among the likeliest ones, which hold this share of the prior:
        for a normal prior in a ball around its mode. This is what keeps samples on the data's
        manifold; with 1 a positive `prior_weight` has to.
    optimizer : {"auto", "adam", "sgd", "evolution"}, default="auto"
        "sgd" is the plain gradient step of [1]_, "adam" scales it coordinate by coordinate,
        "evolution" needs no gradients. "auto" is "adam" where members and generator are
        differentiable, else "evolution".
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
    prefit : bool, default=False
        Whether members and generator are fitted already and taken as they are. `fit` may be
        called without data then.
    input_shape : tuple (C, H, W), default=None
        Shape of one image, for flat rows that are images.
    ood_label : label, default=None
        Rows of ``y`` with this label are known outliers; they are left out.
    n_jobs : int or None, default=None
        Members fitted at the same time.
    random_state : int, RandomState instance or None, default=None
        Seeds the members and the generator that have no ``random_state`` of their own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    estimators_ : list of classifiers
        The fitted members.
    estimator_names_ : list of str
    named_estimators_ : Bunch
        The same by name.
    generator_ : generator
    optimizer_ : str
        What "auto" has chosen.
    class_means_ : ndarray of shape (n_classes, n_features), or None
        Mean of each class's training rows; None where `fit` saw no data.
    n_features_in_ : int
    input_shape_ : tuple of int

    Notes
    -----
    ``predict_proba`` is the mean of the members', ``decision_function`` its logarithm, and
    ``score_samples`` minus the members' divergence at x in nats: 0 where they agree, down to
    ``-log(n_members)`` for "js" and -36 for "kl". The score is that of the members'
    agreement, not the largest evidence: members may agree that a row is ambiguous.

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
    >>> gevaldi = GeValDi(members, generator, n_steps=10, random_state=0).fit(X, y)
    >>> found = gevaldi.maximally_different_samples(20, random_state=0)
    >>> bool(found.divergence.mean() > 2 * found.start_divergence.mean())
    True
    """

    def __init__(
        self,
        estimators=None,
        generator=None,
        *,
        divergence="js",
        prior_weight=0.0,
        prior_mass=0.9,
        optimizer="auto",
        lr=0.05,
        n_steps=100,
        n_starts=1,
        population_size=20,
        step_size=0.5,
        prefit=False,
        input_shape=None,
        ood_label=None,
        n_jobs=None,
        random_state=None,
    ):
        self.estimators = estimators
        self.generator = generator
        self.divergence = divergence
        self.prior_weight = prior_weight
        self.prior_mass = prior_mass
        self.optimizer = optimizer
        self.lr = lr
        self.n_steps = n_steps
        self.n_starts = n_starts
        self.population_size = population_size
        self.step_size = step_size
        self.prefit = prefit
        self.input_shape = input_shape
        self.ood_label = ood_label
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X=None, y=None):
        """Fit clones of the members and of the generator, or take them as they are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            May be left out, with y, where ``prefit=True``.
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        check_parameters(self)
        data = self._validate(X, y)
        named = self._default_members() if self.estimators is None else self.estimators
        names = check_names(named, self.get_params(deep=False))
        members, generator = (
            self._take(named, data) if self.prefit else self._train(named, data)
        )
        self._check_together(names, members, generator)
        self.estimator_names_, self.estimators_, self.generator_ = names, members, generator
        self.optimizer_ = self._resolve_optimizer()
        self.class_means_ = None if data is None else class_means(data)
        self.classes_ = members[0].classes_ if data is None else data.classes
        return self

    @property
    def named_estimators_(self):
        """The fitted members by name."""
        return Bunch(**dict(zip(self.estimator_names_, self.estimators_, strict=True)))

    def maximally_different_samples(
        self, n_samples=100, *, pair=None, y=None, random_state=None
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
        random_state : int, RandomState instance or None, default=None
            Determines where the ascent starts and evolution's proposals.

        Returns
        -------
        DifferentSamples
        """
        check_is_fitted(self)
        names, members = self._members(pair)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"Got n_samples={n_samples!r}, but expected a whole number >= 1.")
        rng, generator = check_random_state(random_state), self.generator_
        codes = self._condition(n_samples, y, rng)
        repeated = np.repeat(codes, self.n_starts)
        project = likeliest(generator.prior, self.prior_mass, generator.latent_dim_)
        drawn = torch.from_numpy(generator.draw_latents(len(repeated), rng))
        start = project(drawn.to(device_of(generator.core_)))
        ascent = climb(self, members, start, repeated, project, rng)
        kept = ascent.objective.view(n_samples, self.n_starts).argmax(1)
        kept = kept + self.n_starts * torch.arange(n_samples, device=kept.device)
        return DifferentSamples.from_ascent(
            ascent, start, kept, names, members, generator, codes, self
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
        if X is not None:
            return kl_matrix(
                self.estimator_names_, log_proba(self.estimators_, validate_rows(self, X))
            )
        seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        pairwise = copy(self)
        pairwise.divergence = "kl"
        return Disagreement.of_pairs(
            self.estimator_names_,
            lambda pair: pairwise.maximally_different_samples(
                n_samples, pair=pair, random_state=seed
            ),
        )

    def failure_regions(
        self, samples, *, method="dbscan", space="auto", min_samples=10, eps=None
    ):
        """Clusters of different samples: what kinds of input the members cannot settle.

        Parameters
        ----------
        samples : DifferentSamples
        method : {"dbscan", "hdbscan"}, default="dbscan"
        space : {"auto", "latent", "probability", "input"}, default="auto"
            Where samples are near each other: in their latents, in the members'
            probabilities (square roots, so that distances are Hellinger's), or as inputs on
            their first 20 principal components. "auto" is "latent" where all classes share
            one latent space, as in a conditional network; with a generator for each class a
            latent means something else in each, and "auto" is "probability".
        min_samples : int >= 2, default=10
            Neighbours that make a dense point; the smallest region of "hdbscan".
        eps : float, default=None
            Radius of "dbscan"; None chooses one from a grid by silhouette times the share of
            the samples in a cluster.

        Returns
        -------
        list of FailureRegion
            The largest first.
        """
        shared = getattr(self.generator_, "conditional", self.generator_.n_classes_ == 1)
        if space == "auto":
            space = "latent" if shared else "probability"
        return find_regions(samples, method, space, min_samples, eps)

    def refit_with(self, samples, X, y, *, evaluate=None):
        """Fit the members again with different samples as further training rows.

        The generator stays as it is. A sample's label is the class that it was generated for.

        Parameters
        ----------
        samples : DifferentSamples
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            The training rows.
        y : array-like of shape (n_samples,)
        evaluate : dict of str to (X, y), default=None
            Labelled rows on which the consensus is judged before and after: test rows, fresh
            samples.

        Returns
        -------
        Refit
            The estimator, and its accuracies before and after.
        """
        check_is_fitted(self)
        data = validate_training_data(clone(self), X, y)
        rows, codes = data.in_distribution
        rows = np.concatenate([rows, samples.samples]).astype(np.float32)
        labels = np.concatenate([data.classes[codes], samples.condition()])
        refitted = copy(self)
        refitted.estimators_ = fit_clones(self.estimators_, rows, labels, n_jobs=self.n_jobs)
        judged = dict(evaluate or {})
        return Refit(refitted, accuracy_of(self, judged), accuracy_of(refitted, judged))

    def _evidence(self, rows):
        return self._log_proba(rows)

    def _log_proba(self, rows):
        return np.logaddexp.reduce(log_proba(self.estimators_, rows), axis=0) - np.log(
            len(self.estimators_)
        )

    def _scores(self, rows):
        predictions = torch.from_numpy(log_proba(self.estimators_, rows))
        return -resolve_divergence(self.divergence)(predictions).double().numpy()

    def _validate(self, X, y):
        if X is not None or not self.prefit:
            return validate_training_data(self, X, y)
        forget(self)
        return None

    def _default_members(self):
        deep = SoftmaxClassifier(hidden_layer_sizes=(64, 64))
        return [("wide", SoftmaxClassifier()), ("deep", deep)]

    def _train(self, named, data):
        """Clones of members and generator, fitted to the in-distribution rows."""
        rows, codes = data.in_distribution
        labels = data.classes[codes]
        generator = self.generator
        if generator is None:
            small = rows.shape[1] <= MIXTURE_MAX_FEATURES
            generator = GaussianMixtureGenerator() if small else VAE()
        *members, generator = fit_clones(
            [*(member for _, member in named), generator],
            rows,
            labels,
            input_shape=data.input_shape,
            random_state=check_random_state(self.random_state),
            n_jobs=self.n_jobs,
        )
        return members, generator

    def _take(self, named, data):
        """Members and generator as they are; their widths and shapes are then ours."""
        generator = self.generator
        check_generator(generator)
        self.n_features_in_ = generator.n_features_in_ if data is None else data.rows.shape[1]
        classes = generator.classes_ if data is None else data.classes
        known = [self.input_shape, None if data is None else data.input_shape]
        known += [getattr(member, "input_shape_", None) for _, member in named]
        images = [shape for shape in known if shape is not None and len(shape) == 3]
        self.input_shape_ = tuple(images[0]) if images else (self.n_features_in_,)
        members = [fitted_member(*pair, classes, self.input_shape_) for pair in named]
        return members, generator

    def _check_together(self, names, members, generator):
        classes = members[0].classes_
        for name, member in zip(names, members, strict=True):
            check_member(name, member, classes, self.n_features_in_)
        check_generator(generator, classes, self.n_features_in_)

    def _resolve_optimizer(self):
        smooth = self.generator_.is_differentiable and all(
            is_differentiable(member) for member in self.estimators_
        )
        if self.optimizer in ("adam", "sgd") and not smooth:
            raise ValueError(
                f"Got optimizer={self.optimizer!r}, but a member or the generator has no "
                "gradients; use 'evolution', or 'auto' to have it chosen."
            )
        return (
            ("adam" if smooth else "evolution") if self.optimizer == "auto" else self.optimizer
        )

    def _members(self, pair):
        """Names and estimators to set apart."""
        if pair is None:
            return self.estimator_names_, self.estimators_
        names = list(pair)
        known = self.named_estimators_
        if len(names) != 2 or names[0] == names[1] or not set(names) <= set(known):
            raise ValueError(
                f"Got pair={pair!r}, but expected the names of two different members from "
                f"{self.estimator_names_}."
            )
        return names, [known[name] for name in names]

    def _condition(self, n_samples, y, rng):
        """Position of each sample's class among those of the generator."""
        generator = self.generator_
        if y is None:
            return rng.permutation(np.arange(n_samples) % generator.n_classes_)
        return generator.class_index(y, n_samples)
