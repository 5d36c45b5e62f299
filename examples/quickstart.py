"""A classifier that refuses digits it was never taught.

Taught the digits 0-6, then shown 7, 8 and 9 too. Prints how many of its answers are right,
how many digits it answers and how many unknown ones it refuses, and draws the risk at every
coverage into ``risk_coverage.png``.

    python examples/quickstart.py                 # scikit-learn's 8x8 digits
    python examples/quickstart.py --data mnist    # MNIST; Fashion-MNIST and Omniglot unknown
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from data import load_images
from sklearn_ood import (
    CombinedClassifier,
    GenerativeClassifier,
    NeighborDistance,
    SelectiveClassifier,
    SoftmaxClassifier,
)
from sklearn_ood.metrics import RiskCoverageDisplay

UNKNOWN = -1


def bundled_digits():
    """Digits 0-6 to learn from; 0-9 as the test, 7-9 labelled unknown."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    known = y < 7
    X_train, X_test, y_train, y_test = train_test_split(
        X[known], y[known], test_size=0.4, stratify=y[known], random_state=0
    )
    X_test = np.concatenate([X_test, X[~known]])
    y_test = np.concatenate([y_test, np.full((~known).sum(), UNKNOWN)])
    return X_train, y_train, X_test, y_test, (1, 8, 8)


def mnist():
    """MNIST to learn from; its test part, Fashion-MNIST and Omniglot as the test."""
    X_train, y_train = load_images("mnist", split="train", return_X_y=True)
    X_test, y_test = load_images("mnist", split="test", return_X_y=True)
    fashion, _ = load_images("fashion_mnist", split="test", return_X_y=True)
    omniglot, _ = load_images("omniglot", return_X_y=True)
    y_test = np.concatenate([y_test, np.full(len(fashion) + len(omniglot), UNKNOWN)])
    return X_train, y_train, np.concatenate([X_test, fashion, omniglot]), y_test, (1, 28, 28)


def models(input_shape, epochs):
    """Name and classifier; each answers 95 % of what it knows.

    The members of the combined evidence were first tried on the digits shown here, and are
    also the best of those tried on classes held out of the training digits
    (``LeaveClassesOut``).
    """
    cnn = SoftmaxClassifier(input_shape=input_shape, max_epochs=epochs, random_state=0)
    members = [
        ("probability", "classifier"),
        ("reconstruction", GenerativeClassifier("pca")),
        ("nearest row", NeighborDistance()),
    ]
    combined = CombinedClassifier(cnn, members, random_state=0)
    refuse = {"coverage": 0.95, "random_state": 0}
    return {
        "softmax": SelectiveClassifier(cnn, **refuse),
        "combined evidence": SelectiveClassifier(combined, **refuse),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    arguments = parser.parse_args()
    load, epochs = (bundled_digits, 40) if arguments.data == "digits" else (mnist, 2)
    X_train, y_train, X_test, y_test, input_shape = load()
    known = y_test != UNKNOWN

    def print_row(name, answers, accepted):
        right = answers[accepted] == y_test[accepted]
        print(
            f"{name:34}{right.mean():>14.1%}{accepted[known].mean():>16.1%}"
            f"{(~accepted[~known]).mean():>17.1%}"
        )

    print(f"{'':34}{'answers right':>14}{'known answered':>16}{'unknown refused':>17}")
    display = None
    for name, model in models(input_shape, epochs).items():
        model.fit(X_train, y_train)
        answers, confidence = model.answers(X_test), model.score_samples(X_test)
        if display is None:
            print_row(f"{name}, answers everything", answers, np.full(len(answers), True))
        print_row(f"{name}, refuses", answers, confidence >= model.threshold_)
        display = RiskCoverageDisplay.from_predictions(
            y_test, answers, confidence, name=name, ax=display.ax_ if display else None
        )
    display.figure_.savefig("risk_coverage.png", dpi=150, bbox_inches="tight")
    print(f"\nRisk at every coverage: {Path('risk_coverage.png').resolve().name}")


if __name__ == "__main__":
    main()
