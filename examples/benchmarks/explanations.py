"""How often ``CombinedClassifier.explain`` names first the column that was changed.

On ten tables, 200 rows that trained nothing, in each of which one column is changed, drawn at
random among those that vary: a number becomes *far*, three ranges beyond the training rows; a
category becomes one that is *new*; or, a *swap*, any cell becomes that of a row of another
class. A swap may leave the row as good as it was, which no explanation can see: shares are said
of all rows, and of those that the change made strange (p-value at most .05, above before).
Beside each stands what the change of the p-value alone would name, and a perfect guess: the
share of rows where the cell that was there before, taken for what is expected, gives more
evidence than any other column has. Of all swaps on large tables, also what a model names that
has learned from 5,000 rows: what is missed by that, too, is hardly in the rows.

    python examples/benchmarks/explanations.py

Needs the folder in ``$SKLEARN_OOD_DATA``; writes docs/results/explanations_benchmark.json.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).parents[1]))
from data import FRAMES, load_frame, load_tabular
from sklearn_ood import CombinedClassifier

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "explanations_benchmark.json"
ARRAYS = ("dry_bean", "letter_recognition", "pendigits_multiclass", "wine_quality")
N_TRAIN, N_TEST, LEVEL, SEEDS = 1500, 200, 0.05, range(4)
CHANGES = ("far", "new", "swap")
# Rows of a model that knows more, by the first seed.
N_KNOWN = 5000


def read(name):
    """A table as a frame, and its labels as text."""
    if name in FRAMES:
        X, y = load_frame(name)
    else:
        X, y = load_tabular(name, return_X_y=True)
        X = pd.DataFrame(X).rename(columns="x{}".format)
    return X, np.asarray(y).astype(str)


def is_number(column):
    return column.dtype.kind in "iuf"


def far(column, rng):
    """Three ranges below or above all of a column's numbers."""
    low, high = column.min(), column.max()
    beyond = 3 * (high - low)
    return high + beyond if rng.random() < 0.5 else low - beyond


def changed(how, X, y, known, rng):
    """Rows with one cell changed, and the column of each; -1 where nothing can be changed."""
    varies = [j for j in range(X.shape[1]) if known.iloc[:, j].nunique() > 1]
    if how != "swap":
        varies = [j for j in varies if is_number(known.iloc[:, j]) == (how == "far")]
    made, columns = X.astype(object), np.full(len(X), -1)
    for i in range(len(X)) if varies else ():
        j = rng.choice(varies)
        others = X.iloc[:, j][y != y[i]].dropna()
        others = others[others != X.iloc[i, j]].tolist()
        if how == "swap" and not others:
            continue
        cell = {"far": far, "new": lambda *_: "never seen"}.get(how)
        made.iat[i, j] = (
            cell(known.iloc[:, j], rng) if cell else others[rng.integers(len(others))]
        )
        columns[i] = j
    numbers = [name for name in X if is_number(X[name])]
    return made.astype(dict.fromkeys(numbers, float)), columns


def measured(model, X, made, columns):
    """Shares of the rows whose changed column is named first, and how many rows there are."""
    found = model.explain(made)
    evidence, place = found.evidence.to_numpy(), (np.arange(len(made)), columns)
    own = evidence[place]
    others = np.sort(np.where(np.arange(made.shape[1]) == columns[:, None], -np.inf, evidence))
    gained = model.score_samples(X) - model.score_samples(made)
    changes = found.changes.to_numpy()
    gained += own - changes[place]
    is_changed = columns >= 0
    strange = is_changed & (model.p_values(made) <= LEVEL) & (model.p_values(X) > LEVEL)
    counted = {
        "rows": is_changed,
        "right": evidence.argmax(axis=1) == columns,
        "three": (own > 0) & (own >= others[:, -3]),
        "guessed": gained > others[:, -1],
        "changing": changes.argmax(axis=1) == columns,
    }
    return {
        f"{group}{what}": int((rows & each).sum())
        for group, rows in {"": is_changed, "strange ": strange}.items()
        for what, each in counted.items()
    }


def shares(counts):
    """Of counts over seeds: shares, or none where there are no rows."""
    total = {key: sum(each[key] for each in counts) for key in counts[0]}
    found = {"rows": total["rows"], "rows made strange": total["strange rows"]}
    for group, key in {"": "share named first", "strange ": "of those made strange"}.items():
        n = total[f"{group}rows"]
        found[key] = total[f"{group}right"] / n if n else None
        found[f"{key}, by a perfect guess"] = total[f"{group}guessed"] / n if n else None
        found[f"{key}, by the change alone"] = total[f"{group}changing"] / n if n else None
        found[f"{key}, or second or third"] = total[f"{group}three"] / n if n else None
    return found


def main():
    names = sys.argv[1:] or [*ARRAYS, *FRAMES]
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    result["settings"] = {"seeds": len(SEEDS), "training rows, at most": N_TRAIN}
    for name in names:
        counts, seconds, known = {how: [] for how in CHANGES}, [], {}
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            X, y = read(name)
            order = rng.permutation(len(y))
            n_train = min(N_TRAIN, round(0.75 * len(y)))
            train, test = order[:n_train], order[n_train : n_train + N_TEST]
            model = CombinedClassifier(random_state=seed).fit(X.iloc[train], y[train])
            for how in CHANGES:
                made, columns = changed(how, X.iloc[test], y[test], X.iloc[train], rng)
                if (columns >= 0).any():
                    start = time.perf_counter()
                    counts[how].append(measured(model, X.iloc[test], made, columns))
                    seconds.append((time.perf_counter() - start) / len(made))
                if (how, seed) == ("swap", 0) and len(y) >= N_KNOWN + N_TEST:
                    others = np.setdiff1d(order, test, assume_unique=True)[:N_KNOWN]
                    knows = CombinedClassifier(random_state=seed).fit(X.iloc[others], y[others])
                    known = shares([measured(knows, X.iloc[test], made, columns)])
        result[name] = {how: shares(each) for how, each in counts.items() if each}
        if known:
            key = "share named first, by a model of 5,000 rows"
            result[name]["swap"][key] = known["share named first"]
        result[name]["milliseconds a row"] = round(1000 * float(np.median(seconds)), 1)
        print(name, json.dumps(result[name]), flush=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
