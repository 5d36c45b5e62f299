import runpy
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_ood import ConfidentClassifier, GANOutliers
from sklearn_ood.nets._training import make_net
from sklearn_ood.outliers._gan import GANOutlierNet

PAPERS = Path(__file__).parents[2] / "examples" / "papers"
SCRIPTS = [
    "combined",
    "combined_selection",
    "figures",
    "generative",
    "gevaldi",
    "gevaldi_ensemble",
    "lee",
    "lee_gpu",
    "member_selection",
    "mixed_tables",
    "networks",
    "outlier_tables",
    "selective_tables",
    "spigler",
    "spigler_one_class",
    "spigler_rings",
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
    assert "--results" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_kept_and_not_run_again(tmp_path):
    command = [sys.executable, PAPERS / "vernekar.py", "--seeds", "1", "--epochs", "1"]
    command += ["--sources", "ring", "--results", tmp_path]
    first, again = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first.count("two Gaussians, ring, ") == 3
    assert again == ""


def test_the_loop_for_a_gpu_steps_as_the_package_does(monkeypatch):
    monkeypatch.syspath_prepend(PAPERS)
    import lee_gpu

    rng = np.random.RandomState(0)
    X, y = rng.rand(48, 192).astype(np.float32), np.arange(48) % 3
    gan = GANOutliers(n_channels=2, latent_dim=5, pull_away=0.5)
    classifier = ConfidentClassifier(outliers=gan)
    torch.manual_seed(0)
    networks = classifier.make_network(3, (3, 8, 8)), *gan.make_networks((3, 8, 8), X)
    ours, theirs = deepcopy(networks), deepcopy(networks)
    loss = classifier.make_loss(None)
    net = make_net(
        ours[0],
        criterion=loss,
        net_class=GANOutlierNet,
        lr=2e-4,
        device="cpu",
        net_params={"gan": gan, "beta": 0.3, "outlier_ratio": 1.0},
    )
    net.networks = ours[1:]
    net.initialize()
    net.supply([net.generate], [1.0])
    net.notify("on_train_begin", X=None, y=None)
    training = lee_gpu.Training(
        theirs[0], loss, lr=2e-4, beta=0.3, gan=gan, networks=theirs[1:]
    )
    batches = [(torch.from_numpy(X[i::3]), torch.from_numpy(y[i::3])) for i in range(3)]
    for step in (net.train_step, lambda batch: training.step(*batch)):
        torch.manual_seed(1)
        for batch in batches:
            step(batch)
    for mine, other, before in zip(ours, theirs, networks, strict=True):
        state, start = other.state_dict(), before.state_dict()
        for name, weights in mine.state_dict().items():
            assert torch.equal(weights, state[name]), name
        assert any(not torch.equal(state[name], start[name]) for name in state)


class TestStore:
    def test_a_run_is_found_by_all_that_names_it(self, lab, tmp_path):
        store = lab.Store("page", tmp_path)
        store.put({"ours": {"auroc": 0.9}}, "tables", "iris", seed=1, rows=10, lr=None)
        again = lab.Store("page", tmp_path)
        assert again.find("tables", "iris", 1, rows=10) == {"ours": {"auroc": "0.9"}}
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
        assert lab.Store("page", tmp_path).find("tables", n=1)["ours"]["path"] == "1.0 2.5"

    def test_other_results_stay(self, lab, tmp_path):
        for seed in (0, 1):
            lab.Store("page", tmp_path).put({"ours": {"auroc": seed}}, "tables", seed=seed)
        assert len(lab.Store("page", tmp_path).lines) == 2
