"""The benchmark of the promises, of fewer repeats; its results are of 2,000."""

import csv

import pytest

from benchmarks import class_guarantees, guarantees


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Of .* classes all rows were drawn")
@pytest.mark.filterwarnings("ignore:For the answers of .* classes risk")
@pytest.mark.parametrize("benchmark", [guarantees, class_guarantees])
def test_promises_are_broken_as_seldom_as_they_say(benchmark):
    covered = [each for each in benchmark.SETTINGS if not str(each).startswith("not covered")]
    found = [each.run(15, seed=1) for each in covered[::4]]
    broken = [each for each in found if each.broken > each.at_most + each.tolerance]
    assert not broken
    assert sum(each.promised for each in found) > 10 * len(found)


@pytest.mark.parametrize("benchmark", [guarantees, class_guarantees])
def test_the_results_are_of_these_settings_and_all_that_is_covered_holds(benchmark):
    with benchmark.RESULTS.open(newline="") as file:
        lines = {line["setting"]: line for line in csv.DictReader(file)}
    assert list(lines) == [str(each) for each in benchmark.SETTINGS]
    for name, line in lines.items():
        holds = float(line["broken"]) <= float(line["at_most"]) + float(line["tolerance"])
        assert holds != name.startswith("not covered")
