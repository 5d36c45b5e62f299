"""
From a hospital's table to a report
===================================

A laboratory sends thyroid values of patients as a CSV file, with gaps where nothing was
ordered. Each patient gets a diagnosis, or is put before a physician: because two diagnoses are
close, or because the values are unlike those of all patients so far, and then the report says
which values they are.
"""

# %%
# The file. It is drawn here, with the levels and gaps of real ones; put your own in its place,
# the diagnosis in the last column. Among the new patients are some with an illness that is not
# in the file, and two slips of a pen: an age, and a TSH in another unit.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_ood import CombinedClassifier, ExplanationDisplay, SelectiveClassifier
from sklearn_ood.metrics import RejectConfusionDisplay, selective_report

FOLDER = Path(tempfile.mkdtemp())
LEVELS = {  # mean of TSH (mU/l, as a logarithm), T3 (nmol/l), T4 (nmol/l)
    "healthy": (0.4, 2.0, 105),
    "hypothyroid": (3.0, 1.2, 55),
    "hyperthyroid": (-3.2, 4.2, 190),
    "ill otherwise": (0.2, 0.5, 60),
}


def draw_patients(counts, seed):
    rng = np.random.default_rng(seed)
    diagnosis = np.repeat(list(counts), list(counts.values()))
    tsh, t3, t4 = np.array([LEVELS[each] for each in diagnosis]).T
    n = len(diagnosis)
    frame = pd.DataFrame(
        {
            "age": np.clip(rng.normal(52, 18, n), 15, 95).round(),
            "sex": rng.choice(["f", "m"], n, p=[0.67, 0.33]),
            "on thyroxine": rng.choice(["no", "yes"], n, p=[0.88, 0.12]),
            "referred by": rng.choice(["practice", "ward", "other"], n, p=[0.3, 0.2, 0.5]),
            "TSH": np.exp(rng.normal(tsh, 0.75)).round(2),
            "T3": np.exp(rng.normal(np.log(t3), 0.22)).round(1),
            "T4": rng.normal(t4, 22).clip(5).round(),
        }
    )
    gaps = rng.random(frame.shape) < [0, 0.03, 0, 0, 0.05, 0.2, 0.05]
    return frame.mask(gaps).assign(diagnosis=diagnosis).sample(frac=1, random_state=seed)


known = {"healthy": 2000, "hypothyroid": 350, "hyperthyroid": 150}
draw_patients(known, seed=0).to_csv(FOLDER / "patients.csv", index=False)
new = draw_patients({**known, "ill otherwise": 40}, seed=1).reset_index(drop=True)
new.loc[0, "age"], new.loc[1, "TSH"] = 530, 4800
new.to_csv(FOLDER / "new.csv", index_label="patient")

# %%
# From here on it is as with any other file. The model takes the table as it is. A physician has
# time for one patient in ten, so at least 90 % are to be diagnosed: those that are surest.

table = pd.read_csv(FOLDER / "patients.csv")
X, y = table.iloc[:, :-1], table.iloc[:, -1]
model = SelectiveClassifier(CombinedClassifier(random_state=0), coverage=0.9, random_state=0)
model.fit(X, y)

# %%
# Each new patient: the diagnosis, whether it is given, and why not. "unsure" lies between two
# diagnoses, "strange" is unlike all patients that were seen.

new = pd.read_csv(FOLDER / "new.csv", index_col="patient")
X_new, y_new = new.iloc[:, :-1], new.iloc[:, -1]
decisions = model.decide(X_new)
print(decisions["reason"].replace("", "diagnosed").value_counts())

# %%
# For the physician: the strange ones with the values that make them so, and in brackets what
# would be expected beside the patient's other values.

strange = decisions.index[decisions["reason"] == "strange"]
reasons = model.estimator_.explain(X_new.loc[strange]).to_frame(max_features=2)
reasons = reasons.sort_values("p_value")[["label", "p_value", "features"]]
reasons.to_csv(FOLDER / "for_the_physician.csv")
print(reasons.head(12).to_string(float_format="{:.3f}".format))

# %%
# The same as a picture: the two slips, and three who are ill with something else.

others = y_new.index[(y_new == "ill otherwise") & y_new.index.isin(strange)][:3]
display = ExplanationDisplay.from_estimator(model, X_new.loc[[0, 1, *others]], max_features=3)

# %%
# And for those who decide whether to use it at all: what came of it. Of the patients with the
# illness that the file does not know, nearly all were put before the physician.

report = selective_report(model, X_new, y_new)
report.to_frame().to_csv(FOLDER / "report.csv")
print(report)
display = RejectConfusionDisplay.from_estimator(model, X_new, y_new)
# sphinx_gallery_thumbnail_number = 1
