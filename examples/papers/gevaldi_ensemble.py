"""GeValDi on an ensemble: Table 1, regions of uncertainty and retraining, on MNIST.

A bagging ensemble of five small networks and a conditional VAE, of one latent space as in the
paper or one a class, learn the same digits. Accuracies on samples take the condition for the
label; a judge that learned from other digits says how far that is right. Retraining with the
samples stands beside retraining with what their latents generated before the ascent.

    python examples/papers/gevaldi_ensemble.py
    python examples/papers/gevaldi_ensemble.py --seeds 1 --rows 1000 --samples 200  # a trial
"""

from dataclasses import replace
from functools import partial
from itertools import product

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from gevaldi import ASCENT, PLAIN, apart, course
from lab import Store, chosen, images, parser, timed
from sklearn_ood import GenerativeClassifier, SoftmaxClassifier
from sklearn_ood.generators import VAE

IMAGE = (1, 28, 28)
KINDS = {"one latent space": True, "one a class": False}
MIN_REGION = 10


def quality(classifier, X, y, name):
    """Accuracy, AUC (one against the rest) and F1, the last two averaged over classes."""
    proba = classifier.predict_proba(X)
    answers = classifier.classes_[proba.argmax(1)]
    return {
        f"accuracy, {name}": accuracy_score(y, answers),
        f"auc, {name}": roc_auc_score(y, proba, multi_class="ovr"),
        f"f1, {name}": f1_score(y, answers, average="macro"),
    }


def fit(digits, n_rows, conditional, seed):
    """Ensemble and VAE of the same digits as GeValDi, a judge of others, and the rows."""
    X, y = digits
    order = np.random.RandomState(seed).permutation(len(X))
    rows, others = order[:n_rows], order[-n_rows:]
    member = SoftmaxClassifier(hidden_layer_sizes=(32,), max_epochs=10, module="mlp")
    bagging = BaggingClassifier(member, n_estimators=5, random_state=seed)
    judge = GenerativeClassifier("pca", random_state=seed).fit(X[others], y[others])
    X, y = X[rows], y[rows]
    members = {f"net{i}": each for i, each in enumerate(bagging.fit(X, y).estimators_)}
    networks = {"encoder": "mlp", "decoder": "mlp", "max_epochs": 40, "batch_size": 16}
    vae = VAE(8, conditional=conditional, random_state=seed, **networks).fit(X, y)
    return apart(X, y, members, vae, input_shape=IMAGE, **ASCENT), judge, X, y


def judged(samples, labels, judge, lowest, name):
    """How often the judge sees the condition, and finds a sample as credible as a digit."""
    return {
        f"judge agrees, {name}": judge.score(samples, labels),
        f"credible, {name}": (judge.score_samples(samples) >= lowest).mean(),
    }


def regions(gevaldi, found, judge, space):
    """How many samples are in regions, and how these differ from all others."""
    parts = gevaldi.failure_regions(found, space=space, min_samples=MIN_REGION)
    inside = np.zeros(len(found), dtype=bool)
    inside[np.concatenate([np.empty(0, int), *(each.index for each in parts)])] = True
    answers = np.sort(found.end.predictions, axis=0)
    sets = map(frozenset, found.end.predictions.T.tolist())
    kinds = {frozenset(each.confusable) for each in parts}
    each = {
        "divergence": found.end.divergence,
        "answers differ": found.differ,
        "classes named": (np.diff(answers, axis=0) != 0).sum(axis=0) + 1,
        "judge agrees": judge.predict(found.end.samples) == found.y,
        "named as in a region": np.array([names in kinds for names in sets]),
    }
    metrics = {"regions": len(parts), "in regions": inside.mean()}
    for name, index in (("inside", inside), ("outside", ~inside)):
        if index.any():
            metrics |= {f"{name}: {key}": value[index].mean() for key, value in each.items()}
    return {f"{space}: {key}": value for key, value in metrics.items()}


def retrained(gevaldi, found, fresh, X, y, test):
    """Accuracy with the samples, with what was there before the ascent, and with neither."""
    sets = {"test": test, "fresh": (fresh.end.samples, fresh.y)}
    samples = gevaldi.refit_with(found, X, y, evaluate=sets)
    unmoved = gevaldi.refit_with(replace(found, end=found.start), X, y, evaluate=sets)
    again = {name: clone(each).fit(X, y) for name, each in gevaldi.named_estimators_.items()}
    alone = apart(X, y, again, gevaldi.generator_)
    scores = {
        "before": samples.before,
        "with samples": samples.after,
        "with generated rows, no ascent": unmoved.after,
        "without": {name: alone.score(*rows) for name, rows in sets.items()},
    }
    own = samples.estimator.maximally_different_samples(len(fresh), random_state=2)
    scores["with samples"]["its own samples"] = samples.estimator.score(own.end.samples, own.y)
    return {
        f"{name}, {how}": value
        for how, measured in scores.items()
        for name, value in measured.items()
    }


def compare(digits, test, kind, seed, n_rows, n_samples, cache):
    """All of one ensemble and one VAE."""
    gevaldi, judge, X, y = fit(digits, n_rows, KINDS[kind], seed)
    climb = partial(gevaldi.maximally_different_samples, random_state=seed)
    found, seconds = timed(partial(climb, n_samples))
    plain = clone(gevaldi).set_params(**PLAIN).fit(X, y)
    plain = plain.maximally_different_samples(n_samples // 4, random_state=seed)
    lowest = np.quantile(judge.score_samples(test[0]), 0.05)
    metrics = course(found) | {"seconds": seconds, "judge accuracy": judge.score(*test)}
    metrics |= {f"{key}, plain": value for key, value in course(plain).items()}
    sets = {"test": test, "start": (found.start.samples, found.y)}
    for name, rows in (sets | {"end": (found.end.samples, found.y)}).items():
        metrics |= quality(gevaldi, *rows, name)
        if name != "test":
            metrics |= judged(*rows, judge, lowest, name)
    for space in ("latent", "probability"):
        metrics |= regions(gevaldi, found, judge, space)
    fresh = gevaldi.maximally_different_samples(n_samples // 2, random_state=1000 + seed)
    metrics |= retrained(gevaldi, found, fresh, X, y, test)
    cache.mkdir(parents=True, exist_ok=True)
    joblib.dump((gevaldi, found, X, y), cache / f"ensemble, {kind}, {seed}.joblib")
    return metrics


def main():
    args = parser(__doc__, "gevaldi", "--seeds 3 --rows 4000 --samples 1000").parse_args()
    digits, test = images("mnist"), images("mnist", "test")
    store, settings = Store("gevaldi", args.results), chosen(args, "rows", "samples")
    for seed, kind in product(range(args.seeds), KINDS):
        run = partial(compare, digits, test, kind, seed, *settings.values(), args.cache)
        store.run(run, "ensemble", "mnist", kind, seed, **settings)


if __name__ == "__main__":
    main()
