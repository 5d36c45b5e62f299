"""The benchmark of the combination's level, of fewer repeats."""

import pytest

from benchmarks.combined_levels import SETTINGS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Got no row of the classes")
@pytest.mark.filterwarnings("ignore:Got .* rows that calibrate")
def test_known_rows_are_called_outliers_as_seldom_as_promised():
    some = [each for each in SETTINGS if each.members and each.n_rows <= 300]
    found = [each.run(15, seed=1) for each in some[::3]]
    assert not [each for each in found if each.broken > each.at_most + each.tolerance]
