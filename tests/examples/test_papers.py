import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
SCRIPTS = [
    "combined",
    "figures",
    "generative",
    "gevaldi",
    "lee",
    "lee_gpu",
    "member_selection",
    "mixed_tables",
    "networks",
    "outlier_tables",
    "spigler",
    "spigler_attack",
    "spigler_tables",
    "vernekar",
]


@pytest.fixture
def lab(monkeypatch):
    """The module that the scripts share."""
    monkeypatch.syspath_prepend(PAPERS)
    import lab

    return lab


def test_every_script_is_listed():
    assert {*SCRIPTS, "lab", "peers"} == {path.stem for path in PAPERS.glob("*.py")}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_how_it_is_run(script, lab, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(PAPERS / f"{script}.py"), run_name="__main__")
    assert "usage: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_kept_and_not_run_again(tmp_path):
    command = [sys.executable, PAPERS / "vernekar.py", "gaussians", "--epochs", "1"]
    command += ["--data", "ring", "--seeds", "0", "--results", tmp_path]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first.count("two Gaussians, ring, ") == 3
    assert again == ""


class TestStore:
    def test_a_run_is_found_by_all_that_names_it(self, lab, tmp_path):
        store = lab.Store("page", tmp_path)
        store.put({"ours": {"auroc": 0.9}}, "tables", "iris", seed=1, rows=10, lr=None)
        again = lab.Store("page", tmp_path)
        assert again.find("tables", "iris", 1, rows=10) == {"ours": {"auroc": 0.9}}
        for other in (
            again.find("tables", "iris", 0, rows=10),
            again.find("tables", "iris", 1, rows=20),
            again.find("tables", "wine", 1, rows=10),
            again.find("images", "iris", 1, rows=10),
        ):
            assert other == {}

    def test_what_is_on_record_is_not_computed(self, lab, tmp_path):
        store = lab.Store("page", tmp_path)
        calls = []

        def compute():
            calls.append(1)
            return {"auroc": 0.5}

        for method in ("ours", "ours", "theirs"):
            store.run(compute, "tables", "iris", method, epochs=3)
        assert len(calls) == 2

    def test_a_curve_is_a_line_of_its_own_file(self, lab, tmp_path):
        store = lab.Store("page", tmp_path)
        store.put({"ours": {"auroc": 0.9, "path": [1.0, 2.5]}}, "tables", n=1)
        lines = (tmp_path / "page_curves.csv").read_text().splitlines()
        assert lines[1] == "tables,,ours,0,n=1,path,1.0,2.5"
        assert len((tmp_path / "page.csv").read_text().splitlines()) == 2
        assert lab.Store("page", tmp_path).find("tables", n=1)["ours"]["path"] == [1.0, 2.5]

    def test_other_results_stay(self, lab, tmp_path):
        for seed in (0, 1):
            lab.Store("page", tmp_path).put({"ours": {"auroc": seed}}, "tables", seed=seed)
        assert len(lab.Store("page", tmp_path).lines) == 2
