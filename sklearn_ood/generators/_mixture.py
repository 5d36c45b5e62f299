import warnings
from dataclasses import field
from typing import Literal, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.linalg import solve_triangular
from scipy.stats import rankdata
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import randomized_svd
from torch.nn.utils.rnn import pad_sequence

from sklearn_ood._parameters import Count, Positive, RandomState, drawn_seed, fitted
from sklearn_ood._threads import one_thread
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.data._rows import validate_rows
from sklearn_ood.generators._base import BaseGenerator, Core, learned


class Form(NamedTuple):
    """How many components, and the ridge, in units of each feature's or of one spread."""

    n_components: int
    reg_covar: float
    one_unit: bool = False


# From a single, hardly smoothed Gaussian to many smooth ones.
FORMS = (
    *(Form(1, 1e-6), Form(1, 1e-2), Form(1, 1e-1, one_unit=True)),
    *(Form(4, 1e-3), Form(4, 1e-2), Form(4, 3e-1, one_unit=True)),
    *(Form(8, 1e-2), Form(16, 1e-2), Form(16, 3e-1, one_unit=True)),
)
# A simpler candidate is kept unless a one-sided test at 5 % says that the best is better.
STANDARD_ERRORS = 1.645
ROWS_A_COMPONENT = 10
# In nats a feature: what held-out rows have less under a form than under the best is too much.
MAX_LOSS = 0.25
# EM steps are enough to compare forms.
TRIAL_STEPS = 30
# Of more features the mixtures are in so many directions; the rest is isotropic noise.
MAX_DIRECTIONS = 64
# In standard deviations: its square does not overflow.
FARTHEST = 1e100


class MixtureCore(Core):
    """The mixtures of all classes, in units of the features' spread, padded to one width."""

    is_single = False

    def __init__(self, n_classes, width, n_directions, n_features):
        super().__init__(n_classes, n_features)
        k, w, r, d = n_classes, width, n_directions, n_features
        self.floats_per_row = 4 * (k * w * r + d)
        self.reserve(means=(k, w, r), weights=(k, w), centre=(d,), scale=(d,))
        self.reserve(precision_root=(k, w, r, r), covariance_root=(k, w, r, r))
        self.reserve(directions=(r, d), noise_variance=())

    def decode(self, z):
        """The last latent picks a component by the normal quantiles of the weights."""
        quantile = torch.special.ndtr(z[..., -1:].detach().double())
        passed = (quantile > self._cumulated_weights()[:, None]).sum(-1)
        chosen = torch.minimum(passed, (self.weights > 0).sum(1, keepdim=True) - 1)
        chosen = torch.arange(self.n_classes, device=z.device)[:, None], chosen
        root, mean = self.covariance_root[chosen].to(z), self.means[chosen].to(z)
        scaled = (mean + (root @ z[..., :-1, None])[..., 0]) @ self.directions.to(z)
        return self.centre.to(z) + self.scale.to(z) * scaled

    def encode(self, x):
        """The position in the likeliest component, and the middle of its quantiles."""
        n_classes, n, d = x.shape
        along = self._standardised(x.reshape(-1, d)) @ self.directions.T
        label = torch.arange(n_classes, device=x.device).repeat_interleave(n)
        density = self._component_log_density(along)
        chosen = label, density[torch.arange(len(label)), label].argmax(1)
        centred = along - self.means[chosen]
        position = torch.einsum("nd,nde->ne", centred, self.precision_root[chosen])
        upper = self._cumulated_weights()[chosen]
        quantile = torch.special.ndtri(upper - 0.5 * self.weights[chosen])
        z = torch.cat([position, quantile[:, None]], 1)
        return z.view(n_classes, n, -1).to(x)

    def log_density(self, x):
        scaled = self._standardised(x)
        along = scaled @ self.directions.T
        n_left = scaled.shape[1] - along.shape[1]
        left = (scaled - along @ self.directions).square().sum(1) / self.noise_variance
        constant = n_left * (self.noise_variance.log() + float(np.log(2 * np.pi)))
        of_class = self._component_log_density(along).logsumexp(2)
        return of_class - 0.5 * (left + constant)[:, None] - self.scale.log().sum()

    def _cumulated_weights(self):
        return self.weights.cumsum(1).clamp_max(1.0)

    def _standardised(self, x):
        return ((x.double() - self.centre) / self.scale).clamp(-FARTHEST, FARTHEST)

    def _component_log_density(self, x):
        """Weighted log density of (n, d) rows under each component, in one matrix product."""
        root = self.precision_root
        offset = torch.einsum("kwd,kwde->kwe", self.means, root)
        side_by_side = root.permute(2, 0, 1, 3)
        white = (x @ side_by_side.flatten(1)).unflatten(1, side_by_side.shape[1:]) - offset
        log_determinant = torch.diagonal(root, dim1=2, dim2=3).log().sum(2)
        constant = self.weights.log() + log_determinant
        return constant - 0.5 * (white.square().sum(3) + x.shape[1] * float(np.log(2 * np.pi)))


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
        component. "auto" chooses their form, from nine between one and sixteen components, by
        held-out rows: that these are answered right, and that a class that is left out has
        lower densities under the others than their own rows (AUROC). The simplest is taken that
        is not clearly worse than the best, of those that give the rows at most a quarter of a
        nat a feature less than the likeliest. With one class it is the likeliest.
    reg_covar : float > 0, default=1e-2
        Ridge added to the covariances of the standardised features. Ignored when
        ``n_components="auto"``.
    max_iter : int >= 1, default=100
        Largest number of EM steps.

    Attributes
    ----------
    means_, weights_ : ndarray of shape (n_classes, n_components, ...)
        Of each class's components; weights are 0 beyond the last of a class that has fewer.
    n_components_, reg_covar_, one_unit_ : int, float and bool
        Components of the class that has most, the ridge used, and whether it is in one unit for
        all features.

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

    n_components: Count | Literal["auto"] | Form = field(default="auto", kw_only=False)
    reg_covar: Positive = 1e-2
    max_iter: Count = 100
    n_jobs: int | None = None
    random_state: RandomState = None

    n_components_: int = fitted()
    reg_covar_: float = fitted()
    one_unit_: bool = fitted()

    def make_core(self):
        width, n_directions = self.n_components_, self.latent_dim_ - 1
        return MixtureCore(self.n_classes_, width, n_directions, self.n_features_in_)

    def class_log_density(self, X):
        """Log density (n_samples, n_classes) of every row under every class, in nats."""
        rows = torch.from_numpy(validate_rows(self, X))
        return self.core_.log_density(rows).numpy()

    @one_thread()
    def _fit(self, rows, codes):
        seed = drawn_seed(self.random_state)
        rows = rows.astype(np.float64, copy=False)
        chosen = self.n_components
        if chosen == "auto":
            chosen = self._best_form(rows, codes, seed)
        elif not isinstance(chosen, Form):
            chosen = Form(chosen, self.reg_covar)
        self.core_ = self._fitted_core(rows, codes, chosen, seed, self.max_iter)
        self.n_components_, self.reg_covar_ = self.core_.weights.shape[1], chosen.reg_covar
        self.one_unit_ = chosen.one_unit
        self.latent_dim_ = self.core_.means.shape[2] + 1

    def chosen_params(self):
        """Parameters of another one that does not choose its form anew."""
        if self.n_components != "auto":
            return {}
        return {"n_components": Form(self.n_components_, self.reg_covar_, self.one_unit_)}

    def _best_form(self, rows, codes, seed):
        """The form that tells held-out rows' classes, and classes left out, best."""
        largest = np.bincount(codes).max()
        if largest < 4:
            return Form(1, 1e-2)
        forms = [each for each in FORMS if 20 * each.n_components <= max(20, largest)]
        held_out = hold_out_each_class(codes, 0.3, seed)
        scores, likely, told = [], [], codes[held_out]
        for form in forms:
            learned = rows[~held_out], codes[~held_out]
            core = self._fitted_core(*learned, form, seed, min(self.max_iter, TRIAL_STEPS))
            density = core.log_density(torch.from_numpy(rows[held_out])).numpy()
            scores.append(held_out_scores(density, told))
            likely.append(density[np.arange(len(told)), told].mean())
        kept = np.flatnonzero(np.array(likely) >= max(likely) - MAX_LOSS * rows.shape[1])
        return forms[kept[simplest_of_the_best(np.array(scores)[kept])]]

    def _fitted_core(self, rows, codes, form, seed, max_iter):
        """The core with a mixture for every class; precisions as Cholesky factors."""
        frame, along = _frame(rows, form.one_unit, seed)
        options = {"reg_covar": form.reg_covar, "max_iter": max_iter, "random_state": seed}
        mixtures = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_mixture)(along[codes == k], form.n_components, **options)
            for k in range(self.n_classes_)
        )
        parts = {}
        for name in mixtures[0]:
            arrays = [torch.from_numpy(each[name]) for each in mixtures]
            parts[name] = pad_sequence(arrays, batch_first=True)
        core = MixtureCore(*parts["means"].shape, rows.shape[1])
        return core.filled(**parts, **frame)

    @property
    def means_(self):
        core = self.core_
        return (core.means @ core.directions * core.scale + core.centre).cpu().numpy()


def held_out_scores(density, codes):
    """Of each row, whether it is answered right, and its part of a left-out class's AUROC."""
    n, n_classes = density.shape
    # Of one class their mean density; else right or not, plus the share of rows of other
    # classes that have a higher density without the own: the mean over a class is the AUROC.
    if (codes == codes[0]).all():
        return density[:, codes[0]].mean(keepdims=True)
    # The best class other than k: the best of all, or the runner-up where k is the best.
    top, best = np.sort(density, axis=1)[:, -2:], density.argmax(1)
    without = np.where(best[:, None] == np.arange(n_classes), top[:, :1], top[:, 1:])
    scores = (best == codes).astype(np.float64)
    for k in np.unique(codes):
        own = codes == k
        ranks = rankdata(-without[:, k])[own] - rankdata(-without[own, k])
        scores[own] += ranks / (n - own.sum())
    return scores


def simplest_of_the_best(scores):
    """The first candidate (the simplest) whose shortfall from the best may be chance."""
    n = scores.shape[1]
    shortfall = scores[scores.mean(1).argmax()] - scores
    error = shortfall.std(1) / max(1, n - 1) ** 0.5
    return int((shortfall.mean(1) <= STANDARD_ERRORS * error).argmax())


def _frame(rows, one_unit, seed):
    """Where rows are centred, their units, directions if they are many; and rows in these."""
    centre = rows.mean(0)
    scaled = rows - centre
    spread = np.sqrt(np.square(scaled).mean(0))
    if one_unit:
        spread = np.full_like(spread, np.sqrt(np.square(spread).mean()))
    rounding = len(rows) * np.finfo(np.float64).eps * np.abs(centre)
    scale = np.where(spread > rounding, spread, 1.0)
    scaled /= scale
    frame = {"centre": centre, "scale": scale} | _directions(scaled, seed)
    return frame, scaled @ frame["directions"].T


def _directions(scaled, seed):
    """Those in which rows vary most, and the variance a feature that others leave over."""
    n, d = scaled.shape
    if d <= MAX_DIRECTIONS:
        return {"directions": np.eye(d), "noise_variance": 1.0}
    r = max(1, min(MAX_DIRECTIONS, n - 1))

    def most_varying(rows):
        n_found = min(r, len(rows))
        return randomized_svd(rows, n_found, random_state=seed)[2] if n_found else rows

    halves = np.random.RandomState(seed).permutation(n) % 2 == 0
    left = 0.0
    for half in (halves, ~halves):
        axes, others = most_varying(scaled[half]), scaled[~half]
        outside = np.square(others).sum() - np.square(others @ axes.T).sum()
        left += outside / (d - len(axes))  # a small half has fewer directions
    noise = max(left / n, np.finfo(np.float32).eps)
    return {"directions": most_varying(scaled), "noise_variance": noise}


@np.errstate(under="ignore")  # of probabilities in scikit-learn
def _fit_mixture(X, n_components, **options):
    """Means, weights, and roots of precisions and covariances of a class's components."""
    from sklearn.mixture import GaussianMixture  # slow to import

    n_components = max(1, min(n_components, len(X) // ROWS_A_COMPONENT))
    if n_components == 1:
        return _gaussian(X, options["reg_covar"])
    # With dispatch to other arrays scikit-learn refuses the start from k-means.
    with warnings.catch_warnings(), config_context(array_api_dispatch=False):
        # EM that stops at max_iter, or on repeated rows, is still a usable density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture = GaussianMixture(n_components, **options).fit(X)
    return {
        "means": mixture.means_,
        "weights": mixture.weights_,
        "precision_root": mixture.precisions_cholesky_,
        "covariance_root": np.linalg.cholesky(mixture.covariances_),
    }


def _gaussian(X, ridge):
    mean, identity = X.mean(axis=0), np.eye(X.shape[1])
    root = np.linalg.cholesky((X - mean).T @ (X - mean) / len(X) + ridge * identity)
    return {
        "means": mean[None],
        "weights": np.ones(1),
        "precision_root": solve_triangular(root, identity, lower=True).T[None],
        "covariance_root": root[None],
    }
