"""A table of birds: three species to know, one that was never shown, and cells left empty.

Fits the default with the promise that at most 5 % of its answers are wrong, and shows both
reasons to refuse: a row between two species (unsure) and a bird unlike all three (strange).
Draws who was answered and refused into ``answers_and_refusals.png``.

    python examples/quickstart.py
"""

from sklearn_ood import CombinedClassifier, SelectiveClassifier
from sklearn_ood.datasets import make_birds
from sklearn_ood.metrics import RejectConfusionDisplay, selective_report

LEVEL = 0.05


def main():
    X, y = make_birds(2000, random_state=0)
    X_new, y_new = make_birds(1000, n_unknown=100, random_state=1)

    model = SelectiveClassifier(CombinedClassifier(random_state=0), risk=0.05, random_state=0)
    model.fit(X, y)

    answers = model.predict(X_new)
    p_values = model.estimator_.p_values(X_new)
    refused = answers == model.reject_label_
    unsure, strange = refused & (p_values > LEVEL), refused & (p_values <= LEVEL)
    print(selective_report(model, X_new, y_new))
    for reason, rows in {"unsure": unsure, "strange": strange}.items():
        bird = X_new[rows].iloc[0]
        cells = ", ".join(f"{name} {value}" for name, value in bird.items())
        print(f"\n{reason}: {cells}")
        print(
            f"    a {y_new[rows][0]}; p-value {p_values[rows][0]:.3f}, probabilities", end=" "
        )
        proba = model.predict_proba(X_new[rows].iloc[:1])[0]
        print(", ".join(f"{c} {p:.2f}" for c, p in zip(model.classes_, proba, strict=True)))

    display = RejectConfusionDisplay.from_estimator(model, X_new, y_new)
    display.figure_.savefig("answers_and_refusals.png", dpi=150, bbox_inches="tight")
    print("\nWho was answered and refused: answers_and_refusals.png")


if __name__ == "__main__":
    main()
