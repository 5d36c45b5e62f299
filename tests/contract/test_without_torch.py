"""Who decides and who judges needs no network, and does not load what networks need."""

import subprocess
import sys

import sklearn_ood

# The package's own __init__ is left out: what it names is loaded only when it is used.
SCRIPT = """
import sys
import types

package = types.ModuleType("sklearn_ood")
package.__path__ = [sys.argv[1]]
sys.modules["sklearn_ood"] = package

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score
from sklearn_ood.metrics import selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut
from sklearn_ood.selective._classifier import SelectiveClassifier
from sklearn_ood.selective._novelty import NoveltyDetector

X, y = load_iris(return_X_y=True)
selective = SelectiveClassifier(LogisticRegression(max_iter=500), coverage=0.9, random_state=0)
selective.fit(X, y).predict(X)
NoveltyDetector(GaussianMixture()).fit(X).predict(X)
cv = LeaveClassesOut(n_splits=2, random_state=0)
cross_val_score(selective, X, y, cv=cv, scoring=selective_scorer("auroc"), error_score="raise")
loaded = {"torch", "skorch", "matplotlib"} & set(sys.modules)
assert not loaded, loaded
"""


def test_deciding_judging_and_splitting_load_no_torch():
    command = [sys.executable, "-c", SCRIPT, sklearn_ood.__path__[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
