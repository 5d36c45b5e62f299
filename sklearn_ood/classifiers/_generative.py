from dataclasses import field
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from sklearn_ood import generators
from sklearn_ood._parameters import (
    Count,
    Estimator,
    Natural,
    NonNegative,
    RandomState,
    ShareOrZero,
    as_chosen,
    called,
    clone_completed,
    fitted,
)
from sklearn_ood._response import log_softmax, unwrap
from sklearn_ood.base import OODClassifier
from sklearn_ood.data._labels import hold_out_each_class
from sklearn_ood.generators._base import BaseGenerator
from sklearn_ood.inspection._explanation import Explanation, draw_explanation
from sklearn_ood.nets._evaluation import device_of, map_batches, rows_per_batch
from sklearn_ood.nets._heads import fit_temperature
from sklearn_ood.search._latents import DISTANCES, match

GENERATORS = {
    "vae": generators.VAE,
    "gan": generators.GAN,
    "knn": generators.NearestNeighborGenerator,
    "pca": generators.PCAGenerator,
    "gmm": generators.GaussianMixtureGenerator,
}
Generators = Literal["auto", "pca", "gmm", "knn", "vae", "gan"]
Similarities = Literal["auto", "likelihood", "l2", "l1", "l3"]
MIXTURE_MAX_FEATURES = 64
MAX_CALIBRATION_ROWS = 2000
FLOATS_AT_ONCE = 2**24
# Where a square or a density overflows; a number, so that classes still compare.
LEAST_SIMILARITY = -1e150
LARGEST = float(np.finfo(np.float32).max)


class GenerativeClassifier(OODClassifier):
    """Classify a row by the class whose generator can come closest to it.

    One generator is learned for every class. ``decision_function`` is the similarity of a row
    to the nearest generation of each, ``score_samples`` the largest of these: what no
    generator can make is out-of-distribution.

    Parameters
    ----------
    generator : {"auto", "pca", "gmm", "knn", "vae", "gan"} or generator, default="auto"
        What to learn for each class; an object from ``sklearn_ood.generators`` to set its
        parameters, in a ``FrozenEstimator`` where it knows its classes already. "auto" is
        "gmm" for up to 64 features, and "pca" for more.
    similarity : {"auto", "likelihood", "l2", "l1", "l3"}, callable or estimator, default="auto"
        How near a row is to its nearest generation. "l2" is minus the mean squared difference
        a feature, "l1" and "l3" take the first and third power. "likelihood" is the log density
        a feature, in nats; of a VAE its lower bound at the encoder's mean alone, mostly above
        the density. A callable gets the rows and the generations, tensors of shape
        (..., n_features), and reduces the last axis. An estimator, such as
        :class:`SiameseSimilarity`, is first fitted to the training rows. "auto" is
        "likelihood" for PCA and mixtures, else "l2".
    search : {"auto", "encoder", "optimize", "both"}, default="auto"
        How the nearest generation is found where it is not known: training rows are compared
        one by one, and "l2" has a closed form for PCA. "encoder" takes the encoder's latent as
        it is; "optimize" refines the best of ``n_candidates`` random generations with L-BFGS,
        of PCA the nearest in "l2"; "both" refines the better of the two. "auto" is "encoder"
        for a VAE, "both" for a GAN, else "optimize".
    n_candidates : int >= 1, default=256
        Random generations of each class that a search may start from.
    max_iter : int >= 0, default=50
        L-BFGS steps for each row and class.
    prior_weight : float >= 0, default=1.0
        Weight of the latent's prior in a search: with 1 it looks for the most probable
        latent, with 0 for the nearest generation at any price.
    validation_fraction : float in [0, 1), default=0.1
        Part of each class that is held out to calibrate ``predict_proba``; all but VAE and
        GAN are then fitted again, to all rows. With 0, or where no row can be spared, it is
        calibrated on the training rows and overconfident.

    Attributes
    ----------
    generator_ : generator
        The fitted generators of all classes.
    similarity_ : str, callable or estimator
        The similarity used.
    temperature_ : float
        What the similarities are divided by before the softmax of ``predict_proba``.

    References
    ----------
    "Generative classification knows when it does not know", section 4.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ood import GenerativeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = GenerativeClassifier(random_state=0).fit(X, y)
    >>> bool(classifier.score_samples(X[:1] + 10)[0] < classifier.score_samples(X).min())
    True
    """

    generator: Generators | Estimator = field(default="auto", kw_only=False)
    similarity: Similarities | Annotated[Any, callable] | Estimator = "auto"
    search: Literal["auto", "encoder", "optimize", "both"] = "auto"
    n_candidates: Count = 256
    max_iter: Natural = 50
    prior_weight: NonNegative = 1.0
    validation_fraction: ShareOrZero = 0.1
    input_shape: Any = None
    device: Any = "auto"
    random_state: RandomState = None

    generator_: BaseEstimator = fitted()
    similarity_: object = fitted()
    temperature_: float = fitted()
    steps_: int = fitted()
    bank_: tuple | None = fitted()
    penalty_: np.ndarray = fitted()

    _needs_labels = False

    def fit(self, X, y=None, **params):
        """Learn a generator for every class, from as many rows, drawn by ``sample_weight``."""
        data = self._training_data(X, y, self._weight_in(params))
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=3)
        split_seed, seed, bank_seed = seeds
        training, held_out = (each.drawn() for each in self._hold_out(data.known, split_seed))
        learned, of_class, _ = training
        self.generator_ = self._make_generator(data, seed).fit(learned, data.classes[of_class])
        self._check_capabilities()
        self.similarity_ = self._make_similarity(learned, of_class, seed)
        self._prepare_search(bank_seed)
        labels = data.classes[held_out.codes]
        codes = self.generator_.class_index(labels, len(labels))
        self.temperature_ = _calibrated_temperature(self._evidence(held_out.rows), codes)
        rows, codes, _ = data.known.drawn()
        if self.generator_.is_quick and len(learned) < len(rows):
            self.generator_.fit(rows, data.classes[codes])
            self._prepare_search(bank_seed)
        self.classes_ = self.generator_.classes_
        return self

    def explain(self, X):
        """Find the nearest generation of every class to every row, as an ``Explanation``.

        A mixture generates every row as it is: its latents tell how far out it lies.
        """
        rows = self._validate_rows(X)
        similarity, z = self._map(self._nearest, rows)
        labels = np.tile(self.classes_, len(rows))
        made = self.generator_.decode(z.reshape(len(labels), -1), labels)
        made = made.reshape(*similarity.shape, -1)
        return Explanation(rows, made, z, -similarity, self.classes_, tuple(self.input_shape_))

    def plot_explanation(self, X, y=None, *, max_rows=10):
        """Draw rows beside each class's nearest generation, in a matplotlib figure.

        As the paper's figures 6 to 8: the input, then each class; the predicted one is marked.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, C, H, W)
        y : array-like of shape (n_samples,), default=None
            Their labels, to be written beside them.
        max_rows : int, default=10
            Only the first so many are drawn.
        """
        labels = None if y is None else np.asarray(y)[:max_rows]
        return draw_explanation(self.explain(X[:max_rows]), labels)

    @property
    def n_iter_(self):
        """Largest number of steps that a search takes, 1 for a closed form."""
        return max(1, self.steps_)

    def _evidence(self, rows):
        similarity = self._map(self._similarity, rows)
        return np.maximum(similarity, LEAST_SIMILARITY, dtype=np.float64)

    def _log_proba(self, rows):
        return log_softmax(self._evidence(rows) / self.temperature_)

    def _map(self, function, rows):
        core = self.generator_.core_
        size = rows_per_batch(max(1, core.floats_per_row // 4))

        def of_batch(x):
            return function(x.clamp(-LARGEST, LARGEST).float() if core.is_single else x)

        return map_batches(of_batch, rows, device=device_of(core), max_rows=size)

    def _similarity(self, x):
        if self.similarity_ == "likelihood":
            return self.generator_.core_.log_density(x) / x.shape[1]
        return self._nearest(x)[0]

    def _nearest(self, x):
        """Similarity (n, K), and the latents (n, K, m) that it was reached with."""
        core = self.generator_.core_
        if self.similarity_ == "likelihood":
            return self._similarity(x), self._encoded(x).transpose(0, 1)
        guess, apart = None, self._distance
        if hasattr(core, "nearest"):
            guess = partial(core.nearest, distance=apart, prior_weight=self.prior_weight)
        elif self.search != "optimize" and hasattr(core, "encode"):
            guess = self._encoded
        search = {"bank": self.bank_, "penalty": self.penalty_, "max_iter": self.steps_}
        distance, z = match(core, x, apart, guess=guess, **search)
        return -distance, z

    def _encoded(self, x):
        core = self.generator_.core_
        return core.encode(x.expand(core.n_classes, -1, -1))

    def _prepare_search(self, seed):
        """Set what a search of latents needs; nothing where the nearest is known without."""
        core, search = self.generator_.core_, self.search
        closed = hasattr(core, "nearest")
        if search == "auto" and not closed and core.is_encoder_trusted:
            search = "encoder"
        solved = closed and (self.similarity_ == "l2" or not core.is_differentiable)
        searched = search != "encoder" and self.similarity_ != "likelihood" and not solved
        self.steps_ = self.max_iter if searched else 0
        self.bank_ = self._candidates(seed) if searched and not closed else None
        # Of minus the log prior, in units of the mean squared error.
        self.penalty_ = self.prior_weight * self.generator_.noise_variance_ / core.n_features

    @torch.no_grad()
    def _candidates(self, seed):
        core, b = self.generator_.core_, self.n_candidates
        z = self.generator_.draw_latents(core.n_classes * b, seed)
        z = z.reshape(core.n_classes, b, -1)
        size = max(1, FLOATS_AT_ONCE // core.floats_per_row)
        parts = torch.as_tensor(z, device=device_of(core)).split(size, 1)
        return z, torch.cat([core.decode(part).cpu() for part in parts], 1).numpy()

    @property
    def _distance(self):
        """Maps rows and generations to their distances."""
        own = self.similarity_
        return DISTANCES.get(own) or (lambda x, made: -called("similarity", own, x, made))

    def _hold_out(self, known, seed):
        fraction, counts = self.validation_fraction, np.bincount(known.codes)
        if not np.minimum(np.round(fraction * counts), counts - 1).any():
            return known, _some(known, seed)
        held_out = hold_out_each_class(known.codes, fraction, seed)
        return known.at(~held_out), _some(known.at(held_out), seed)

    def chosen_params(self):
        """Parameters of another one whose generator does not choose its form anew."""
        generator = as_chosen(self.generator_, self.generator_)
        return {} if generator is self.generator_ else {"generator": generator}

    def _make_generator(self, data, seed):
        generator = self.generator
        if isinstance(generator, str):
            small = data.rows.shape[1] <= MIXTURE_MAX_FEATURES
            name = generator if generator != "auto" else "gmm" if small else "pca"
            generator = GENERATORS[name]()
            if "device" in generator.get_params():
                generator.set_params(device=self.device)
        elif not isinstance(unwrap(generator)[0], BaseGenerator):
            raise TypeError(f"Got generator={generator!r}, but expected a BaseGenerator.")
        return clone_completed(generator, random_state=seed, input_shape=data.input_shape)

    def _make_similarity(self, rows, codes, seed):
        if self.similarity == "auto":
            return self.generator_.default_similarity
        if hasattr(self.similarity, "fit") and not isinstance(self.similarity, type):
            return clone_completed(self.similarity, random_state=seed).fit(rows, codes)
        return self.similarity

    def _check_capabilities(self):
        core, name = self.generator_.core_, type(self.generator_).__name__
        if self.search == "encoder" and not hasattr(core, "encode"):
            raise ValueError(
                f"Got search='encoder', but {name} has no encoder; use search='optimize'."
            )
        if self.similarity == "likelihood" and not hasattr(core, "log_density"):
            raise ValueError(
                f"Got similarity='likelihood' with {name}, which has no density; use 'l2', or "
                "the generator 'pca', 'gmm' or 'vae'."
            )
        if not self.generator_.has_manifold and self.similarity not in ("auto", "likelihood"):
            raise ValueError(
                f"Got similarity={self.similarity!r} with {name}, which generates every "
                "point, so that every distance is 0; use 'likelihood'."
            )


def _some(known, seed):
    """As many rows as a single number, the temperature, can use."""
    n_rows = len(known.codes)
    if n_rows <= MAX_CALIBRATION_ROWS:
        return known
    chosen = np.random.RandomState(seed).choice(n_rows, MAX_CALIBRATION_ROWS, replace=False)
    return known.at(chosen)


def _calibrated_temperature(evidence, codes):
    """Temperature with the least cross entropy, found in units of the evidence's spread."""
    spread = float(np.abs(evidence - evidence.max(1, keepdims=True)).mean())
    return spread * fit_temperature(evidence / spread, codes) if spread > 0 else 1.0
