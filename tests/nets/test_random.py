"""Seeds are generators of a fit's own: no thread, and no state of torch, changes its bits."""

import sys
import threading
from contextlib import suppress

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack

from sklearn_ood import (
    ConfidentClassifier,
    COOLClassifier,
    DAEClassifier,
    DAEConfidence,
    GANOutliers,
    GenerativeClassifier,
    GeValDi,
    RejectClassifier,
    SiameseSimilarity,
    SoftmaxClassifier,
)
from sklearn_ood.generators import GAN, VAE, PCAGenerator
from sklearn_ood.nets._training import Seeded

X, Y = load_iris(return_X_y=True)
TINY = {"max_epochs": 3, "hidden_layer_sizes": (8,), "device": "cpu"}
SMALL_GAN = GANOutliers(hidden_layer_sizes=(8,), latent_dim=3)


class Noisy(nn.Module):
    """A network of a user's: draws its weights and, in training, its noise by itself."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(n_outputs, n_inputs))
        self.attention = nn.MultiheadAttention(n_inputs, 1, dropout=0.5, batch_first=True)
        self.channels = nn.Dropout1d(0.3)

    def forward(self, x):
        if self.training:
            x = functional.alpha_dropout(x + 0.1 * torch.randn_like(x), 0.2, training=True)
        x = self.channels(x[:, None] + self.attention(*[x[:, None]] * 3)[0])[:, 0]
        return functional.linear(x, self.weight)


def models(seed=0):
    options = TINY | {"random_state": seed}
    return {
        "dropout": SoftmaxClassifier(dropout=0.4, early_stopping=True, **options),
        "own network": SoftmaxClassifier(Noisy, **options),
        "cool": COOLClassifier(n_units_per_class=2, dropout=0.2, **options),
        "confident": ConfidentClassifier(outliers=SMALL_GAN, **options),
        "reject": RejectClassifier(outliers={"boundary": 1, "noise": 1}, **options),
        "dae": DAEConfidence(curvature="hutchinson", **options),
        "dae around": DAEClassifier(LogisticRegression(), **options),
        "vae": GenerativeClassifier(VAE(2, **options), random_state=seed),
        "gan": GenerativeClassifier(GAN(2, min_steps=0, **options), random_state=seed),
        "similarity": SiameseSimilarity(**options),
    }


def weights(model):
    model = model.generator_ if isinstance(model, GenerativeClassifier) else model
    return np.concatenate(
        [w.detach().ravel() for w in model.net_.module_.state_dict().values()]
    )


@pytest.fixture(scope="module")
def alone():
    return {name: weights(model.fit(X, Y)) for name, model in models().items()}


@pytest.mark.parametrize("name", models())
def test_fits_beside_other_fits_give_the_same_bits(name, alone):
    def fit(seed):
        return weights(models(seed)[name].fit(X, Y))

    others = Parallel(4, backend="threading")(delayed(fit)(seed) for seed in (0, 1, 0, 0))
    for i, seed in enumerate((0, 1, 0, 0)):
        assert np.array_equal(others[i], alone[name]) == (seed == 0)


@pytest.mark.parametrize("name", models())
def test_the_global_generator_is_left_as_found(name):
    found = torch.get_rng_state()
    models()[name].fit(X, Y)
    assert torch.equal(torch.get_rng_state(), found)


@pytest.mark.parametrize("name", ["dropout", "confident", "vae"])
def test_another_thread_draws_what_it_would_alone(name):
    found = torch.get_rng_state()
    expected = torch.rand(3000)
    torch.set_rng_state(found)
    thread = threading.Thread(target=models()[name].fit, args=(X, Y))
    thread.start()
    drawn = torch.cat([torch.rand(1) for _ in range(3000)])
    thread.join()
    assert torch.equal(drawn, expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(5),
        lambda: torch.randint(9, (5,)),
        lambda: nn.Linear(3, 4).weight,
        lambda: nn.init.orthogonal_(torch.empty(4, 4)),
        lambda: functional.dropout(torch.ones(20), 0.3),
        lambda: functional.dropout2d(torch.ones(2, 9, 4, 4), 0.3),
        lambda: functional.dropout3d(torch.ones(2, 9, 4, 4, 4), inplace=True),
        lambda: functional.alpha_dropout(torch.ones(20), 0.3, training=True),
        lambda: nn.LSTM(3, 4, 2, dropout=0.5)(torch.ones(6, 3))[0],
        lambda: functional.gumbel_softmax(torch.ones(2, 3)),
        lambda: torch.distributions.Normal(0.0, 1.0).rsample((3,)),
        lambda: torch.rand_like(torch.ones(3)),
    ],
)
def test_what_is_drawn_is_what_manual_seed_would_give(draw):
    found = torch.get_rng_state()
    random = Seeded(0)
    with random:
        drawn, again = draw(), draw()
    assert torch.equal(torch.get_rng_state(), found)
    with torch.random.fork_rng():
        torch.manual_seed(random.seed)
        assert torch.equal(drawn, draw())
    assert not torch.equal(drawn, again)


def test_a_seed_is_drawn_from_a_random_state_that_is_passed():
    generator = np.random.RandomState(0)
    assert Seeded(generator).seed != Seeded(generator).seed


def verbs(model):
    model.fit(X, Y)
    if isinstance(model, SiameseSimilarity):
        return [weights(model)]
    answers = [model.predict(X), model.score_samples(X), model.predict_proba(X)]
    if hasattr(model, "scored_network_"):
        answers.append(model.input_gradients(X[:3]))
    if hasattr(getattr(model, "net_", None), "generator_"):
        answers.append(model.sample_outliers(3, random_state=0))
    return answers


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def plain():
    return {name: verbs(model) for name, model in models().items()}


def same(answers, expected):
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(answer, wanted)


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize(
    "state", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")]
)
def test_modes_and_a_default_device_change_nothing(name, state, plain):
    with state():
        answers = verbs(models()[name])
    same(answers, plain[name])


def climbed():
    members = [("net", models()["dropout"]), ("linear", LogisticRegression())]
    generator = PCAGenerator()
    model = GeValDi(members, generator=generator, n_steps=2, random_state=0).fit(X, Y)
    return [model.maximally_different_samples(3, random_state=0).end.samples]


SEARCH = {"similarity": "l1", "max_iter": 2, "n_candidates": 4}
WITHOUT_NETS = {
    "pca": lambda: verbs(GenerativeClassifier("pca", **SEARCH, random_state=0)),
    "knn": lambda: verbs(GenerativeClassifier("knn", random_state=0)),
    "gmm": lambda: verbs(GenerativeClassifier("gmm", random_state=0)),
    "climbed": climbed,
}


@pytest.mark.parametrize("name", WITHOUT_NETS)
def test_modes_and_a_default_device_are_nothing_to_generators(name):
    expected = WITHOUT_NETS[name]()
    for state in (torch.inference_mode(), torch.device("meta")):
        with state:
            answers = WITHOUT_NETS[name]()
        same(answers, expected)


@pytest.mark.parametrize("name", models())
def test_a_default_type_changes_nothing(name, plain, double):
    same(verbs(models()[name]), plain[name])
    assert torch.get_default_dtype() == torch.float64


def test_functions_that_call_one_another_borrow_the_generator_once():
    layer = nn.MultiheadAttention(4, 1, dropout=0.5, batch_first=True)
    rows = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        with torch.device("cpu"), Seeded(0), Seeded(1):  # modes hand on to one another
            found.append(layer(rows, rows, rows)[0].detach())
    assert torch.equal(*found)
    assert torch.equal(torch.get_rng_state(), before)


def lines_of(files, function, stop_at=None):
    """How many lines of some files run; an interrupt comes before line ``stop_at``."""
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        if not frame.f_code.co_filename.endswith(files):
            return None
        count += event in ("line", "call")
        if count == stop_at:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def state_of_torch():
    modes = _get_current_function_mode_stack()
    flags = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return modes, *flags, torch.get_default_dtype(), torch.get_rng_state().tolist()


@pytest.mark.parametrize(
    ("network", "around"),
    [("auto", torch.no_grad), (Noisy, Seeded), (nn.Linear(4, 3), torch.enable_grad)],
)
def test_an_interrupt_anywhere_leaves_no_mode_of_torch(network, around):
    """Also between the lines of a context that is entered or left."""
    context = around(0) if around is Seeded else around()
    files = "_evaluation.py", "_training.py", "overrides.py", "grad_mode.py", "contextlib.py"
    model = SoftmaxClassifier(network, **TINY | {"max_epochs": 1, "batch_size": 80})

    def use():
        model.fit(X, Y).score_samples(X)

    with context:
        use()
        n_lines, before = lines_of(files, use), state_of_torch()
        drawn = np.random.default_rng(0).integers(1, n_lines, size=60)
        for stop_at in drawn.tolist():
            with suppress(KeyboardInterrupt):
                lines_of(files, use, stop_at)
            assert state_of_torch() == before
        use()
