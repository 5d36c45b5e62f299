"""The benchmark of the promises, of fewer repeats; its results are of 2,000."""

import csv

import pytest

from benchmarks.guarantees import RESULTS, SETTINGS, NotCovered


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Of .* classes all rows were drawn")
def test_promises_are_broken_as_seldom_as_they_say():
    covered = [each for each in SETTINGS if not isinstance(each, NotCovered)]
    found = [each.run(15, seed=1) for each in covered[::4]]
    broken = [each for each in found if each.broken > each.at_most + each.tolerance]
    assert not broken
    assert sum(each.promised for each in found) > 10 * len(found)


def test_the_results_are_of_these_settings_and_all_that_is_covered_holds():
    with RESULTS.open(newline="") as file:
        lines = {line["setting"]: line for line in csv.DictReader(file)}
    assert list(lines) == [str(each) for each in SETTINGS]
    for name, line in lines.items():
        holds = float(line["broken"]) <= float(line["at_most"]) + float(line["tolerance"])
        assert holds != name.startswith("not covered")
