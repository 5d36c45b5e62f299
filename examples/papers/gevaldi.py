"""GeValDi: where classifiers differ most, the paper's experiments on MNIST and two tables.

Latents of a generator climb the divergence of the classifiers' answers. Models are trained
once and kept in the folder ``--cache``:

    python examples/papers/gevaldi.py train vae   # and cnn_16, cnn_12
    python examples/papers/gevaldi.py pair        # the CNNs: ascent, drift, manifold
    python examples/papers/gevaldi.py letter_recognition  # trees, a planted fault,
    python examples/papers/gevaldi.py dry_bean            # evolution against gradients
    python examples/papers/gevaldi.py expressivity        # small and large networks
"""

import warnings
from functools import partial

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import nn

from lab import CLASS_TABLES, Store, images, parser, table, timed
from sklearn_ood import GenerativeClassifier, GeValDi, SoftmaxClassifier
from sklearn_ood.generators import VAE, InterpolationGenerator, PCAGenerator
from sklearn_ood.generators import GaussianMixtureGenerator as Mixture

IMAGE = (1, 28, 28)
N_ROWS = {"vae": 50_000, "cnn_16": 60_000, "cnn_12": 60_000, "judge": 10_000}
N_CNN_EPOCHS, N_PAIR = 10, 500
ASCENT = {"n_steps": 100, "lr": 0.05, "prior_weight": 0.0, "prior_mass": 0.9}
# Algorithm 1 as printed: what is left of the drift without Adam's scaling.
PLAIN = {"optimizer": "sgd", "lr": 0.3}
N_TABLE_SAMPLES, N_TREE_STEPS, N_NETWORK_STEPS = 200, 30, 200
N_TABLE_SEEDS, FAULTY = 3, 0.5
PAPER_DRIFT = 0.25
SET_SIZES, N_SEEDS = (1, 3, 5), 5
SIZES = ("small, small twin", "large, large twin", "small, large", "large, small")


def cnn(n_channels, n_dense):
    """Two strided convolutions and a dense layer."""

    def build(n_inputs, n_outputs):
        return nn.Sequential(
            nn.Conv2d(1, n_channels, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(n_channels, 2 * n_channels, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * n_channels * 49, n_dense),
            nn.ReLU(),
            nn.Linear(n_dense, n_outputs),
        )

    return build


def train(args):
    """Fit one of the models."""
    X, y = images("mnist")
    settings = {"batch_size": 128, "lr": 2e-3, "lr_schedule": "cosine", "input_shape": IMAGE}
    settings["max_epochs"] = args.epochs
    model = {
        "vae": VAE(8, max_epochs=min(15, 3 * args.epochs), random_state=0),
        "cnn_16": SoftmaxClassifier(cnn(16, 64), random_state=0, **settings),
        "cnn_12": SoftmaxClassifier(cnn(12, 128), random_state=1, **settings),
        "judge": GenerativeClassifier("pca", random_state=0),
    }[args.model]
    order = np.random.RandomState(0).permutation(len(X))
    n_rows = args.rows or N_ROWS[args.model]
    # The judge learns from digits that the generator does not see.
    rows = order[-n_rows:] if args.model == "judge" else order[:n_rows]
    _, seconds = timed(lambda: model.fit(X[rows], y[rows]))
    if args.model.startswith("cnn"):
        # The function that built the network cannot be pickled.
        model = SoftmaxClassifier.from_module(model.net_.module_, model.classes_, IMAGE)
    args.cache.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, args.cache / f"{args.model}.joblib")
    print(f"{args.model}: {n_rows:,} rows, {seconds:.0f} s", flush=True)


def apart(X, y, members, generator, **settings):
    """A GeValDi that takes members, by name, and a generator as they are fitted."""
    members = [(name, FrozenEstimator(member)) for name, member in members.items()]
    return GeValDi(members, generator=FrozenEstimator(generator), **settings).fit(X, y)


def course(found):
    """Divergence and drift at every tenth of the ascent, and how often answers differ."""
    start, drift = found.start.predictions, found.drift_path.mean(1)
    divergence = found.divergence_path.mean(1)
    last = int(np.flatnonzero(drift <= PAPER_DRIFT).max())
    consensus = np.exp(found.log_proba_path).mean(1).argmax(2)
    return {
        "n_samples": len(found),
        "n_steps": len(divergence) - 1,
        "drift": found.drift.mean(),
        "median_drift": np.median(found.drift),
        "start_answers_differ": (start[0] != start[1:]).any(0).mean(),
        "answers_differ": found.differ.mean(),
        "step at 25 % drift": last,
        "growth at 25 % drift": divergence[last] / divergence[0],
        "growth": divergence[-1] / divergence[0],
        "divergence path": divergence[found.steps],
        "drift path": drift[found.steps],
        "accuracy path": (found.end.classes[consensus] == found.y).mean(1),
    }


def manifold(found, vae, judge, X, y):
    """Shares of the samples no lower than the 5th percentile of real test digits."""
    prior = np.quantile(vae.log_prior(vae.encode(X, judge.predict(X))), 0.05)
    start, end = found.start, found.end
    likely = end.log_prior >= prior
    credible = judge.score_samples(end.samples) >= np.quantile(judge.score_samples(X), 0.05)
    return {
        "manifold prior": likely.mean(),
        "manifold prior at the start": (start.log_prior >= prior).mean(),
        "manifold judge": credible.mean(),
        "manifold both": (likely & credible).mean(),
        "manifold judge accuracy": judge.score(X, y),
        "manifold judge agrees": judge.score(end.samples, found.y),
        "manifold judge agrees at the start": judge.score(start.samples, found.y),
    }


def compared(found):
    """Accuracy of the two on the samples, the interval of the difference, and its p-value."""
    pair = found.compare_accuracy(random_state=0)[0]._asdict()
    numbers = {key: value for key, value in pair.items() if not isinstance(value, str)}
    return {f"compared {key.replace('_', ' ')}": value for key, value in numbers.items()}


def run_pair(args):
    """Two CNNs, their divergence by JS and by both orders of KL."""
    kept = {name: joblib.load(args.cache / f"{name}.joblib") for name in N_ROWS}
    X, y = images("mnist", "test")
    vae, judge, store = kept.pop("vae"), kept.pop("judge"), Store("gevaldi", args.results)
    accuracies = {name: {"accuracy": member.score(X, y)} for name, member in kept.items()}
    store.put(accuracies, "CNNs", "mnist", epochs=args.epochs, rows=args.rows or 60_000)
    for name, first, changes in (
        ("js", "cnn_16", {}),
        ("kl, cnn_16 first", "cnn_16", {"divergence": "kl"}),
        ("kl, cnn_12 first", "cnn_12", {"divergence": "kl"}),
        ("js, plain gradients", "cnn_16", PLAIN),
    ):
        settings, order = ASCENT | changes, sorted(kept, reverse=first == "cnn_16")
        climb = apart(X, y, kept, vae, **settings).maximally_different_samples
        climb = partial(climb, args.samples or N_PAIR, pair=order, random_state=0)
        found, seconds = timed(climb)
        metrics = course(found) | manifold(found, vae, judge, X, y) | compared(found)
        for n, path in zip(SET_SIZES, found.set_distance_path().mean(1).T, strict=True):
            metrics[f"set distance path of {n}"] = path
        store.put({name: metrics | {"seconds": seconds}}, "pair", "mnist", **settings)


def run_table(name, args):
    """Trees, a planted fault and two networks; a third of the rows is for tests."""
    X, y = table(name, args.rows)
    store, n_samples = Store("gevaldi", args.results), args.samples or N_TABLE_SAMPLES
    for seed in range(N_TABLE_SEEDS):
        settings = {"seed": seed, "rows": args.rows, "samples": n_samples}
        compare = partial(compare_trees, X, y, seed, n_samples)
        store.run(compare, "tables", name, **settings, steps=N_TREE_STEPS)
    X, _, y, _ = split(X, y, 0)
    compare = partial(compare_optimizers, X, y, n_samples)
    store.run(compare, "networks", name)


def split(X, y, seed):
    """Standardised rows to train and to test on, and their labels."""
    rows, test, *labels = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(rows)
    return scaler.transform(rows), scaler.transform(test), *labels


def compare_trees(X, y, seed, n_samples):
    """A forest, boosting, and a forest with a fault, apart by samples of three generators."""
    X, X_test, y, y_test = split(X, y, seed)
    forest = RandomForestClassifier(50, max_depth=12, random_state=seed)
    members = {
        "forest": clone(forest).fit(X, y),
        "boosting": HistGradientBoostingClassifier(max_iter=20, random_state=seed).fit(X, y),
        "faulty": clone(forest).fit(X, with_fault(y, seed)),
    }
    judge, manifold = KNeighborsClassifier(5).fit(X, y), Manifold(X, X_test)
    differ = members["forest"].predict(X_test) != members["boosting"].predict(X_test)
    real = manifold.shares(X_test[differ], "real rows that differ")
    real |= {
        f"accuracy of {name}": model.score(X_test, y_test) for name, model in members.items()
    }
    found = {}
    for name, generator in {
        "between neighbours": InterpolationGenerator(),
        "mixture": Mixture(4, random_state=seed),
        "mixture, half of the prior": Mixture(4, random_state=seed),
        "16 components, ridge 1e-6": Mixture(16, reg_covar=1e-6, random_state=seed),
    }.items():
        settings = {"n_steps": N_TREE_STEPS, "optimizer": "evolution"}
        settings["prior_mass"] = 0.5 if "half" in name else ASCENT["prior_mass"]
        gevaldi = apart(X, y, members, generator.fit(X, y), **settings)
        climb = partial(gevaldi.maximally_different_samples, n_samples, random_state=seed)
        pairs = {"boosting": climb(pair=("forest", "boosting"))}
        if not name.startswith(("mixture,", "16")):
            pairs["faulty"] = climb(pair=("forest", "faulty"))
        found[name] = course(pairs["boosting"]) | real
        for moment in ("start", "end"):
            samples = getattr(pairs["boosting"], moment).samples
            found[name] |= manifold.shares(samples, moment)
        for other, samples in pairs.items():
            found[name] |= verdicts(other, gevaldi, samples, judge, X_test, y_test)
    return found


def with_fault(y, seed):
    """Labels of which half of those of the most frequent class are another's."""
    labels, counts = np.unique(y, return_counts=True)
    first, second = labels[np.argsort(-counts)[:2]]
    wrong = (y == first) & (np.random.RandomState(seed).uniform(size=len(y)) < FAULTY)
    return np.where(wrong, second, y)


class Manifold:
    """How far samples are from training rows, beside test rows: LOF and the nearest row."""

    def __init__(self, rows, test):
        self.lof = LocalOutlierFactor(novelty=True).fit(rows)
        self.nearest = NearestNeighbors(n_neighbors=1).fit(rows)
        self.lowest = np.quantile(self.lof.score_samples(test), 0.05)
        self.farthest = np.quantile(self.nearest.kneighbors(test)[0], 0.95)

    def shares(self, samples, name):
        """Shares beyond 95 % of the test rows."""
        far = self.nearest.kneighbors(samples)[0] > self.farthest
        low = self.lof.score_samples(samples) < self.lowest
        return {f"lof, {name}": low.mean(), f"nearest row, {name}": far.mean()}


def verdicts(other, gevaldi, samples, judge, X, y):
    """Which of the forest and another is right more often: by condition, and on real rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agrees = judge.predict(samples.end.samples) == samples.y
        compared = {
            "condition": samples.compare_accuracy(random_state=0),
            "nearest real rows": gevaldi.compare_accuracy(samples, X, y, random_state=0),
        }
        if agrees.any():
            compared["condition, judged"] = samples.compare_accuracy(judge, random_state=0)
    found = {f"{other}, judge agrees": agrees.mean()}
    for kind, (pair,) in compared.items():
        said = pair.first_accuracy, pair.second_accuracy, pair.p_value, pair.n_samples
        for name, value in zip(("forest", "other", "p", "samples"), said, strict=True):
            found[f"{other}, {kind}: {name}"] = value
    return found


def compare_optimizers(X, y, n_samples):
    """Gradients, and evolution with 20 times the evaluations, on a pair of networks.

    The generator is one Gaussian a class: a mixture jumps between its components, where
    gradients cannot follow. A longer run shows whether gradients had arrived, one with 20
    starts what they reach with evolution's evaluations.
    """
    generator = Mixture(1, random_state=0).fit(X, y)
    few = np.random.RandomState(0).permutation(len(X))[:3000]
    net = {"max_epochs": 15, "lr": 3e-3, "batch_size": 128}
    wide = SoftmaxClassifier(hidden_layer_sizes=(64,), random_state=0, **net)
    deep = SoftmaxClassifier(hidden_layer_sizes=(32, 32), random_state=1, **net)
    members = {"wide": wide.fit(X[few], y[few]), "deep": deep.fit(X[few], y[few])}
    runs = {}
    for name, longer, settings in (
        *((f"adam, lr {lr}", 1, {"lr": lr}) for lr in (0.02, 0.05, 0.1, 0.2)),
        ("adam, lr 0.05, longer", 5, {"lr": 0.05}),
        ("adam, lr 0.05, 20 starts", 1, {"lr": 0.05, "n_starts": 20}),
        ("evolution", 1, {"optimizer": "evolution", "population_size": 20}),
    ):
        n_steps = longer * N_NETWORK_STEPS
        gevaldi = apart(X, y, members, generator, n_steps=n_steps, **settings)
        found = gevaldi.maximally_different_samples(n_samples, random_state=0)
        proposals = settings.get("n_starts", settings.get("population_size", 1))
        runs[name] = {
            "evaluations": n_steps * proposals,
            "start": found.start.divergence.mean(),
            "divergence": found.end.divergence.mean(),
        }
    *gradients, starts, evolution = (run["divergence"] for run in runs.values())
    runs["evolution"]["over gradients"] = evolution / max(gradients)
    runs["evolution"]["over as many evaluations"] = evolution / starts
    return runs


def run_expressivity(args):
    """Four pairs of small and large networks, as in figure 2: their set distances."""
    store, n_rows = Store("gevaldi", args.results), args.rows or 10_000
    n_samples = args.samples or N_PAIR
    run = partial(store.run, experiment="expressivity", rows=n_rows, samples=n_samples)
    X, y = table("letter_recognition")
    X = StandardScaler().fit_transform(X)
    for data, rows, generator, training in (
        ("letter_recognition", (X, y), Mixture(1, random_state=0), {"epochs": 20, "lr": 3e-3}),
        ("mnist", images("mnist"), PCAGenerator(10), {"epochs": 10, "lr": 1e-3}),
    ):
        generator.fit(*(part[:n_rows] for part in rows))
        compare = partial(compare_sizes, *rows, generator, n_rows, n_samples, **training)
        for seed in range(N_SEEDS):
            run(partial(compare, seed), data=data, seed=seed)


def compare_sizes(X, y, generator, n_rows, n_samples, seed, epochs, lr):
    """The four pairs of one seed, by KL."""
    order = np.random.RandomState(seed).permutation(len(X))
    rows, test = order[:n_rows], order[n_rows:][:10_000]
    training = {"batch_size": 128, "lr_schedule": "cosine", "max_epochs": epochs, "lr": lr}
    members = {
        f"{name}{' twin' * twin}": SoftmaxClassifier(
            hidden_layer_sizes=sizes, random_state=2 * seed + twin, **training
        ).fit(X[rows], y[rows])
        for name, sizes in (("small", (16,)), ("large", (256, 256)))
        for twin in range(2)
    }
    gevaldi = apart(X[rows], y[rows], members, generator, divergence="kl", **ASCENT)
    found = {}
    for names in SIZES:
        pair = tuple(names.split(", "))
        climbed = gevaldi.maximally_different_samples(n_samples, pair=pair, random_state=seed)
        metrics = {"divergence path": climbed.divergence_path.mean(1)[climbed.steps]}
        distances = climbed.set_distance_path(n=SET_SIZES).mean(1)
        for n, path in zip(SET_SIZES, distances.T, strict=True):
            metrics |= {f"set distance path of {n}": path, f"set distance of {n}": path[-1]}
        for place, name in enumerate(pair):
            metrics[f"accuracy of {place}"] = members[name].score(X[test], y[test])
            weights = members[name].net_.module_.parameters()
            metrics[f"weights of {place}"] = sum(each.numel() for each in weights)
        found[names] = metrics
    return found


PARTS = {
    "train": train,
    "pair": run_pair,
    **{name: partial(run_table, name) for name in CLASS_TABLES},
    "expressivity": run_expressivity,
}


def main():
    cli = parser(__doc__, "gevaldi", f"--epochs {N_CNN_EPOCHS} --rows --samples", PARTS)
    cli.add_argument("model", choices=N_ROWS, nargs="?", help="to train")
    args = cli.parse_args()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
