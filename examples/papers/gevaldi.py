"""GeValDi: where classifiers differ most, the paper's experiments on MNIST and two tables.

Latents of a generator climb the divergence of the classifiers' answers.

``cnns``, ``pair``: two CNNs and a VAE a class, which are trained once and kept in ``--cache``.
``trees``: a forest, boosting and a planted fault; ``optimizers``: evolution beside gradients.
``expressivity``: small and large networks. ``ensemble``: table 1, regions of uncertainty and
retraining: a bagging ensemble of five small networks and a conditional VAE, of one latent space
as in the paper or one a class, learn the same digits. Accuracies on samples take the condition
for the label; a judge that learned from other digits says how far that is right. Retraining
with the samples stands beside retraining with what their latents generated before the ascent.

    python examples/papers/gevaldi.py pair
    python examples/papers/gevaldi.py trees --data dry_bean --rows 3000 --samples 100
    python examples/papers/gevaldi.py expressivity
    python examples/papers/gevaldi.py ensemble
"""

import warnings
from dataclasses import replace
from functools import partial
from itertools import product

import joblib
import numpy as np
from sklearn import ensemble as sk_ensemble
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from torch import nn

from lab import CLASS_TABLES, IMAGE, Experiment, images, kept, main, table
from sklearn_ood import GenerativeClassifier, GeValDi, NeighborDistance, SoftmaxClassifier
from sklearn_ood.generators import VAE, InterpolationGenerator, PCAGenerator
from sklearn_ood.generators import GaussianMixtureGenerator as Mixture

MNIST, SETS = ("mnist",), ("letter_recognition", "mnist")
TRAINING = "--epochs 10 --rows 60000"
ASCENT = {"n_steps": 100, "lr": 0.05, "prior_weight": 0.0, "prior_mass": 0.9}
# Algorithm 1 as printed: what is left of the drift without Adam's scaling.
PLAIN = {"optimizer": "sgd", "lr": 0.3}
CNNS = ("cnn_16", "cnn_12")
CLIMBS = {
    "js": (ASCENT, CNNS),
    "kl, cnn_16 first": (ASCENT | {"divergence": "kl"}, CNNS),
    "kl, cnn_12 first": (ASCENT | {"divergence": "kl"}, CNNS[::-1]),
    "js, plain gradients": (ASCENT | PLAIN, CNNS),
}
PAIR = {"effort": TRAINING + " --samples 500", "settings": lambda args, name: CLIMBS[name][0]}
# How the generator of a table is made, of how much of the prior, and who differs from a forest.
GENERATORS = {
    "between neighbours": (lambda **_: InterpolationGenerator(), 0.9, ("boosting", "faulty")),
    "mixture": (partial(Mixture, 4), 0.9, ("boosting", "faulty")),
    "mixture, half of the prior": (partial(Mixture, 4), 0.5, ("boosting",)),
    "16 components, ridge 1e-6": (partial(Mixture, 16, reg_covar=1e-6), 0.9, ("boosting",)),
}
N_NETWORK_STEPS, FAULTY = 200, 0.5
PAPER_DRIFT, MIN_REGION = 0.25, 10
SET_SIZES = (1, 3, 5)
VERDICT = ("first_accuracy", "second_accuracy", "low", "high", "adjusted_p_value")
QUALITY = {"accuracy": "accuracy", "auc": "roc_auc_ovr", "f1": "f1_macro"}
PAIRS = ("small, small twin", "large, large twin", "small, large", "large, small")
KINDS = {"one latent space": True, "one a class": False}


def cnn(n, n_dense, n_inputs, n_outputs):
    """Two strided convolutions and a dense layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, n, 5, 2, 2), nn.ReLU(), nn.Conv2d(n, 2 * n, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(98 * n, n_dense), nn.ReLU(), nn.Linear(n_dense, n_outputs)),
    )


def trained(args, seed):
    """VAE, judge and the CNNs by name; the judge's digits are none that the VAE sees."""
    X, y = images("mnist")
    order = np.random.RandomState(seed).permutation(len(X))
    settings = {"batch_size": 128, "lr": 2e-3, "lr_schedule": "cosine", "input_shape": IMAGE}
    network = partial(SoftmaxClassifier, max_epochs=args.epochs, **settings)
    vae = VAE(8, max_epochs=min(15, 3 * args.epochs), random_state=seed)
    rows, fitted = order[: args.rows], {}
    for name, model, some in (
        ("vae", vae, rows[:50_000]),
        ("judge", GenerativeClassifier("pca", random_state=seed), order[-10_000:]),
        ("cnn_16", network(partial(cnn, 16, 64), random_state=2 * seed), rows),
        ("cnn_12", network(partial(cnn, 12, 128), random_state=2 * seed + 1), rows),
    ):
        file = args.cache / f"{name}, {args.epochs} epochs, {len(some)} rows, {seed}.joblib"
        fitted[name], _ = kept(file, model.fit, X[some], y[some])
    return fitted


def apart(X, y, members, generator, **settings):
    """A GeValDi that takes members, by name, and a generator as they are fitted."""
    members = [(name, FrozenEstimator(member)) for name, member in members.items()]
    return GeValDi(members, generator=FrozenEstimator(generator), **settings).fit(X, y)


def course(found):
    """Divergence and drift at every tenth of the ascent, and how often answers differ."""
    start, drift = found.start.predictions, found.drift_path.mean(1)
    divergence = found.divergence_path.mean(1)
    last = int(np.flatnonzero(drift <= PAPER_DRIFT).max())
    return {
        "n_samples": len(found),
        "drift": found.drift.mean(),
        "median_drift": np.median(found.drift),
        "start_answers_differ": (start[0] != start[1:]).any(0).mean(),
        "answers_differ": found.differ.mean(),
        "step at 25 % drift": last,
        "growth at 25 % drift": divergence[last] / divergence[0],
        "growth": divergence[-1] / divergence[0],
        "divergence path": divergence[found.steps],
        "drift path": drift[found.steps],
    }


def set_distances(found):
    """Mean set distance at every tenth of the ascent, by the size of the sets."""
    paths = found.set_distance_path(n=SET_SIZES).mean(1).T
    return {f"set distance path of {n}": path for n, path in zip(SET_SIZES, paths, strict=True)}


def manifold(found, vae, judge, X, y):
    """Shares of the samples no lower than the 5th percentile of real test digits."""
    prior = np.quantile(vae.log_prior(vae.encode(X, judge.predict(X))), 0.05)
    likely = {moment: getattr(found, moment).log_prior >= prior for moment in ("start", "end")}
    credible = judge.score_samples(found.end.samples) >= lowest(judge, X)
    return {
        "manifold prior": likely["end"].mean(),
        "manifold prior at the start": likely["start"].mean(),
        "manifold judge": credible.mean(),
        "manifold both": (likely["end"] & credible).mean(),
        "manifold judge accuracy": judge.score(X, y),
        "manifold judge agrees": judge.score(found.end.samples, found.y),
        "manifold judge agrees at the start": judge.score(found.start.samples, found.y),
    }


def lowest(judge, X):
    """What 95 % of the rows are above."""
    return np.quantile(judge.score_samples(X), 0.05)


@Experiment("CNNs", MNIST, options=TRAINING)
def cnns(args, data, seed):
    """Accuracies of the two."""
    models, test = trained(args, seed), images("mnist", "test")
    return {name: {"accuracy": models[name].score(*test)} for name in CNNS}


@Experiment("pair", MNIST, CLIMBS, **PAIR)
def pair(args, data, seed, name):
    """Two CNNs: ascent, drift, manifold, and who is right on the samples."""
    X, y = images("mnist", "test")
    members, (climbing, order) = trained(args, seed), CLIMBS[name]
    vae, judge = members.pop("vae"), members.pop("judge")
    gevaldi = apart(X, y, members, vae, **climbing)
    found = gevaldi.maximally_different_samples(args.samples, pair=order, random_state=seed)
    verdict = found.compare_accuracy(random_state=0)[0]._asdict()
    verdict = {f"compared {key.replace('_', ' ')}": verdict[key] for key in VERDICT}
    return course(found) | manifold(found, vae, judge, X, y) | verdict | set_distances(found)


def split(X, y, seed):
    """Standardised rows to train and to test on, and their labels."""
    rows, test, *labels = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(rows)
    return scaler.transform(rows), scaler.transform(test), *labels


@Experiment("tables", CLASS_TABLES, GENERATORS, 3, "--rows --samples 200 --steps 30")
def trees(args, data, seed, name):
    """A forest, boosting, and a forest with a fault, apart by samples of a generator."""
    X, X_test, y, y_test = split(*table(data, args.rows), seed)
    seeded, (make_generator, mass, others) = {"random_state": seed}, GENERATORS[name]
    forest = sk_ensemble.RandomForestClassifier(50, max_depth=12, **seeded)
    members = {
        "forest": clone(forest).fit(X, y),
        "boosting": sk_ensemble.HistGradientBoostingClassifier(max_iter=20, **seeded).fit(X, y),
        "faulty": forest.fit(X, with_fault(y, seed)),
    }
    ascent = {"optimizer": "evolution", "n_steps": args.steps, "prior_mass": mass}
    gevaldi = apart(X, y, members, make_generator(**seeded).fit(X, y), **ascent)
    climb = partial(gevaldi.maximally_different_samples, args.samples, **seeded)
    climbed = {other: climb(pair=("forest", other)) for other in others}
    found = climbed["boosting"]
    differ = members["forest"].predict(X_test) != members["boosting"].predict(X_test)
    metrics = course(found)
    metrics |= {f"accuracy of {k}": each.score(X_test, y_test) for k, each in members.items()}
    places = {"start": found.start.samples, "end": found.end.samples}
    places["real rows that differ"] = X_test[differ]
    detectors = {"lof": LocalOutlierFactor(novelty=True), "nearest row": NeighborDistance()}
    for kind, detector in detectors.items():
        usual = lowest(detector.fit(X), X_test)
        for where, rows in places.items():
            metrics[f"{kind}, {where}"] = (detector.score_samples(rows) < usual).mean()
    judge = KNeighborsClassifier(5).fit(X, y)
    for other, samples in climbed.items():
        metrics |= verdicts(other, gevaldi, samples, judge, X_test, y_test)
    return metrics


def with_fault(y, seed):
    """Labels of which half of those of the most frequent class are another's."""
    labels, counts = np.unique(y, return_counts=True)
    first, second = labels[np.argsort(-counts)[:2]]
    wrong = (y == first) & (np.random.RandomState(seed).uniform(size=len(y)) < FAULTY)
    return np.where(wrong, second, y)


def verdicts(other, gevaldi, samples, judge, X, y):
    """Which of the forest and another is right more often: by condition, and on real rows."""
    with warnings.catch_warnings(action="ignore"):
        agrees = judge.predict(samples.end.samples) == samples.y
        compared = {
            "condition": samples.compare_accuracy(random_state=0),
            "nearest real rows": gevaldi.compare_accuracy(samples, X, y, random_state=0),
        }
        if agrees.any():
            compared["condition, judged"] = samples.compare_accuracy(judge, random_state=0)
    found = {f"{other}, judge agrees": agrees.mean()}
    for kind, (pair,) in compared.items():
        said = {"forest": pair.first_accuracy, "other": pair.second_accuracy, "p": pair.p_value}
        found |= {f"{other}, {kind}, {key}": value for key, value in said.items()}
    return found


@Experiment("networks", CLASS_TABLES, effort="--rows --samples 200")
def optimizers(args, data, seed):
    """Gradients, and evolution with 20 times the evaluations, on a pair of networks.

    The generator is one Gaussian a class: a mixture jumps between its components, where
    gradients cannot follow. A longer run shows whether gradients had arrived, one with 20
    starts what they reach with evolution's evaluations.
    """
    X, _, y, _ = split(*table(data, args.rows), seed)
    generator = Mixture(1, random_state=seed).fit(X, y)
    few = np.random.RandomState(seed).permutation(len(X))[:3000]
    members = {}
    for own, (name, sizes) in enumerate({"wide": (64,), "deep": (32, 32)}.items(), 2 * seed):
        net = {"max_epochs": 15, "lr": 3e-3, "batch_size": 128, "random_state": own}
        members[name] = SoftmaxClassifier(hidden_layer_sizes=sizes, **net).fit(X[few], y[few])
    runs = {}
    for name, n_evaluations, settings in (
        *((f"adam, lr {lr}", 1, {"lr": lr}) for lr in (0.02, 0.05, 0.1, 0.2)),
        ("adam, lr 0.05, longer", 5, {"lr": 0.05, "n_steps": 5 * N_NETWORK_STEPS}),
        ("adam, lr 0.05, 20 starts", 20, {"lr": 0.05, "n_starts": 20}),
        ("evolution", 20, {"optimizer": "evolution", "population_size": 20}),
    ):
        gevaldi = apart(X, y, members, generator, **{"n_steps": N_NETWORK_STEPS} | settings)
        found = gevaldi.maximally_different_samples(args.samples, random_state=seed)
        runs[name] = {
            "evaluations": n_evaluations * N_NETWORK_STEPS,
            "start": found.start.divergence.mean(),
            "divergence": found.end.divergence.mean(),
        }
    *gradients, starts, evolution = (run["divergence"] for run in runs.values())
    runs["evolution"]["over gradients"] = evolution / max(gradients)
    runs["evolution"]["over as many evaluations"] = evolution / starts
    return runs


@Experiment("expressivity", SETS, seeds=5, options="--rows 10000 --samples 500")
def expressivity(args, data, seed):
    """Four pairs of small and large networks, as in figure 2: their set distances, by KL."""
    is_image = data == "mnist"
    X, y = images(data) if is_image else table(data)
    X = X if is_image else StandardScaler().fit_transform(X)
    generator = PCAGenerator(10) if is_image else Mixture(1, random_state=0)
    generator.fit(X[: args.rows], y[: args.rows])
    order = np.random.RandomState(seed).permutation(len(X))
    rows, test = order[: args.rows], order[args.rows :][:10_000]
    training = {"max_epochs": 10, "lr": 1e-3} if is_image else {"max_epochs": 20, "lr": 3e-3}
    training |= {"batch_size": 128, "lr_schedule": "cosine"}
    members = {}
    for twin, (name, sizes) in product(range(2), (("small", (16,)), ("large", (256, 256)))):
        own = {"hidden_layer_sizes": sizes, "random_state": 2 * seed + twin}
        net = SoftmaxClassifier(**own, **training).fit(X[rows], y[rows])
        members[name + " twin" * twin] = net
    gevaldi = apart(X[rows], y[rows], members, generator, divergence="kl", **ASCENT)
    climb = partial(gevaldi.maximally_different_samples, args.samples, random_state=seed)
    found = {}
    for names in PAIRS:
        pair = tuple(names.split(", "))
        climbed = climb(pair=pair)
        metrics = set_distances(climbed)
        metrics |= {key.replace(" path", ""): path[-1] for key, path in metrics.items()}
        metrics["divergence path"] = climbed.divergence_path.mean(1)[climbed.steps]
        for place, name in enumerate(pair):
            weights = members[name].net_.module_.parameters()
            metrics[f"accuracy of {place}"] = members[name].score(X[test], y[test])
            metrics[f"weights of {place}"] = sum(each.numel() for each in weights)
        found[names] = metrics
    return found


def quality(classifier, X, y, name):
    """Accuracy, AUC (one against the rest) and F1, the last two averaged over classes."""
    scorers = {metric: get_scorer(scorer) for metric, scorer in QUALITY.items()}
    return {f"{metric}, {name}": each(classifier, X, y) for metric, each in scorers.items()}


def regions(gevaldi, found, judge, space):
    """How many samples are in regions, and how these differ from all others."""
    parts = gevaldi.failure_regions(found, space=space, min_samples=MIN_REGION)
    inside = np.isin(np.arange(len(found)), [index for part in parts for index in part.index])
    named = [frozenset(answers) for answers in found.end.predictions.T.tolist()]
    kinds = {frozenset(part.confusable) for part in parts}
    each = {
        "divergence": found.end.divergence,
        "answers differ": found.differ,
        "classes named": np.array([len(classes) for classes in named]),
        "judge agrees": judge.predict(found.end.samples) == found.y,
        "named as in a region": np.array([classes in kinds for classes in named]),
    }
    metrics = {"regions": len(parts), "in regions": inside.mean()}
    for where, rows in (("inside", inside), ("outside", ~inside)):
        if rows.any():
            metrics |= {f"{where}, {key}": value[rows].mean() for key, value in each.items()}
    return {f"{space}, {key}": value for key, value in metrics.items()}


def retrained(gevaldi, found, fresh, X, y, test):
    """Accuracy with the samples, with what was there before the ascent, and with neither."""
    sets = {"test": test, "fresh": (fresh.end.samples, fresh.y)}
    samples = gevaldi.refit_with(found, X, y, evaluate=sets)
    unmoved = gevaldi.refit_with(replace(found, end=found.start), X, y, evaluate=sets)
    again = {name: clone(each).fit(X, y) for name, each in gevaldi.named_estimators_.items()}
    alone = apart(X, y, again, gevaldi.generator_)
    own = samples.estimator.maximally_different_samples(len(fresh), random_state=2)
    of_its_own = {"its own samples": samples.estimator.score(own.end.samples, own.y)}
    scores = {
        "before": samples.before,
        "with samples": samples.after | of_its_own,
        "with generated rows, no ascent": unmoved.after,
        "without": {name: alone.score(*rows) for name, rows in sets.items()},
    }
    return {f"{name}, {how}": x for how, each in scores.items() for name, x in each.items()}


@Experiment("ensemble", MNIST, KINDS, options="--rows 4000 --samples 1000")
def ensemble(args, data, seed, kind):
    """All of one ensemble and one VAE of the same digits, and a judge of others."""
    (X, y), test = images(data), images(data, "test")
    order = np.random.RandomState(seed).permutation(len(X))
    rows, others = order[: args.rows], order[-args.rows :]
    judge = GenerativeClassifier("pca", random_state=seed).fit(X[others], y[others])
    X, y = X[rows], y[rows]
    net = SoftmaxClassifier(hidden_layer_sizes=(32,), max_epochs=10, module="mlp")
    bagging = sk_ensemble.BaggingClassifier(net, n_estimators=5, random_state=seed).fit(X, y)
    members = {f"net{i}": each for i, each in enumerate(bagging.estimators_)}
    networks = {"encoder": "mlp", "decoder": "mlp", "max_epochs": 40, "batch_size": 16}
    vae = VAE(8, conditional=KINDS[kind], random_state=seed, **networks).fit(X, y)
    gevaldi = apart(X, y, members, vae, input_shape=IMAGE, **ASCENT)
    plain, n = clone(gevaldi).set_params(**PLAIN).fit(X, y), args.samples
    found = gevaldi.maximally_different_samples(n, random_state=seed)
    fewer = plain.maximally_different_samples(n // 4, random_state=seed)
    fresh = gevaldi.maximally_different_samples(n // 2, random_state=1000 + seed)
    joblib.dump((gevaldi, found, X, y), args.cache / f"ensemble, {kind}, {seed}.joblib")
    metrics = course(found) | {f"{key}, plain": value for key, value in course(fewer).items()}
    metrics |= quality(gevaldi, *test, "test")
    for name, samples in (("start", found.start.samples), ("end", found.end.samples)):
        credible = judge.score_samples(samples) >= lowest(judge, test[0])
        metrics |= quality(gevaldi, samples, found.y, name)
        metrics[f"judge agrees, {name}"] = judge.score(samples, found.y)
        metrics[f"credible, {name}"] = credible.mean()
    for space in ("latent", "probability"):
        metrics |= regions(gevaldi, found, judge, space)
    return metrics | retrained(gevaldi, found, fresh, X, y, test)


if __name__ == "__main__":
    main(__doc__, "gevaldi")
