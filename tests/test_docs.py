import ast
import doctest
import importlib
import itertools
import json
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

DOCS = Path(__file__).parents[1] / "docs"
HOUSE = DOCS.parent
PAGES = sorted(
    page for folder in (HOUSE, DOCS, DOCS / "results") for page in folder.glob("*.md")
)
WRITTEN_BY_SPHINX = {
    *("api.rst", "benchmarks.rst", "decision_table.rst", "house_table.md"),
    "sg_execution_times.rst",
}
WITH_PROSE = [
    *(page for page in PAGES if page.name not in WRITTEN_BY_SPHINX),
    *(page for page in DOCS.glob("*.rst") if page.name not in WRITTEN_BY_SPHINX),
    *(
        DOCS / "llms.txt",
        *(HOUSE / "examples").glob("*.rst"),
        *(HOUSE / "examples").glob("*.py"),
    ),
    *(HOUSE / "examples" / "benchmarks").glob("*.py"),
    HOUSE / "sklearn_ood",
]


HEADLINES = sorted(
    path.stem for path in (DOCS / "headlines").glob("*.py") if path.stem != "__init__"
)


@pytest.fixture(scope="module")
def docs():
    """The modules in docs, which import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        import decision_table
        import prose
        import render

        yield decision_table, render, prose
    for name in list(sys.modules):
        if name.split(".")[0] in {"decision_table", "render", "prose", "records", "headlines"}:
            sys.modules.pop(name)


def test_the_cheat_sheet_runs():
    assert doctest.testfile(str(DOCS / "cheat_sheet.md"), module_relative=False).failed == 0


def snippets():
    """The guide's, by the line that each begins at."""
    guide = (DOCS / "user_guide.rst").read_text()
    found = re.finditer(r"code-block:: python\n\n((?:(?:   .*)?\n)+)", guide)
    return {
        f"line {guide.count(chr(10), 0, at.start())}": textwrap.dedent(at[1]) for at in found
    }


SNIPPETS = snippets()
NEED_MORE_THAN_A_TEST_HAS = ("zarr", "scheduler:8786")


def test_the_guides_snippets_import_what_there_is():
    assert len(SNIPPETS) > 9
    for snippet in SNIPPETS.values():
        for line in ast.walk(ast.parse(snippet)):
            if isinstance(line, ast.ImportFrom) and line.module.startswith("sklearn_ood"):
                module = importlib.import_module(line.module)
                assert all(hasattr(module, alias.name) for alias in line.names)


@pytest.fixture(scope="module")
def around():
    """What the snippets take for granted: names of the package, a fitted model, its rows."""
    pd = pytest.importorskip("pandas")
    ood = importlib.import_module("sklearn_ood")
    X, y = make_blobs(2000, centers=[[-5, 0], [5, 0], [0, 8]], random_state=0)
    frame = pd.DataFrame(X, columns=["width", "height"])
    members = [("near", ood.NeighborDistance())]
    combined = ood.CombinedClassifier(LogisticRegression(), members, random_state=0)
    model = ood.SelectiveClassifier(combined, coverage=0.9, random_state=0)
    model.fit(frame[:400], y[:400])
    new, y_new = frame[400:], y[400:]
    return {name: getattr(ood, name) for name in ood.__all__} | {
        **{"np": np, "FrozenEstimator": FrozenEstimator, "make_pipeline": make_pipeline},
        **{
            "StandardScaler": StandardScaler,
            "model": model,
            "frame": frame[:400],
            "X": X,
            "y": y,
        },
        **{
            "new_frame": new,
            "X_new": new,
            "X_test": new,
            "y_test": y_new,
            "X_held_out": X[:100],
        },
        **{"y_true": y_new, "y_pred": model.answers(new), "row": X[0], "rows": X[:20]},
        **{"confidence": model.predict_proba(new).max(axis=1), "X_reference": frame[:400]},
        **{"coloured": frame.assign(colour=np.array(["red", "green", "blue"])[y])},
        **{"old": LogisticRegression().fit(frame[:400], y[:400])},
        **{"new": LogisticRegression(C=1e-4).fit(frame[:400], y[:400])},
        **{"stream": [new[:100], new[100:]], "pyod_detector": IsolationForest().fit(X)},
    }


def draw_folders(folder):
    """Images of two kinds in folders, and a network that tells them apart."""
    image, torch = pytest.importorskip("PIL.Image"), pytest.importorskip("torch")
    for part, name in itertools.product(("calibration", "new"), ("black", "white")):
        (folder / part / name).mkdir(parents=True)
        for i in range(40 if part == "calibration" else 2):
            image.new("RGB", (8, 8), name).save(folder / part / name / f"{i}.jpg")
    linear = torch.nn.Linear(3 * 224 * 224, 2)
    with torch.no_grad():
        linear.weight[0], linear.weight[1] = -1e-3, 1e-3
        linear.bias[0], linear.bias[1] = 75, -75
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), linear), folder / "network.pt")


@pytest.mark.parametrize("place", SNIPPETS)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_snippet_of_the_guide_runs(around, place, tmp_path, monkeypatch):
    snippet, given = SNIPPETS[place], dict(around)
    if any(each in snippet for each in NEED_MORE_THAN_A_TEST_HAS):
        pytest.skip("needs a cluster or an archive")
    if "onnxruntime" in snippet:
        given["onnxruntime"] = pytest.importorskip("onnxruntime")
    if "OneHotEncoder" in snippet:
        given |= vars(importlib.import_module("sklearn.compose"))
        given |= {"OneHotEncoder": OneHotEncoder, "frame": around["coloured"]}
        given |= {"HistGradientBoostingClassifier": HistGradientBoostingClassifier}
    if "network.pt" in snippet:
        draw_folders(tmp_path)
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, f"user_guide.rst, {place}", "exec"), given)


def test_what_the_guide_says_of_reasons_was_measured():
    measured = json.loads((DOCS / "results" / "explanations_benchmark.json").read_text())
    tables = [each for name, each in measured.items() if name != "settings"]
    assert len(tables) >= 10

    def pooled(how, share, rows="rows made strange"):
        found = [each[how] for each in tables if each.get(how, {}).get(rows)]
        return np.average(
            [each[share] for each in found], weights=[each[rows] for each in found]
        )

    first = "of those made strange"
    guide = " ".join((DOCS / "user_guide.rst").read_text().split())
    far, new = (pooled(how, "share named first", "rows") for how in ("far", "new"))
    assert ("first in all but a few in a thousand" in guide) == (0.995 < min(far, new) < 1)
    assert ("made strange, in nine of ten" in guide) == (pooled("swap", first) > 0.9)
    three = pooled("swap", f"{first}, or second or third")
    assert ("among the first three nearly always" in guide) == (three > 0.95)
    least = min(each["swap"][first] for each in tables)
    assert ("on some tables in most of these rows" in guide) == (least < 0.5)
    guess = pooled("swap", f"{first}, by a perfect guess")
    assert ("would name hardly more" in guide) == (guess < pooled("swap", first) + 0.03)


def test_every_row_of_the_decision_table_has_its_numbers(docs, tmp_path):
    docs[0].write_decision_table(tmp_path / "table.rst")
    table = (tmp_path / "table.rst").read_text()
    assert table.count("* -") == 9
    assert "nan" not in table


def test_a_row_without_a_run_fails(docs):
    with pytest.raises(LookupError, match=r"vernekar\.csv has no 'box answered'"):
        docs[0].mean("vernekar", "reject", "box answered", data="nowhere")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_its_results(docs, page):
    assert docs[1].rendered(page) == page.read_text()


def test_no_page_has_a_measurement_that_nothing_filled_in(docs):
    given = docs[2].given()
    everywhere, found = given.pop("every page"), {}
    for page in WITH_PROSE:
        place, words = page.relative_to(HOUSE).as_posix(), docs[2].prose(page)
        phrases = given.pop(place, [])
        gone = [phrase for phrase in phrases if phrase not in words]
        assert not gone or page.is_dir(), (place, gone)
        if typed := docs[2].typed(words, [*everywhere, *phrases]):
            found[place] = typed
    assert not found, f"fill in (docs/render.py), or list what no script measured: {found}"
    assert not given, f"pages that are not there: {list(given)}"


@pytest.mark.parametrize(
    "words",
    [
        "AUROC of .91",
        "0.5",
        "in 12% of all",
        "3 to 5 % more",
        "1.2x as fast",
        "on 7 of 9 tables",
    ],
)
def test_what_looks_like_a_measurement_is_seen(docs, words, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"It was {words}, see `beta=0.3`, version 1.2.3.\n")
    assert len(docs[2].typed(docs[2].prose(page), [])) == 1
    page.write_text(f'It was <!-- value("lee", "", "") -->{words}<!-- end -->.')
    assert not docs[2].typed(docs[2].prose(page), [])


def test_a_number_in_a_sentence_is_of_one_run(docs, tmp_path):
    page = tmp_path / "page.md"
    where = "experiment == 'two Gaussians' and data == 'ring'"
    page.write_text(f'<!-- value("vernekar", "{where}", "{{kept}}") --><!-- end -->')
    with pytest.raises(ValueError, match=r"page\.md, value\(.*3 runs have 'kept'"):
        docs[1].rendered(page)
    page.write_text(page.read_text().replace('")', '", over="method")'))
    assert re.search(r"-->0\.\d+<!--", docs[1].rendered(page))


def test_what_is_filled_into_a_sentence_does_not_begin_a_line():
    for page in PAGES:  # Markdown would end the paragraph there.
        found = re.search(r"^ *(<!-- \w+\(.*\) -->[^\n]+<!-- end -->)", page.read_text(), re.M)
        assert not found, (page.name, found[1])


@pytest.mark.parametrize("name", HEADLINES)
def test_a_page_begins_with_two_sentences_and_its_headlines(docs, name):
    title, words, call, table = (DOCS / "results" / f"{name}.md").read_text().split("\n\n")[:4]
    assert title.startswith("# ")
    assert len(words) < 500
    assert call == f'<!-- headlines("{name}") -->'
    verdicts = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert verdicts == sorted(verdicts, key=["**no**", "in part", "not run", "yes"].index)
    assert sum(verdict != "not run" for verdict in verdicts) >= 5


def test_every_headline_is_on_the_page_of_results(docs):
    page = (DOCS / "results.md").read_text()
    for name in HEADLINES:
        for headline in docs[1].headlines_of(name):
            assert f"| {' | '.join(headline.cells())} |" in page


def test_a_verdict_is_computed_and_a_missing_number_seen(docs):
    import headlines

    number = docs[1].Number([0.25, 0.75], 2)
    line = headlines.claim("share", "1 %", "{:.1p} %", lambda: [number], lambda x: x > 0.4)
    assert line.cells() == [
        "yes",
        "share",
        "1\N{NO-BREAK SPACE}%",
        "50.0\N{NO-BREAK SPACE}%",
        "2",
    ]
    number = docs[1].Number([0.25, 0.75, 0.35, 0.75], 2, seeds=["0", "1", "0", "1"])
    line = headlines.claim("share", "1 %", "{:.1p} % of {}", lambda: [number, 9])
    assert line.cells()[3].replace("\N{NO-BREAK SPACE}", " ") == "52.5 (30.0 to 75.0) % of 9"
    line = headlines.claim("?", "", "{}", lambda: [headlines.metric("lee", "none", "auroc")])
    assert line.cells() == ["not run", "?", "", "", ""]


def test_a_table_of_means_spreads_ranks_and_typed_columns(docs, tmp_path, monkeypatch):
    _, render, _ = docs
    lines = ["experiment,data,method,seed,settings,metric,value"]
    for method, values in {"ours": (0.9, 0.8, 0.7), "theirs": (0.5, 0.7, 0.75)}.items():
        for (data, seed), number in zip((("a", 0), ("a", 1), ("b", 0)), values, strict=True):
            lines.append(f"e,{data},{method},{seed},,auroc,{number}")
    (tmp_path / "toy.csv").write_text("\n".join(lines))
    (tmp_path / "toy_curves.csv").write_text(lines[0] + "\ne,a,ours,0,,path,1,2.5\n")
    monkeypatch.setattr("records.RESULTS", tmp_path)
    assert render.wins("toy", "experiment == 'e'", "auroc", "ours", "theirs") == "1 of the 2"
    assert render.ranks("toy", "data == 'a'", "auroc", "data") == "ours 1.00, theirs 2.00"
    table = render.table(
        "toy",
        "experiment == 'e'",
        rows={"score": "method"},
        cells={
            "{by}": "{auroc:.2f} ({auroc.std:.2f}) or {auroc:.1p} %",
            "path": "{path[1]:g}",
        },
        by="data",
        rank="auroc",
        notes={"paper": {"ours": ".9"}},
    )
    assert table.splitlines()[0] == "| score | a | b | path | paper | mean rank |"
    assert table.splitlines()[2:] == [
        "| ours | 0.85 (0.05) | 70.0 % | 2.5 | .9 | 1.50 |",
        "| theirs | 0.60 (0.10) | 75.0 % |  |  | 1.50 |",
    ]
