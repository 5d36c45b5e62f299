"""Entries that docstrings share are written once and inherited: none may be missing."""

import re
from inspect import getdoc, isclass, signature

import pytest

from sklearn_ood import metrics

PUBLIC = [getattr(metrics, name) for name in metrics.__all__]
DRAWN = [
    getattr(display, method)
    for display in filter(isclass, PUBLIC)
    for method in ("from_estimator", "from_predictions", "plot")
    if hasattr(display, method)
]


@pytest.mark.parametrize("public", [*PUBLIC, *DRAWN], ids=lambda each: each.__qualname__)
def test_every_parameter_is_documented_once_and_in_order(public):
    section = re.search(r"(?s)Parameters\n-+\n(.*?)(\n\n\w+\n-+\n|\Z)", getdoc(public))[1]
    entries = re.findall(r"(?m)^(\S.*?)(?: :.*)?$", section)
    documented = [name.lstrip("*") for entry in entries for name in entry.split(", ")]
    assert documented == [name for name in signature(public).parameters if name != "self"]
