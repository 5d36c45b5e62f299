"""
Tune for the unknown without outlier data
=========================================

Outliers to tune on are rarely at hand, and tuning on those of the test is how the field
fools itself. Hold out *classes* instead: in every fold the classifier meets, in the test part,
classes that it was never taught.
"""

# %%
# ``LeaveClassesOut`` makes such folds, and ``selective_scorer`` counts every row whose label
# the classifier does not know as an outlier. Everything else is scikit-learn as usual: a
# scaler, a pipeline, a grid search.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_ood import SoftmaxClassifier
from sklearn_ood.metrics import selective_scorer
from sklearn_ood.model_selection import LeaveClassesOut

X, y = load_digits(return_X_y=True)
model = make_pipeline(MinMaxScaler(), SoftmaxClassifier(max_epochs=20, random_state=0))
search = GridSearchCV(
    model,
    {"softmaxclassifier__score_function": ["max_proba", "margin", "entropy", "energy"]},
    scoring={"auroc": selective_scorer("auroc"), "aurc": selective_scorer("aurc")},
    cv=LeaveClassesOut(n_out=3, n_splits=4, random_state=0),
    refit="auroc",
).fit(X, y)

# %%
# Area under the ROC curve of known against unknown classes, and minus the area under the
# risk-coverage curve: both are higher for the better confidence.

table = pd.DataFrame(search.cv_results_)
table = table.set_index("param_softmaxclassifier__score_function")
print(table[["mean_test_auroc", "std_test_auroc", "mean_test_aurc"]].round(3).to_string())

# %%
fig, ax = plt.subplots()
ax.errorbar(table.index, table.mean_test_auroc, table.std_test_auroc, fmt="o", capsize=4)
ax.set(ylabel="AUROC, classes held out", xlabel="score function")
