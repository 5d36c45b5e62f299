"""What an attack makes that sees the autoencoder's confidence: digits, or what fools?

Where it succeeds, an attack on the scaled output ends where the autoencoder changes nothing.
Such images are told from digits by their distance to the nearest training image: strange is
what lies farther than 99 % of held-out digits do. Autoencoders of several noises, and the
ideal one, E[row | noisy row], in closed form, over a fifth of the rows. alpha is such that 95 %
of held-out digits pass at 99 %; ten times the paper's learning rate, a tenth of its updates.

    python examples/papers/spigler_attack.py attack
"""

import joblib
import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn

import lab
import spigler
from sklearn_ood.inspection import fooling_rate

LIMIT, N_HELD_OUT = np.log(0.99), 1000
NOISES = ("noise 0.2", "noise 0.6", "noise 1.0", "ideal, noise 1.0")
TRAINING = "--rows 10000 --epochs 10 --batch-size 128 --train-lr 2e-3"
NETWORK = " --network mlp --width 400 --reconstruction-weight 5.0"
EFFORT = "--trials 3 --max-updates 1000 --lr 1e-4" + NETWORK


class IdealAutoencoder(nn.Module):
    """The best denoiser of some rows; their labels, weighted as they are."""

    def __init__(self, rows, labels, noise):
        super().__init__()
        self.rows, self.members = torch.as_tensor(rows), torch.eye(10)[labels]
        self.n_classes, self.noise = 10, noise

    def encode(self, x):
        nearness = x @ self.rows.T - self.rows.square().sum(dim=1) / 2
        return torch.softmax(nearness / self.noise**2, dim=1)

    def decode(self, code):
        return code @ self.rows

    def classify(self, code):
        return torch.log((code @ self.members).clamp_min(1e-30))

    def forward(self, x):
        return self.classify(self.encode(x))


def classifier_of(X, y, args, seed, name):
    """An autoencoder with this noise, or in place of its network the ideal one."""
    noise, ideal = float(name.split()[-1]), "ideal" in name
    own = {"noise": noise, "max_epochs": 1 if ideal else args.epochs}
    classifier = spigler.make_classifier("DAE tied", args, seed, **own)
    classifier.fit(X[: args.rows], y[: args.rows])
    if ideal:
        few = slice(args.rows // 5)
        classifier.net_.module_ = IdealAutoencoder(X[few], y[few], noise)
    return classifier


@lab.Experiment("attack", ("mnist",), NOISES, options=TRAINING, effort=EFFORT)
def attack(args, data, seed, name):
    """How many trials fool the classifier, and how many of them with something strange."""
    (X, y), (X_test, y_test) = lab.images(data), lab.images(data, "test")
    classifier = classifier_of(X, y, args, seed, name)
    held_out = X[-N_HELD_OUT:]
    error = classifier.confidence_components(held_out).reconstruction_error
    classifier.alpha_ = float(-LIMIT / np.quantile(error, 0.95))
    effort = {"n_trials": args.trials, "max_updates": args.max_updates, "lr": args.lr}
    effort |= {"target": "scaled", "random_state": seed}
    found = fooling_rate(classifier, threshold=LIMIT, **effort)
    joblib.dump(found, args.cache / f"attack-{name}.joblib")
    nearest = NearestNeighbors(n_neighbors=1).fit(X[: args.rows])
    (typical, _), (distance, index) = map(nearest.kneighbors, (held_out, found.rows))
    strange = found.fooled & (distance[:, 0] > np.quantile(typical, 0.99))
    alike = found.fooled & (y[index[:, 0]] == found.targets)
    _, right, error = spigler.judged(classifier, X_test, y_test)
    return {
        "accuracy": right.mean(),
        "accuracy at 99%": (right & (classifier.score_samples(X_test) >= LIMIT)).mean(),
        "alpha": classifier.alpha_,
        "passes": (classifier.alpha_ * error <= -LIMIT).mean(),
        "passes at the paper's alpha": (spigler.PAPER_ALPHA[0.99] * error <= -LIMIT).mean(),
        "fooled": found.rate,
        "fooled by the strange": strange.mean(),
        "nearest digit has the label": alike.mean() / max(found.rate, 1e-9),
        "squared distance": np.mean(distance**2) / X.shape[1],
        "squared distance of digits": np.mean(typical**2) / X.shape[1],
        "trials": len(found.fooled),
    }


if __name__ == "__main__":
    lab.main(__doc__, "spigler")
