"""What classifiers say, how far that lies apart, and latents that climb it.

Predictions are log-probabilities of shape (n_members, n_samples, n_classes), in float64.
"""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Annotated, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sklearn_ood import _response
from sklearn_ood._optional import as_fitted
from sklearn_ood._parameters import (
    Count,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    called,
    drawn_seed,
    fitted,
)
from sklearn_ood.base import OODClassifier
from sklearn_ood.gevaldi._samples import DifferentSamples, Snapshot
from sklearn_ood.nets._evaluation import device_of, undisturbed
from sklearn_ood.search import _ascent
from sklearn_ood.search._constraints import ColumnConstraints

# A forest may give a class exactly zero: read as the smallest step that float64 can tell
# from one, it keeps every divergence finite.
MIN_LOG_PROBA = float(np.log(np.finfo(np.float64).eps))


def js_divergence(log_proba):
    """Jensen-Shannon divergence of the members, whatever their order, of each sample.

    ``mean_m KL(p_m || mean_m p_m)`` in nats, from 0 to log(n_members) (Lin, 1991).
    """
    log_proba = log_proba.clamp_min(MIN_LOG_PROBA)
    log_mean = torch.logsumexp(log_proba, 0) - float(np.log(len(log_proba)))
    return (log_proba.exp() * (log_proba - log_mean)).sum(-1).mean(0).clamp_min(0)


def kl_divergence(log_proba):
    """Kullback-Leibler divergence of the first from the second, of each sample.

    ``KL(p_1 || p_2)`` in nats, from 0 to 36; of more than two the mean over all ordered pairs.
    """
    log_proba = log_proba.clamp_min(MIN_LOG_PROBA)
    n_members = len(log_proba)
    proba = log_proba.exp()
    if n_members == 2:
        return (proba[0] * (log_proba[0] - log_proba[1])).sum(-1).clamp_min(0)
    # sum_{m != l} p_m (log p_m - log p_l), without the loop over pairs.
    own = n_members * (proba * log_proba).sum(0)
    crossed = proba.sum(0) * log_proba.sum(0)
    return ((own - crossed).sum(-1) / (n_members * (n_members - 1))).clamp_min(0)


DIVERGENCES = {"js": js_divergence, "kl": kl_divergence}


def resolve_divergence(divergence):
    """The function that a ``divergence`` parameter names, or is; what it says is checked."""
    if divergence in DIVERGENCES:
        return partial(_diverging, divergence, DIVERGENCES[divergence])
    if callable(divergence):
        return partial(_diverging, divergence, partial(called, "divergence", divergence))
    raise ValueError(
        f"Got divergence={divergence!r}, but expected one of {sorted(DIVERGENCES)} or a "
        "function from log-probabilities (n_members, n_samples, n_classes) to (n_samples,)."
    )


def _diverging(divergence, function, log_proba):
    values, n_samples = function(log_proba), log_proba.shape[1]
    gave = type(values).__name__
    if torch.is_tensor(values):
        n_wrong = int((~values.isfinite()).sum())
        if values.shape == (n_samples,) and not n_wrong:
            return values
        gave = f"shape {tuple(values.shape)}, NaN or infinite {n_wrong} times"
    raise ValueError(
        f"Got divergence={divergence!r}, which gave {gave}, but expected a tensor of shape "
        f"({n_samples},), one finite number a sample; look at the members' probabilities."
    )


def is_differentiable(classifier):
    return hasattr(classifier, "scored_network_")


def resolve_optimizer(optimizer, classifiers, generator):
    """What "auto" means for fitted members; an error where gradients are missing."""
    smooth = generator.core_.is_differentiable and all(map(is_differentiable, classifiers))
    if optimizer == "auto":
        return "adam" if smooth else "evolution"
    if optimizer != "evolution" and not smooth:
        raise ValueError(
            f"Got optimizer={optimizer!r}, but a member or the generator has no gradients; use "
            "'evolution' or 'auto'."
        )
    return optimizer


def log_proba(classifiers, rows):
    """Predictions of fitted classifiers, all with the same classes, for an array of rows."""
    # In float32 a linear model would compute in float32, where probabilities sum to 1 by eye.
    rows = np.asarray(rows, dtype=np.float64)
    return np.stack([_response.log_proba(each, as_fitted(each, rows)) for each in classifiers])


def log_proba_tensor(classifiers, x):
    """Predictions for a tensor of rows: with gradients, where every classifier has them."""
    if not all(map(is_differentiable, classifiers)):
        return torch.from_numpy(log_proba(classifiers, x.detach().cpu().numpy())).to(x.device)
    outputs = [each.scored_network_(x.to(each.net_.device))[0] for each in classifiers]
    return torch.stack([torch.log_softmax(each, dim=1).to(x.device) for each in outputs])


class Climbing(OODClassifier):
    """Of what finds the samples on which its members differ most.

    Parameters
    ----------
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
        "sgd" is the plain step of Algorithm 1, "adam" scales it coordinate by coordinate.
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

    Attributes
    ----------
    estimators_, estimator_names_ : list of classifiers, list of str
        The fitted members.
    named_estimators_ : Bunch
        The same by name.
    generator_ : generator
    optimizer_ : str
    class_means_ : ndarray of shape (n_classes, n_features), or None
        Mean of each class's training rows; None where ``fit`` saw no data.
    """

    divergence: Literal["js", "kl"] | Annotated[Callable, callable] = "js"
    prior_weight: NonNegative = 0.0
    prior_mass: PositiveShare = 0.9
    optimizer: Literal["auto", "adam", "sgd", "evolution"] = "auto"
    lr: Positive = 0.05
    n_steps: Natural = 100
    n_starts: Count = 1
    population_size: Annotated[int, Interval(Integral, 4, None, closed="left")] = 20
    step_size: Positive = 0.5
    constraints: dict | None = None

    estimator_names_: list = fitted()
    estimators_: list = fitted()
    generator_: BaseEstimator = fitted()
    optimizer_: str = fitted()
    class_means_: np.ndarray | None = fitted()

    @property
    def named_estimators_(self):
        """The fitted members by name."""
        return Bunch(**dict(zip(self.estimator_names_, self.estimators_, strict=True)))

    @undisturbed
    def maximally_different_samples(
        self, n_samples: int = 100, *, pair=None, y=None, divergence=None, random_state=None
    ) -> DifferentSamples:
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
        divergence = resolve_divergence(divergence or self.divergence)
        ascent = self._climb([known[name] for name in names], divergence, codes, rng)
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

    def _constraints(self):
        """What moves rows to the nearest ones that are allowed."""
        names = getattr(self, "feature_names_in_", None)
        wanted, n_features = self.constraints, self.n_features_in_
        return ColumnConstraints(wanted, n_features, names) if wanted else _ascent.identity

    def _climb(self, members, divergence, codes, rng):
        """How latents of the classes ``codes`` climb, each from the best of its starts."""
        keep = self._constraints()
        generator, core = self.generator_, self.generator_.core_
        repeated = np.repeat(codes, self.n_starts)
        project = _ascent.likeliest(core.prior, self.prior_mass, generator.latent_dim_)
        drawn = torch.from_numpy(generator.draw_latents(len(repeated), rng))
        start, evaluations = project(drawn.to(device_of(core))), 1
        moves = partial(_ascent.gradient_moves, lr=self.lr, method=self.optimizer_)
        if self.optimizer_ == "evolution":
            seed, evaluations = drawn_seed(rng), self.population_size
            size = {"population_size": evaluations, "step_size": self.step_size}
            proposals = torch.Generator(device=start.device).manual_seed(seed)
            moves = partial(_ascent.evolution_moves, rng=proposals, **size)
        predict, log_prior = partial(log_proba_tensor, members), generator.log_prior_tensor
        parts = predict, divergence, log_prior, self.prior_weight, project

        def of_chunk(z, labels):
            def generate(z):
                """What latents (..., m) generate; the first axis is that of ``labels``."""
                each = labels.repeat_interleave(z[0, ..., 0].numel())
                return keep(core.generate(z.flatten(0, -2), each)).view(*z.shape[:-1], -1)

            objective = _ascent.Objective(*parts, generate)
            return _ascent.ascend(moves, objective, z, n_steps=self.n_steps)

        floats = core.floats_per_latent * evaluations
        ascent = _ascent.in_chunks(of_chunk, start, floats_per_row=floats, codes=repeated)
        return ascent.best_of(self.n_starts).numpy()
