"""A Gaussian mixture a class, evaluated for all classes and components at once."""

import warnings
from numbers import Integral, Real

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.generators._base import BaseGenerator

# Number of components and ridge: from a single, hardly smoothed Gaussian to many smooth ones.
CANDIDATES = ((1, 1e-6), (4, 1e-3), (4, 1e-2), (8, 1e-2), (16, 1e-2))
# A simpler candidate is kept unless a one-sided test at 5 % says that the best is better.
STANDARD_ERRORS = 1.645
ROWS_A_COMPONENT = 10


class GaussianMixtureGenerator(BaseGenerator):
    """Generate the rows of each class from a mixture of Gaussians.

    Every class has scikit-learn's `GaussianMixture` with full covariances. A latent has
    one number a feature, the position in a component in units of its covariance, and one
    number more, which chooses the component by the mixture's weights; all are standard
    normal. A mixture generates every point of the space, so that its similarity to an
    input is a density: the distance under each component's covariance.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Components of each class's mixture; fewer for a class with less than ten rows a
        component. "auto" chooses the number and the ridge, from five candidates between
        one and sixteen components, by holding out classes: a candidate is good when the
        held-out rows of a class that is left out have lower densities under the others
        than the others' own rows (AUROC). The simplest is taken that is not clearly worse
        than the best over the classes; with one class, the one with the highest held-out
        density.
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
        Position in `classes_` of the class that it belongs to.
    n_components_, reg_covar_ : int, float
        What was used.
    noise_variance_ : ndarray of shape (n_classes,)
        Zeros.
    latent_dim_ : int
        Number of features plus one.

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

    def __init__(
        self,
        n_components="auto",
        reg_covar=1e-2,
        max_iter=100,
        n_jobs=None,
        random_state=None,
    ):
        self.n_components = n_components
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.random_state = random_state

    @property
    def has_manifold(self):
        """Whether some inputs cannot be generated: none."""
        return False

    def class_log_density(self, X):
        """Log density of every row under every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_classes)
            In nats, for X in its own units.
        """
        rows = self._rows(X)
        return self._log_density(torch.from_numpy(rows)).numpy()

    def _fit(self, rows, codes):
        self._check_parameters()
        rng = check_random_state(self.random_state)
        seed = rng.randint(np.iinfo(np.int32).max)
        rows = rows.astype(np.float64)
        spread = rows.std(0)
        self._scale = np.where(spread > 0, spread, 1.0)
        self._centre = rows.mean(0)
        scaled = (rows - self._centre) / self._scale
        self.n_components_, self.reg_covar_ = self.n_components, self.reg_covar
        if self.n_components == "auto":
            self.n_components_, self.reg_covar_ = self._choose(scaled, codes, seed)
        self._set_mixtures(self._fit_mixtures(scaled, codes, seed))
        self.noise_variance_ = np.zeros(self.n_classes_)
        self.latent_dim_ = rows.shape[1] + 1

    def _check_parameters(self):
        auto = self.n_components == "auto"
        if not auto and not (isinstance(self.n_components, Integral) and self.n_components > 0):
            raise ValueError(
                f"Got n_components={self.n_components!r}, but expected 'auto' or a whole "
                "number >= 1."
            )
        if not isinstance(self.reg_covar, Real) or not self.reg_covar > 0:
            raise ValueError(
                f"Got reg_covar={self.reg_covar!r}, but expected a number > 0 in units of the "
                "features' variance."
            )

    def _choose(self, scaled, codes, seed):
        """The candidate that tells held-out classes from the others best."""
        counts = np.bincount(codes)
        candidates = [c for c in CANDIDATES if c[0] == 1 or c[0] * 20 <= counts.max()]
        if len(candidates) == 1 or counts.min() < 2:
            return CANDIDATES[0] if counts.max() >= 4 * scaled.shape[1] else (1, 1e-2)
        held_out = hold_out_each_class(codes, 0.3, seed)
        scores = []
        for self.n_components_, self.reg_covar_ in candidates:
            mixtures = self._fit_mixtures(scaled[~held_out], codes[~held_out], seed)
            self._set_mixtures(mixtures)
            density = self._scaled_log_density(torch.from_numpy(scaled[held_out])).numpy()
            scores.append(held_out_class_scores(density, codes[held_out]))
        return candidates[simplest_of_the_best(np.array(scores))]

    def _fit_mixtures(self, scaled, codes, seed):
        fit_one = delayed(_fit_mixture)
        return Parallel(n_jobs=self.n_jobs)(
            fit_one(
                scaled[codes == k], self.n_components_, self.reg_covar_, self.max_iter, seed
            )
            for k in range(self.n_classes_)
        )

    def _set_mixtures(self, mixtures):
        """All components of all classes in one list; precisions as Cholesky factors."""
        sizes = [len(mixture.weights_) for mixture in mixtures]
        self.owner_ = np.repeat(np.arange(len(mixtures)), sizes)
        self.weights_ = np.concatenate([mixture.weights_ for mixture in mixtures])
        self._means = np.concatenate([mixture.means_ for mixture in mixtures])
        self._root = np.concatenate([mixture.precisions_cholesky_ for mixture in mixtures])
        self._covariance_root = np.linalg.cholesky(
            np.concatenate([mixture.covariances_ for mixture in mixtures])
        )
        self.means_ = self._means * self._scale + self._centre

    def _scaled_log_density(self, x):
        """(n, K) from the densities of all components in one matrix product."""
        component = self._component_log_density(x)
        grouped = x.new_full((len(x), self.n_classes_, self._width), -torch.inf)
        grouped[:, torch.as_tensor(self.owner_), torch.as_tensor(self._place)] = component
        return torch.logsumexp(grouped, 2)

    @property
    def _place(self):
        """Number of each component within its class."""
        return np.arange(len(self.owner_)) - np.searchsorted(self.owner_, self.owner_)

    @property
    def _width(self):
        return int(np.bincount(self.owner_).max())

    def _component_log_density(self, x):
        """Weighted log density of (n, d) rows under each component, (n, n_mixtures)."""
        d = x.shape[1]
        root = torch.as_tensor(self._root)
        offset = torch.einsum("kd,kde->ke", torch.as_tensor(self._means), root)
        white = (x @ root.permute(1, 0, 2).reshape(d, -1)).view(len(x), -1, d) - offset
        log_determinant = torch.diagonal(root, dim1=1, dim2=2).log().sum(1)
        constant = torch.as_tensor(np.log(self.weights_)) + log_determinant
        return constant - 0.5 * (white.square().sum(2) + d * float(np.log(2 * np.pi)))

    def _floats_per_row(self):
        return 4 * len(self.owner_) * self.n_features_in_

    def _standardise(self, x):
        return (x.double().cpu() - torch.as_tensor(self._centre)) / torch.as_tensor(self._scale)

    def _log_density(self, x):
        density = self._scaled_log_density(self._standardise(x))
        return density - float(np.log(self._scale).sum())

    def _decode_stack(self, z):
        """The last latent picks a component by the normal quantiles of the weights."""
        place = torch.special.ndtr(z[..., -1].detach().double().cpu())
        edge = torch.as_tensor(self._upper_edges())
        owner = torch.as_tensor(self._first())[:, None]
        inside = (place[..., None] > edge[:, None]).sum(-1).clamp_max(self._width - 1)
        size = torch.as_tensor(np.bincount(self.owner_))[:, None]
        chosen = owner + torch.minimum(inside, size - 1)
        root = torch.as_tensor(self._covariance_root)[chosen].to(z)
        mean = torch.as_tensor(self._means)[chosen].to(z)
        scaled = mean + (root @ z[..., :-1, None])[..., 0]
        centre, scale = (torch.as_tensor(a).to(z) for a in (self._centre, self._scale))
        return centre + scale * scaled

    def _encode_stack(self, x):
        n_classes, n, d = x.shape
        scaled = self._standardise(x.reshape(-1, d))
        own = torch.as_tensor(self.owner_)[None] == torch.arange(n_classes).repeat_interleave(
            n
        ).unsqueeze(1)
        density = self._component_log_density(scaled).masked_fill(~own, -torch.inf)
        chosen = density.argmax(1)
        centred = scaled - torch.as_tensor(self._means)[chosen]
        root = torch.as_tensor(self._root)[chosen]
        position = torch.einsum("nd,nde->ne", centred, root)
        upper = torch.as_tensor(self._upper_edges())
        lower = torch.nn.functional.pad(upper, (1, 0))[:, :-1]
        owner, place = (torch.as_tensor(a)[chosen] for a in (self.owner_, self._place))
        middle = 0.5 * (lower[owner, place] + upper[owner, place])
        z = torch.cat([position, torch.special.ndtri(middle)[:, None]], 1)
        return z.view(n_classes, n, d + 1).to(x)

    def _first(self):
        return np.searchsorted(self.owner_, np.arange(self.n_classes_))

    def _upper_edges(self):
        """Cumulated weights of each class, (K, width), padded with ones."""
        edges = np.zeros((self.n_classes_, self._width))
        edges[self.owner_, self._place] = self.weights_
        return np.minimum(np.cumsum(edges, axis=1), 1.0)


def held_out_class_scores(density, codes):
    """AUROC of telling each class, left out, from the others by their best density.

    Parameters
    ----------
    density : ndarray of shape (n, K)
        Log density of held-out rows under each class.
    codes : ndarray of shape (n,)
        Class of each row.

    Returns
    -------
    ndarray of shape (n_present,)
        One a class that has rows, in [0, 1]; the mean density of the rows under their own
        class if there is only one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.generators._mixture import held_out_class_scores
    >>> held_out_class_scores(np.array([[1.0, -5.0], [-9.0, 2.0]]), np.array([0, 1]))
    array([1., 1.])
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
    """The first candidate whose shortfall from the best may be chance.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_classes)
        From the simplest candidate to the most complex.

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ood.generators._mixture import simplest_of_the_best
    >>> simplest_of_the_best(np.array([[0.5, 0.5, 0.5], [0.9, 0.8, 0.9], [0.9, 0.9, 0.8]]))
    1
    """
    n_classes = scores.shape[1]
    shortfall = scores[scores.mean(1).argmax()] - scores
    if n_classes == 1:
        return int(shortfall.argmin())
    error = shortfall.std(1, ddof=1) / np.sqrt(n_classes)
    return int((shortfall.mean(1) <= STANDARD_ERRORS * error).argmax())


def _fit_mixture(X, n_components, reg_covar, max_iter, seed):
    n_components = max(1, min(n_components, len(X) // ROWS_A_COMPONENT))
    from sklearn.mixture import GaussianMixture  # slow to import

    mixture = GaussianMixture(
        n_components, reg_covar=reg_covar, max_iter=max_iter, random_state=seed
    )
    X = X if len(X) > 1 else np.repeat(X, 2, axis=0)
    # With dispatch to other arrays scikit-learn refuses the start from k-means.
    with warnings.catch_warnings(), config_context(array_api_dispatch=False):
        # EM that stops at max_iter, or on repeated rows, is still a usable density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(X)
