"""Sphinx configuration; build with ``sphinx-build -W docs docs/_build``."""

import importlib
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from sklearn_ood import __version__

project = "sklearn_ood"
author = "The sklearn_ood developers"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "decision_table.rst", "house_table.md"]
# A paper's run and its benchmark may share a name; neither is in the gallery.
suppress_warnings = ["sphinx_gallery.duplicate_filename"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "pydata_sphinx_theme"
html_title = f"sklearn_ood {version}"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}

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
    "within_subsection_order": "FileNameSortKey",
    "copyfile_regex": r".*\.rst",
    "remove_config_comments": True,
    "abort_on_example_error": True,
}


PUBLIC_MODULES = {
    "sklearn_ood": "Estimators, and how to keep them",
    "sklearn_ood.outliers": "Sources of outliers",
    "sklearn_ood.generators": "Generators",
    "sklearn_ood.metrics": "Metrics",
    "sklearn_ood.monitoring": "Alarms on a stream",
    "sklearn_ood.model_selection": "Model selection",
    "sklearn_ood.gevaldi": "Where classifiers differ",
    "sklearn_ood.inspection": "Inspection",
    "sklearn_ood.classifiers": "Templates for a method of one's own",
    "sklearn_ood.datasets": "Toy data",
}


def write_api_page(path):
    """The reference lists what ``__all__`` lists, so that it is always complete."""
    lines, listed = ["API reference", "=" * 13, ""], set()
    for name, title in PUBLIC_MODULES.items():
        lines += [title, "-" * len(title), "", f".. currentmodule:: {name}", ""]
        lines += [".. autosummary::", "   :toctree: api/generated", "   :nosignatures:", ""]
        module = importlib.import_module(name)
        public = [member for member in module.__all__ if not member.startswith("_")]
        public = [member for member in public if member not in listed]
        listed |= set(public)
        public = [each for each in public if not isinstance(getattr(module, each), ModuleType)]
        lines += [f"   {member}" for member in sorted(public)]
        lines.append("")
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


HERE = Path(__file__).parent
write_api_page(HERE / "api.rst")


def write_benchmark_page(path, results):
    """Every benchmark's result file, as the script wrote it."""
    lines = [
        "Benchmarks",
        "==========",
        "",
        "Speed beside the hand-written or library alternative: ratios within one run, as the",
        "scripts in ``examples/benchmarks`` wrote them.",
        "",
    ]
    for file in sorted(results.glob("*benchmark*.json")):
        title = file.stem.replace("_", " ").capitalize()
        lines += [title, "-" * len(title), ""]
        lines += [f".. literalinclude:: results/{file.name}", "   :language: json", ""]
    path.write_text("\n".join(lines))


write_benchmark_page(HERE / "benchmarks.rst", HERE / "results")
sys.path.insert(0, str(HERE))
importlib.import_module("decision_table").write_decision_table(HERE / "decision_table.rst")
importlib.import_module("house").write_house(HERE, HERE.parent / "pyproject.toml")
