"""Numbers that someone typed: what looks like a measurement in the prose of a page.

A measurement is filled in by ``render.py``. What was asked for, what a script was told and what
a paper says is on the list in ``given_numbers.txt``, in the words around it.
"""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
EVERYWHERE = "every page"
NO_PROSE = (
    re.compile(r"<!-- \w+\(.*?\) -->.*?<!-- end -->", re.DOTALL),
    re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL),
    re.compile(r"^( *)\.\. (?:code-block|csv-table|math)::.*\n(?:\1 +.*\n|\n)*", re.MULTILINE),
    re.compile(r":math:`[^`]+`|``.+?``|`[^`]+`", re.DOTALL),
    re.compile(r"\]\([^)]*\)|</?[a-z][^>]*>"),
    re.compile(r"\b(?:section|proposition) [\d.]+|\bin [(\[][\d., ]+[)\]]"),
)
RUN = re.compile(r"^ *>>>.*?(?:\n\n|\Z)|default=(?:\([^)]*\)|\S+)", re.MULTILINE | re.DOTALL)
NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
UNIT = r"(?: ?%| (?:times|points?|m?s|(?:milli)?seconds?|minutes?|hours?|[kMG]i?B)\b|x\b)"
LIST = r"(?: %)?(?:,? (?:to|and|or|against|of|of the|/) |/|, )"
WORD = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty)"
MEASUREMENT = re.compile(
    rf"(?<![\w.,])(?<!\w-)(?:{NUMBER}(?:{LIST}{NUMBER})*{UNIT}|{NUMBER} of (?:the )?{NUMBER}"
    rf"|\d*\.\d+(?![\d.]*\d))|\b{WORD} (?:of|in) (?:the )?{WORD}\b"
)


def prose(path):
    """The words of a page in one line, without code, links, and what is filled in.

    An example's are its docstring and the comments that the gallery shows as text; those of a
    folder, the package, are the docstrings that the reference shows.
    """
    if path.is_dir():
        return " ".join(words(each) for file in path.rglob("*.py") for each in docstrings(file))
    text = path.read_text()
    if path.suffix == ".py":
        shown = re.findall(r"^# %%\n((?:#.*\n)+)", text, re.MULTILINE)
        text = ast.get_docstring(ast.parse(text)) + "".join(shown).replace("\n#", "\n")
    return words(text)


def words(text):
    """A text without what is no prose, in one line."""
    for pattern in NO_PROSE:
        text = pattern.sub(" ", text)
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def docstrings(file):
    """Of the public classes, functions and methods of a module, without examples that run."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
            yield RUN.sub("", ast.get_docstring(node) or "")


def given(path=HERE / "given_numbers.txt"):
    """Phrases by page, those in brackets."""
    phrases = {}
    for line in filter(None, map(str.strip, path.read_text().splitlines())):
        if line.startswith("["):
            phrases[line.strip("[]")] = here = []
        elif not line.startswith("#"):
            here.append(line)
    return phrases


def typed(text, phrases):
    """Every measurement in words that no phrase holds, with the words around it."""
    for phrase in sorted(phrases, key=len, reverse=True):
        text = text.replace(phrase, " ")
    return [text[max(0, at.start() - 40) : at.end() + 40] for at in MEASUREMENT.finditer(text)]
