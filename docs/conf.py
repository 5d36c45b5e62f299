"""Sphinx configuration; build with ``sphinx-build -W docs docs/_build``."""

import ast
import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from sklearn_ood import __version__

project = "sklearn_ood"
author = "The sklearn_ood developers"
version = release = __version__

sys.path.insert(0, str(Path(__file__).parent))

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "decision_table.rst", "house_table.md"]
# A paper's run and its benchmark may share a name; neither is in the gallery.
suppress_warnings = ["sphinx_gallery.duplicate_filename"]
html_math_renderer = "mathml"
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
html_css_files = ["pages.css"]
html_title = f"sklearn_ood {version}"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 4,
}

autosummary_generate = True
templates_path = ["_templates"]
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

os.environ.setdefault("MPLBACKEND", "Agg")
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_\d+_",
    "ignore_pattern": r"(quickstart|papers|benchmarks|data\.py)",
    "nested_sections": False,
    "backreferences_dir": "api/backreferences",
    "doc_module": ("sklearn_ood",),
    "within_subsection_order": "FileNameSortKey",
    "copyfile_regex": r".*\.rst",
    "remove_config_comments": True,
    "abort_on_example_error": True,
}


ROOMS = {
    "selective": "Who decides",
    "combined": "Several scores as one",
    "classifiers": "Methods, and templates for one of your own",
    "detectors": "Scores of rows and features",
    "data": "Tables",
    "monitoring": "Alarms on a stream",
    "metrics": "Metrics, reports and pictures",
    "model_selection": "Splits with classes left out",
    "outliers": "Sources of outliers",
    "generators": "Generators",
    "gevaldi": "Where classifiers differ",
    "inspection": "Looking into a model",
    "persistence": "Files",
    "export": "Other programs",
    "datasets": "Toy data",
}


def public_names():
    """Where each public name is imported from, the shortest way, and the room it lives in."""
    found = {}
    for path in ("sklearn_ood", *(f"sklearn_ood.{room}" for room in ROOMS)):
        module = importlib.import_module(path)
        for name in getattr(module, "__all__", ()):
            member = getattr(module, name)
            if not name.startswith("_") and not isinstance(member, ModuleType):
                room = getattr(member, "__module__", path).split(".")[1]
                found.setdefault(name, (path, room if room in ROOMS else path.split(".")[1]))
    return found


def write_api_page(path):
    """The reference, room by room, lists what ``__all__`` lists: it is always complete."""
    lines = ["API reference", "=" * 13, ""]
    names = public_names()
    for room, title in ROOMS.items():
        lines += [title, "-" * len(title), ""]
        for module in ("sklearn_ood", f"sklearn_ood.{room}"):
            listed = sorted(name for name, at in names.items() if at == (module, room))
            if listed:
                lines += [f".. currentmodule:: {module}", "", ".. autosummary::"]
                lines += ["   :toctree: api/generated", "   :nosignatures:", ""]
                lines += [*(f"   {name}" for name in listed), ""]
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


HERE = Path(__file__).parent
write_api_page(HERE / "api.rst")


def facts(value, name=""):
    """Lines of a result file: what is nested goes by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from facts(inner, f"{name}, {key}" if name else key)
    elif isinstance(value, list):
        yield name, ", ".join(text for each in value for _, text in facts(each))
    else:
        yield name, f"{value:.3g}" if isinstance(value, float) else str(value)


def write_benchmark_page(path, results, scripts):
    """Every benchmark: what its script says of itself, and what it measured."""
    lines = [
        "Benchmarks",
        "==========",
        "",
        "Speed beside the hand-written or library alternative: ratios within one run, as the",
        "scripts in ``examples/benchmarks`` wrote them.",
        "",
    ]
    for script in sorted(scripts.glob("*.py")):
        files = [results / f"{script.stem}{end}.json" for end in ("_benchmark", "")]
        file = next((each for each in files if each.exists()), None)
        if file is None:
            continue
        title = script.stem.replace("_", " ").capitalize()
        about = ast.get_docstring(ast.parse(script.read_text()))
        lines += [title, "-" * len(title), "", about, "", ".. list-table::", ""]
        for name, value in facts(json.loads(file.read_text())):
            lines += [f"   * - {name.replace('_', ' ')}", f"     - {value}"]
        lines.append("")
    path.write_text("\n".join(lines))


write_benchmark_page(
    HERE / "benchmarks.rst", HERE / "results", HERE.parent / "examples" / "benchmarks"
)
importlib.import_module("decision_table").write_decision_table(HERE / "decision_table.rst")
importlib.import_module("house").write_house(HERE, HERE.parent / "pyproject.toml")
