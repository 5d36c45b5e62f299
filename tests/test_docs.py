import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_every_row_of_the_decision_table_has_its_numbers(tmp_path):
    write = runpy.run_path(str(DOCS / "decision_table.py"))["write_decision_table"]
    write(tmp_path / "table.rst", DOCS / "results")
    table = (tmp_path / "table.rst").read_text()
    assert table.count("* -") == 9
    assert "no run on record" not in table


def test_a_row_without_a_run_says_so(tmp_path):
    write = runpy.run_path(str(DOCS / "decision_table.py"))["write_decision_table"]
    write(tmp_path / "table.rst", tmp_path)
    assert (tmp_path / "table.rst").read_text().count("no run on record") == 8
