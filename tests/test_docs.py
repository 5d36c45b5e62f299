import ast
import doctest
import importlib
import re
import sys
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "results.md", *sorted((DOCS / "results").glob("*.md"))]


HEADLINES = sorted(
    path.stem for path in (DOCS / "headlines").glob("*.py") if path.stem != "__init__"
)


@pytest.fixture(scope="module")
def docs():
    """The modules in docs, which import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        import decision_table
        import render

        yield decision_table, render
    for name in list(sys.modules):
        if name.split(".")[0] in {"decision_table", "render", "records", "headlines"}:
            sys.modules.pop(name)


def test_the_cheat_sheet_runs():
    assert doctest.testfile(str(DOCS / "cheat_sheet.md"), module_relative=False).failed == 0


def test_the_guides_snippets_are_python_and_import_what_there_is():
    guide = (DOCS / "user_guide.rst").read_text()
    snippets = re.findall(r"code-block:: python\n\n((?:(?:   .*)?\n)+)", guide)
    assert len(snippets) > 5
    for snippet in snippets:
        for line in ast.walk(ast.parse(textwrap.dedent(snippet))):
            if isinstance(line, ast.ImportFrom) and line.module.startswith("sklearn_ood"):
                module = importlib.import_module(line.module)
                assert all(hasattr(module, alias.name) for alias in line.names)


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
    assert docs[1].rendered(page.read_text()) == page.read_text()


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
    line = headlines.claim("?", "", "{}", lambda: [headlines.metric("lee", "none", "auroc")])
    assert line.cells() == ["not run", "?", "", "", ""]


def test_a_table_of_means_spreads_ranks_and_typed_columns(docs, tmp_path, monkeypatch):
    _, render = docs
    lines = ["experiment,data,method,seed,settings,metric,value"]
    for method, values in {"ours": (0.9, 0.8, 0.7), "theirs": (0.5, 0.7, 0.75)}.items():
        for (data, seed), number in zip((("a", 0), ("a", 1), ("b", 0)), values, strict=True):
            lines.append(f"e,{data},{method},{seed},,auroc,{number}")
    (tmp_path / "toy.csv").write_text("\n".join(lines))
    (tmp_path / "toy_curves.csv").write_text(lines[0] + "\ne,a,ours,0,,path,1,2.5\n")
    monkeypatch.setattr("records.RESULTS", tmp_path)
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
