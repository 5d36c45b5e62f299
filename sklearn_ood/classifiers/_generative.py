"""Classify by what can be generated: one generator a class, latents searched in one batch."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state

from sklearn_ood._response import log_softmax
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.data._rows import validate_rows, validate_training_data
from sklearn_ood.generators import (
    GAN,
    VAE,
    GaussianMixtureGenerator,
    NearestNeighborGenerator,
    PCAGenerator,
)
from sklearn_ood.generators._matching import candidate_bank, is_refined, match_rows
from sklearn_ood.inspection._explanation import Explanation, draw_explanation
from sklearn_ood.nets._evaluation import map_batches, rows_per_batch
from sklearn_ood.nets._heads import fit_temperature
from sklearn_ood.search._latents import absolute_distance, cubic_distance, squared_distance

GENERATORS = {
    "vae": VAE,
    "gan": GAN,
    "knn": NearestNeighborGenerator,
    "pca": PCAGenerator,
    "gmm": GaussianMixtureGenerator,
}
DISTANCES = {"l2": squared_distance, "l1": absolute_distance, "l3": cubic_distance}
SEARCHES = ("auto", "encoder", "optimize", "both")
MIXTURE_MAX_FEATURES = 64
MAX_CALIBRATION_ROWS = 2000
# Where a square or a density overflows; a number, so that classes still compare.
LEAST_SIMILARITY = -1e150


class GenerativeClassifier(OODClassifier):
    """Classify a row by the class whose generator can come closest to it.

    One generator is learned for every class. A row is compared with the nearest generation
    of each; the class of the nearest is the answer, and how near it is says how much the
    answer can be trusted: what no generator can make is out-of-distribution.

    Parameters
    ----------
    generator : {"auto", "pca", "gmm", "knn", "vae", "gan"} or generator, default="auto"
        What to learn for each class; an object from `sklearn_ood.generators` to set its
        parameters. "auto" is a Gaussian mixture, of a size chosen by held-out classes, for
        up to 64 features, and PCA for more.
    similarity : {"auto", "likelihood", "l2", "l1", "l3"}, callable or estimator, default="auto"
        How near a row is to its nearest generation, higher is nearer. "l2" is minus the
        mean squared difference a feature, "l1" and "l3" take the first and third power.
        "likelihood" is the log density a feature, in nats, for generators that have one (PCA
        and mixtures) or a lower bound on it (VAE, at the encoder's latent). A callable gets
        the rows and the generations, torch tensors of shape (..., n_features), and reduces
        the last axis. An estimator, such as `SiameseSimilarity`, is first fitted to the
        training rows. "auto" is the likelihood for PCA and mixtures, else "l2".
    search : {"auto", "encoder", "optimize", "both"}, default="auto"
        How the nearest generation is found where no closed form is known (PCA and
        neighbours have one). "encoder" takes the encoder's latent as it is; "optimize"
        refines the best of `n_candidates` random generations with L-BFGS; "both" refines
        the better of the two. "auto" is "encoder" where there is one, else "optimize".
    n_candidates : int >= 1, default=256
        Random generations of each class that a search may start from.
    max_iter : int >= 0, default=50
        L-BFGS steps for each row and class.
    prior_weight : float >= 0, default=1.0
        Weight of the latent's prior in the search, in units of the generator's own noise: 1
        looks for the most probable latent, 0 for the nearest generation at any price.
    validation_fraction : float in [0, 1), default=0.1
        Part of each class that the generators do not see, on which `predict_proba` is
        calibrated; generators that are quick to fit (all but VAE and GAN) then learn from all
        rows. With 0, or where no row can be spared, it is calibrated on the training rows and
        overconfident.
    input_shape : tuple (C, H, W), optional
        Shape of one image, for flat rows that are images.
    ood_label : label, optional
        Rows of this label are known outliers; they are left out.
    device : str, default="auto"
        Where a generator given by name runs; "auto" is CUDA where there is one.
    random_state : int, RandomState instance or None, default=None
        Determines generators, held-out rows and candidates.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    generator_ : generator
        The fitted generators of all classes.
    similarity_ : str, callable or estimator
        The similarity used.
    temperature_ : float
        What the similarities are divided by before the softmax of `predict_proba`.
    n_features_in_ : int
        Number of features.
    input_shape_ : tuple of int
        Shape of one input.

    Notes
    -----
    ``decision_function(X)[:, k] = s(x, G_k(z_k))`` with ``z_k`` the latent found, and
    ``score_samples`` its largest entry: at most 0 for "l1", "l2" and "l3", in the features'
    units to the power of 1, 2 and 3; any number for "likelihood".

    References
    ----------
    "Generative classification knows when it does not know", section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import GenerativeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = GenerativeClassifier(random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    >>> far = X[:1] + 10
    >>> bool(classifier.score_samples(far)[0] < classifier.score_samples(X).min())
    True
    """

    def __init__(
        self,
        generator="auto",
        similarity="auto",
        search="auto",
        n_candidates=256,
        max_iter=50,
        prior_weight=1.0,
        validation_fraction=0.1,
        input_shape=None,
        ood_label=None,
        device="auto",
        random_state=None,
    ):
        self.generator = generator
        self.similarity = similarity
        self.search = search
        self.n_candidates = n_candidates
        self.max_iter = max_iter
        self.prior_weight = prior_weight
        self.validation_fraction = validation_fraction
        self.input_shape = input_shape
        self.ood_label = ood_label
        self.device = device
        self.random_state = random_state

    def fit(self, X, y=None):
        """Learn a generator for every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Training rows.
        y : array-like of shape (n_samples,), default=None
            Labels. Without, or with a single one, there is one class.

        Returns
        -------
        self : object
            The fitted classifier.
        """
        data = validate_training_data(self, X, y, min_classes=1)
        self._check_parameters()
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=3)
        everything = data.in_distribution
        (rows, codes), held_out = self._hold_out(*everything, seeds[0])
        self.generator_ = self._make_generator(data, seeds[1]).fit(rows, data.classes[codes])
        self.similarity_ = self._make_similarity(rows, codes, seeds[1])
        self._check_search()
        self._bank = self._make_bank(seeds[2])
        self.temperature_ = _calibrated_temperature(self._evidence(held_out[0]), held_out[1])
        if self.generator_.is_quick and len(rows) < len(everything[0]):
            self.generator_.fit(everything[0], data.classes[everything[1]])
            self._bank = self._make_bank(seeds[2])
        self.classes_ = data.classes
        return self

    def explain(self, X):
        """Find the nearest generation of every class to every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Rows.

        Returns
        -------
        Explanation
            Rows, generations (n_samples, n_classes, n_features), their latents
            (n_samples, n_classes, latent_dim) and distances (n_samples, n_classes): minus
            the similarities. A mixture can generate every row as it is: there the latents
            tell how far out it lies.
        """
        rows = validate_rows(self, X)
        similarity, z = self._match(rows)
        n, n_classes, m = z.shape
        labels = np.tile(self.classes_, n)
        generations = self.generator_.decode(z.reshape(-1, m), labels).reshape(n, n_classes, -1)
        return Explanation(
            rows, generations, z, -similarity, self.classes_, tuple(self.input_shape_)
        )

    def plot_explanation(self, X, y=None, *, max_rows=10):
        """Draw rows beside each class's nearest generation (the paper's figures 6 to 8).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
            Rows; the first `max_rows` are drawn.
        y : array-like of shape (n_samples,), optional
            Their labels, to be written beside them.
        max_rows : int, default=10
            Largest number of rows drawn.

        Returns
        -------
        matplotlib.figure.Figure
            One line of axes a row: the input, then one a class with its distance; the
            predicted class is marked.
        """
        labels = None if y is None else np.asarray(y)[:max_rows]
        return draw_explanation(self.explain(X[:max_rows]), labels)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    @property
    def n_iter_(self):
        """Largest number of steps that a search takes: `max_iter`, 1 for a closed form."""
        return 1 if self._bank is None else max(1, self.max_iter)

    def _evidence(self, rows):
        similarity = self._match(rows, with_latents=False).astype(np.float64)
        return np.maximum(similarity, LEAST_SIMILARITY)

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows) / self.temperature_)

    def _match(self, rows, with_latents=True):
        """Similarity (n, K), and the latents (n, K, m) that it was reached with."""
        generator = self.generator_

        @torch.no_grad()
        def of_batch(x):
            if self._is_likelihood:
                similarity = generator._log_density(x) / x.shape[1]
                if not with_latents:
                    return similarity
                stacked = x.expand(generator.n_classes_, -1, -1)
                return similarity, generator._encode_stack(stacked).transpose(0, 1)
            match = match_rows(
                generator,
                x,
                self._distance,
                search=self.search,
                bank=self._bank,
                max_iter=self.max_iter,
                prior_weight=self.prior_weight,
            )
            return (-match.distance, match.z) if with_latents else -match.distance

        max_rows = rows_per_batch(max(1, generator._floats_per_row() // 4))
        return map_batches(of_batch, rows, device=generator._device, max_rows=max_rows)

    @property
    def _is_likelihood(self):
        return isinstance(self.similarity_, str) and self.similarity_ == "likelihood"

    @property
    def _distance(self):
        if isinstance(self.similarity_, str):
            return DISTANCES[self.similarity_]
        return lambda x, generated: -self.similarity_(x, generated)

    def _hold_out(self, rows, codes, seed):
        """Rows to learn from, and rows to calibrate on."""
        fraction, counts = self.validation_fraction, np.bincount(codes)
        if not np.minimum(np.round(fraction * counts), counts - 1).any():
            return (rows, codes), _some(rows, codes, seed)
        held_out = hold_out_each_class(codes, fraction, seed)
        return (rows[~held_out], codes[~held_out]), _some(rows[held_out], codes[held_out], seed)

    def _make_generator(self, data, seed):
        if not isinstance(self.generator, str):
            generator = clone(self.generator)
            return _fill_in(generator, random_state=seed, input_shape=_image(data.input_shape))
        name = self.generator
        if name == "auto":
            name = "gmm" if data.rows.shape[1] <= MIXTURE_MAX_FEATURES else "pca"
        generator = _fill_in(
            GENERATORS[name](), random_state=seed, input_shape=_image(data.input_shape)
        )
        if "device" in generator.get_params():
            generator.set_params(device=self.device)
        return generator

    def _make_similarity(self, rows, codes, seed):
        similarity = self.similarity
        if isinstance(similarity, str):
            if similarity == "auto":
                return self.generator_.default_similarity
            if similarity == "likelihood" and not self.generator_.has_density:
                raise ValueError(
                    f"Got similarity='likelihood' with {type(self.generator_).__name__}, "
                    "which has no density; use 'l2', or the generator 'pca', 'gmm' or 'vae'."
                )
            if similarity != "likelihood" and not self.generator_.has_manifold:
                raise ValueError(
                    f"Got similarity={similarity!r} with {type(self.generator_).__name__}, "
                    "which generates every point, so that every distance is 0; use "
                    "'likelihood'."
                )
            return similarity
        if hasattr(similarity, "fit"):
            return _fill_in(clone(similarity), random_state=seed).fit(rows, codes)
        return similarity

    def _make_bank(self, seed):
        if self._is_likelihood or not is_refined(self.generator_, self.search):
            return None
        return candidate_bank(self.generator_, self.n_candidates, np.random.RandomState(seed))

    def _check_parameters(self):
        if isinstance(self.generator, str) and self.generator not in ("auto", *GENERATORS):
            raise ValueError(
                f"Got generator={self.generator!r}, but expected 'auto', one of "
                f"{sorted(GENERATORS)} or an object from sklearn_ood.generators."
            )
        names = ("auto", "likelihood", *DISTANCES)
        known = self.similarity in names if isinstance(self.similarity, str) else True
        if not known or not (isinstance(self.similarity, str) or callable(self.similarity)):
            raise ValueError(
                f"Got similarity={self.similarity!r}, but expected one of {names}, a callable "
                "(x, generated) -> similarity or an estimator that is one once fitted."
            )
        if self.search not in SEARCHES:
            raise ValueError(f"Got search={self.search!r}, but expected one of {SEARCHES}.")
        for name, smallest in (("n_candidates", 1), ("max_iter", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < smallest:
                raise ValueError(
                    f"Got {name}={value!r}, but expected a whole number >= {smallest}."
                )
        if not isinstance(self.prior_weight, Real) or not self.prior_weight >= 0:
            raise ValueError(
                f"Got prior_weight={self.prior_weight!r}, but expected a number >= 0."
            )
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"Got validation_fraction={self.validation_fraction!r}, but expected a number "
                "in [0, 1)."
            )

    def _check_search(self):
        if self.search == "encoder" and not self.generator_.has_encoder:
            raise ValueError(
                f"Got search='encoder', but {type(self.generator_).__name__} has no encoder; "
                "use search='optimize'."
            )


def _some(rows, codes, seed):
    """As many rows as a single number, the temperature, can use."""
    if len(rows) <= MAX_CALIBRATION_ROWS:
        return rows, codes
    chosen = np.random.RandomState(seed).choice(len(rows), MAX_CALIBRATION_ROWS, replace=False)
    return rows[chosen], codes[chosen]


def _image(input_shape):
    return tuple(input_shape) if len(input_shape) == 3 else None


def _fill_in(estimator, **defaults):
    """Set those parameters that the estimator has and the user left at None."""
    parameters = estimator.get_params(deep=False)
    return estimator.set_params(
        **{
            name: value
            for name, value in defaults.items()
            if name in parameters and parameters[name] is None
        }
    )


def _calibrated_temperature(evidence, codes):
    """Temperature with the least cross entropy, found in units of the evidence's spread."""
    if evidence.shape[1] == 1:
        return 1.0
    spread = float(np.abs(evidence - evidence.max(1, keepdims=True)).mean())
    if not spread > 0:
        return 1.0
    return spread * fit_temperature(evidence / spread, codes)
