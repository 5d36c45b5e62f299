import runpy
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from sklearn_ood import ConfidentClassifier, GANOutliers
from sklearn_ood.classifiers._outlier import uniform_divergence
from sklearn_ood.outliers._gan import pull_away_term

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


def test_the_loop_for_a_gpu_takes_the_papers_steps(monkeypatch):
    """Beside algorithm 1 of Lee et al. by hand: equal weights after three steps."""
    monkeypatch.syspath_prepend(PAPERS)
    import lee_gpu

    rng = np.random.RandomState(0)
    X, y = rng.rand(48, 192).astype(np.float32), np.arange(48) % 3
    gan = GANOutliers(n_channels=2, latent_dim=5, pull_away=0.5)
    classifier = ConfidentClassifier(outliers=gan, beta=0.3, lr=2e-4, input_shape=(3, 8, 8))
    net = lee_gpu.prepared(classifier, X, y, X[:0])
    networks = net.module_, net.generator_, net.discriminator_
    before, theirs = deepcopy(networks), deepcopy(networks)
    torch.manual_seed(1)
    rows, codes = torch.from_numpy(X), torch.from_numpy(y)
    lee_gpu.run(net, rows, codes, epochs=1, batch_size=16, seed=0)
    torch.manual_seed(1)
    order = np.random.RandomState(0).permutation(48)
    algorithm_1(theirs, rows[order].split(16), codes[order].split(16))
    for mine, other, start in zip(networks, theirs, before, strict=True):
        state, first = other.state_dict(), start.state_dict()
        for name, weights in mine.state_dict().items():
            assert torch.equal(weights, state[name]), name
        assert any(not torch.equal(state[name], first[name]) for name in state)


def algorithm_1(networks, batches, labels):
    """The discriminator's, the generator's and the classifier's steps."""
    classifier, generator, discriminator = networks
    adams = [
        torch.optim.Adam(each.parameters(), 2e-4, betas=betas)
        for each, betas in zip(networks, ((0.9, 0.999), *[(0.5, 0.999)] * 2), strict=True)
    ]

    def descend(place, loss):
        adams[place].zero_grad()
        loss.backward(inputs=list(networks[place].parameters()))
        adams[place].step()

    for inputs, targets in zip(batches, labels, strict=True):
        fakes = generator(torch.randn(len(inputs), 5)).flatten(1)
        judged = softplus(-discriminator(inputs)).mean()
        descend(2, judged + softplus(discriminator(fakes.detach())).mean())
        fooled = softplus(-discriminator(fakes)).mean()
        fooled = fooled + 0.3 * uniform_divergence(classifier(fakes))
        descend(1, fooled + 0.5 * pull_away_term(fakes))
        with torch.no_grad():
            fakes = generator(torch.randn(len(inputs), 5)).flatten(1)
        outputs = classifier(torch.cat([inputs, fakes]))
        n = len(inputs)
        loss = cross_entropy(outputs[:n], targets) + 0.3 * uniform_divergence(outputs[n:])
        descend(0, loss)


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
