"""A Gaussian mixture a class, evaluated for all classes and components at once."""

import warnings
from dataclasses import field
from typing import Any, Literal

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_svd

from sklearn_ood._parameters import Count, Positive, RandomState, fitted
from sklearn_ood.data._labels import hold_out_each_class, rank_in_class
from sklearn_ood.data._rows import validate_rows
from sklearn_ood.generators._base import BaseGenerator, Core, learned

# Number of components and ridge: from a single, hardly smoothed Gaussian to many smooth ones.
CANDIDATES = ((1, 1e-6), (4, 1e-3), (4, 1e-2), (8, 1e-2), (16, 1e-2))
# A simpler candidate is kept unless a one-sided test at 5 % says that the best is better.
STANDARD_ERRORS = 1.645
ROWS_A_COMPONENT = 10
# Of more features the mixtures are in so many directions; the rest is isotropic noise.
MAX_DIRECTIONS = 64
# In standard deviations: its square does not overflow.
FARTHEST = 1e100


class MixtureCore(Core):
    """The components of all classes' mixtures in one list, in units of the features' spread.

    The sorted integers ``owner`` say of which class each component is. With fewer directions
    than features, beside them is isotropic noise, the same for all.
    """

    is_single = False

    def __init__(self, owner, n_features, n_directions):
        sizes = np.bincount(owner)
        super().__init__(len(sizes), n_features)
        n, d, r, self.width = len(owner), n_features, n_directions, int(sizes.max())
        self.floats_per_row = 4 * (n * r + d)
        first, place = np.cumsum(sizes) - sizes, rank_in_class(owner)
        self.keep(owner=owner, place=place, size=sizes[:, None], first=first[:, None])
        self.reserve(means=(n, r), weights=(n,), centre=(d,), scale=(d,))
        self.reserve(precision_root=(n, r, r), covariance_root=(n, r, r))
        self.is_reduced = r < d
        if self.is_reduced:
            self.reserve(directions=(r, d), noise_variance=())

    def decode(self, z):
        """The last latent picks a component by the normal quantiles of the weights."""
        quantile = torch.special.ndtr(z[..., -1].detach().double())
        passed = (quantile[..., None] > self._cumulated_weights()[:, None]).sum(-1)
        chosen = self.first + torch.minimum(passed, self.size - 1)
        root, mean = self.covariance_root[chosen].to(z), self.means[chosen].to(z)
        scaled = mean + (root @ z[..., :-1, None])[..., 0]
        if self.is_reduced:
            scaled = scaled @ self.directions.to(z)
        return self.centre.to(z) + self.scale.to(z) * scaled

    def encode(self, x):
        """The position in the likeliest component, and the middle of its quantiles."""
        n_classes, n, d = x.shape
        along = self._along(self._standardised(x.reshape(-1, d)))
        label = torch.arange(n_classes, device=x.device).repeat_interleave(n)
        other = self.owner[None] != label[:, None]
        chosen = self._component_log_density(along).masked_fill(other, -torch.inf).argmax(1)
        root = self.precision_root[chosen]
        position = torch.einsum("nd,nde->ne", along - self.means[chosen], root)
        upper = self._cumulated_weights()[self.owner[chosen], self.place[chosen]]
        quantile = torch.special.ndtri(upper - 0.5 * self.weights[chosen])
        z = torch.cat([position, quantile[:, None]], 1)
        return z.view(n_classes, n, -1).to(x)

    def log_density(self, x):
        scaled = self._standardised(x)
        along = self._along(scaled)
        component = self._component_log_density(along)
        of_class = self._by_class(component, -torch.inf).logsumexp(2)
        if self.is_reduced:
            n_left = scaled.shape[1] - along.shape[1]
            left = (scaled - along @ self.directions).square().sum(1) / self.noise_variance
            constant = n_left * (self.noise_variance.log() + float(np.log(2 * np.pi)))
            of_class = of_class - 0.5 * (left + constant)[:, None]
        return of_class - self.scale.log().sum()

    def _by_class(self, values, padding):
        """Values (n, n_mixtures) of the components as (n, K, width)."""
        padded = values.new_full((len(values), self.n_classes, self.width), padding)
        padded[:, self.owner, self.place] = values
        return padded

    def _cumulated_weights(self):
        return self._by_class(self.weights[None], 0.0)[0].cumsum(1).clamp_max(1.0)

    def _standardised(self, x):
        return ((x.double() - self.centre) / self.scale).clamp(-FARTHEST, FARTHEST)

    def _along(self, scaled):
        return scaled @ self.directions.T if self.is_reduced else scaled

    def _component_log_density(self, x):
        """Weighted log density of (n, d) rows under each component, in one matrix product."""
        d, root = x.shape[1], self.precision_root
        offset = torch.einsum("kd,kde->ke", self.means, root)
        white = (x @ root.permute(1, 0, 2).reshape(d, -1)).view(len(x), -1, d) - offset
        log_determinant = torch.diagonal(root, dim1=1, dim2=2).log().sum(1)
        constant = self.weights.log() + log_determinant
        return constant - 0.5 * (white.square().sum(2) + d * float(np.log(2 * np.pi)))


class GaussianMixtureGenerator(BaseGenerator):
    """Generate the rows of each class from a mixture of Gaussians.

    Every class has scikit-learn's ``GaussianMixture`` with full covariances. A latent is the
    position in a component, in units of its covariance, and one number more, which chooses
    the component by its weight; all are standard normal. A mixture generates every point of
    the space, so that its similarity to an input is a density. Of more than 64 features the
    mixtures are in the 64 directions in which all rows together vary most, or in as many as
    rows span, beside isotropic noise in the others: what rows held out of the directions leave.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Components of each class's mixture; fewer for a class with less than ten rows a
        component. "auto" chooses the number and the ridge, from five candidates between
        one and sixteen components, by holding out classes: a candidate is good when a class
        that is left out has lower densities under the others than their own rows (AUROC).
        The simplest is taken that is not clearly worse than the best; with one class, the
        one with the highest held-out density.
    reg_covar : float > 0, default=1e-2
        Ridge added to the covariances of the standardised features. Ignored when
        ``n_components="auto"``.
    max_iter : int >= 1, default=100
        Largest number of EM steps.
    n_jobs : int or None, default=None
        Classes fitted at the same time.
    random_state : int, RandomState instance or None, default=None
        Determines the start of EM and the held-out rows.

    Attributes
    ----------
    means_ : ndarray of shape (n_mixtures, n_features_in)
        Means of all components of all classes, class by class.
    weights_ : ndarray of shape (n_mixtures,)
        Weight of each in its class.
    owner_ : ndarray of shape (n_mixtures,)
        Position in ``classes_`` of the class that it belongs to.
    n_components_, reg_covar_ : int, float
        What was used.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood.generators import GaussianMixtureGenerator
    >>> X, y = load_iris(return_X_y=True)
    >>> generator = GaussianMixtureGenerator(n_components=2, random_state=0).fit(X, y)
    >>> generator.class_log_density(X).argmax(1)[[0, 60, 140]]
    array([0, 1, 2])
    """

    default_similarity = "likelihood"
    has_manifold = False

    weights_ = learned("weights")

    n_components: Count | Literal["auto"] = field(default="auto", kw_only=False)
    reg_covar: Positive = 1e-2
    max_iter: Count = 100
    n_jobs: Any = None
    random_state: RandomState = None

    n_components_: int = fitted()
    reg_covar_: float = fitted()
    owner_: np.ndarray = fitted()

    def make_core(self):
        return MixtureCore(self.owner_, self.n_features_in_, self.latent_dim_ - 1)

    def class_log_density(self, X):
        """Log density of every row under every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_classes)
            In nats, for X in its own units.
        """
        return self.core_.log_density(torch.from_numpy(validate_rows(self, X))).numpy()

    def _fit(self, rows, codes):
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        centre = rows.mean(0, dtype=np.float64)
        scaled = rows - centre
        spread = np.sqrt(np.square(scaled).mean(0))
        rounding = len(rows) * np.finfo(np.float64).eps * np.abs(centre)
        scale = np.where(spread > rounding, spread, 1.0)
        scaled /= scale
        learned, along = {"centre": centre, "scale": scale}, scaled
        if scaled.shape[1] > MAX_DIRECTIONS:
            learned |= _directions(scaled, seed)
            along = scaled @ learned["directions"].T
        chosen = self.n_components, self.reg_covar
        if self.n_components == "auto":
            chosen = self._best_candidate(along, codes, seed)
        self.n_components_, self.reg_covar_ = chosen
        self.core_ = self._fitted_core(along, codes, *chosen, seed, **learned)
        self.owner_ = self.core_.owner.numpy()
        self.latent_dim_ = along.shape[1] + 1

    def _best_candidate(self, scaled, codes, seed):
        """The candidate that tells held-out classes from the others best."""
        counts = np.bincount(codes)
        candidates = [c for c in CANDIDATES if c[0] == 1 or c[0] * 20 <= counts.max()]
        if len(candidates) == 1 or counts.min() < 2:
            return CANDIDATES[0] if counts.max() >= 4 * scaled.shape[1] else (1, 1e-2)
        held_out = hold_out_each_class(codes, 0.3, seed)
        scores = []
        for candidate in candidates:
            core = self._fitted_core(scaled[~held_out], codes[~held_out], *candidate, seed)
            density = core.log_density(torch.from_numpy(scaled[held_out])).numpy()
            scores.append(held_out_class_scores(density, codes[held_out]))
        return candidates[simplest_of_the_best(np.array(scores))]

    def _fitted_core(
        self, along, codes, n_components, reg_covar, seed, centre=0.0, scale=1.0, **others
    ):
        """The core with a mixture for every class; precisions as Cholesky factors."""
        options = {"reg_covar": reg_covar, "max_iter": self.max_iter, "random_state": seed}
        mixtures = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_mixture)(along[codes == k], n_components, **options)
            for k in range(self.n_classes_)
        )
        owner = np.repeat(range(len(mixtures)), [len(each.weights_) for each in mixtures])
        r, d = along.shape[1], np.size(centre) if others else along.shape[1]

        def joined(name):
            return np.concatenate([getattr(each, name) for each in mixtures])

        return MixtureCore(owner, d, r).filled(
            means=joined("means_"),
            weights=joined("weights_"),
            precision_root=joined("precisions_cholesky_"),
            covariance_root=np.linalg.cholesky(joined("covariances_")),
            centre=np.full(d, centre),
            scale=np.full(d, scale),
            **others,
        )

    @property
    def means_(self):
        core = self.core_
        means = core.means @ core.directions if core.is_reduced else core.means
        return (means * core.scale + core.centre).cpu().numpy()


def held_out_class_scores(density, codes):
    """AUROC of telling each class, left out, from the others by their best density (n, K).

    With rows of one class only it is their mean density under it.
    """
    present = np.unique(codes)
    if len(present) == 1:
        return density[:, present].mean(0)
    # The best class other than k: the best of all, or the runner-up where k is the best.
    top = np.sort(density, axis=1)[:, -2:]
    best = density.argmax(1)
    without = np.where(best[:, None] == np.arange(density.shape[1]), top[:, :1], top[:, 1:])
    return np.array([roc_auc_score(codes != k, without[:, k]) for k in present])


def simplest_of_the_best(scores):
    """The first candidate (the simplest) whose shortfall from the best may be chance."""
    n_classes = scores.shape[1]
    shortfall = scores[scores.mean(1).argmax()] - scores
    if n_classes == 1:
        return int(shortfall.argmin())
    error = shortfall.std(1, ddof=1) / np.sqrt(n_classes)
    return int((shortfall.mean(1) <= STANDARD_ERRORS * error).argmax())


def _directions(scaled, seed):
    """Those in which rows vary most, and the variance a feature left over of other rows."""
    n, d = scaled.shape
    r = max(1, min(MAX_DIRECTIONS, n - 1))

    def most_varying(rows):
        n_found = min(r, len(rows))
        return randomized_svd(rows, n_found, random_state=seed)[2] if n_found else rows

    halves = np.random.RandomState(seed).permutation(n) % 2 == 0
    left = 0.0
    for half in (halves, ~halves):
        axes, others = most_varying(scaled[half]), scaled[~half]
        left += np.square(others).sum() - np.square(others @ axes.T).sum()
    noise = max(left / n / (d - r), np.finfo(np.float32).eps)
    return {"directions": most_varying(scaled), "noise_variance": noise}


def _fit_mixture(X, n_components, **options):
    from sklearn.mixture import GaussianMixture  # slow to import

    n_components = max(1, min(n_components, len(X) // ROWS_A_COMPONENT))
    X = X if len(X) > 1 else np.repeat(X, 2, axis=0)
    # With dispatch to other arrays scikit-learn refuses the start from k-means.
    with warnings.catch_warnings(), config_context(array_api_dispatch=False):
        # EM that stops at max_iter, or on repeated rows, is still a usable density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(n_components, **options).fit(X)
