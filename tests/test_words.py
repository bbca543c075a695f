"""The words of the project: prose is plain English, and one word names one thing."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A phrase that reads as translated, as a pattern, and what to write instead.
PHRASES = {
    r"answer(?:s)? whether": "return whether",
    r"learns? (?:that|an (?:epoch|evaluation)'s|a (?:batch|prediction)'s|the values)": "called when",
    r"(?:is|are) told (?:of|about)|told of|tells? of": "is notified of, logged, warned about",
    r"hears?|heard|unheard": "receives, is called",
    r"lends?|lent|lending": "provides, given",
    r"hand(?:s|ed|ing)? over|handing-over|hand-in|handed in": "deliver, pass, flush",
    r"beside": "in the background, next to, with",
    r"behind": "after, late",
    r"anew": "again, from scratch",
    r"go(?:es|ing)? on(?! with\b)|went on": "continue, resume, propagate",
    r"(?:cuts?|cutting) (?:a sink |nothing )?off|cut[s_ ]off": "disabled, interrupted",
    r"given up|gives? up": "dropped",
    r"broken off|break off|broke off": "aborted, interrupted",
    r"in words": "human-readable",
    r"of one's own|of his own|of somebody's own": "custom",
    r"who(?:m)?ever|somebody|nobody|everybody|anybody": "name the party",
    r"(?<!there )(?:is|are) no (?:array|callback|file|folder|hook|image|integer|member|metric|model|module|number|sink"
    r"|string|tensor|text|values?)s?": "is not a",
    r"back ends?": "backend",
    r"data sets?": "dataset",
    r"pictures?": "image, plot, diagram",
    r"(?:be|is to be|are to be) had": "available",
}
# Passages in which such a word is right: they quote, or use it in another sense.
QUOTED = {
    "examples/text_embeddings.py": "opening performance picture plot",  # words of the reviews
}
PATTERNS = {re.compile(rf"\b(?:{phrase})\b", re.IGNORECASE): instead for phrase, instead in PHRASES.items()}


def tracked():
    """Return the tracked Python and Markdown files by their paths, without links and without this file."""
    names = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = {name: ROOT / name for name in names.stdout.splitlines()}
    return {name: path for name, path in paths.items() if path.is_file() and path != Path(__file__).resolve()}


def prose_of_code(source):
    """Yield the comments, the strings and the names of functions and classes of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, " ".join(node.value.split())
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name.replace("_", " ")


def prose_of_markdown(source):
    """Yield the paragraphs of a page with their first lines, without code."""
    source = re.sub(
        r"^```.*?^```|`[^`\n]*`", lambda code: "\n" * code[0].count("\n"), source, flags=re.DOTALL | re.MULTILINE
    )
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", source):
        yield line, " ".join(paragraph.split())
        line += paragraph.count("\n")


def found(name, source):
    """Return the phrases to avoid in a file, each with its place and what to write instead."""
    prose = prose_of_code if name.endswith(".py") else prose_of_markdown
    return sorted(
        f"{name}:{line}: {match[0]!r}: write {instead}"
        for line, text in prose(source)
        for pattern, instead in PATTERNS.items()
        for match in pattern.finditer(text.replace(QUOTED.get(name, "\0"), ""))
    )


def test_no_phrase_to_avoid_is_used():
    """Docstrings, comments, messages, names and pages use the recommended words."""
    assert [each for name, path in tracked().items() for each in found(name, path.read_text(encoding="utf-8"))] == []


def test_quoted_passages_are_needed():
    """Each passage is in its file, and has such a word."""
    for name, passage in QUOTED.items():
        assert passage in (ROOT / name).read_text(encoding="utf-8")
        assert any(pattern.search(passage) for pattern in PATTERNS)


def test_phrases_are_found_in_prose():
    """The search sees docstrings across lines, messages, comments and names; not the other names of the code."""
    code = 'def hears():\n    """Answer\n    whether."""\n    return f"{x} is no number", heard  # anew\n'
    phrases = ["1: 'hears'", "2: 'Answer whether'", "4: 'anew'", "4: 'is no number'"]
    assert [each.removeprefix("a.py:").partition(": write")[0] for each in found("a.py", code)] == phrases


def test_code_on_a_page_is_skipped():
    """Of a Markdown page, blocks and spans of code are not searched; paragraphs are, across lines."""
    page = "`hears`\n\n```\nhears\n```\n\nIt goes\non."
    assert found("a.md", page) == ["a.md:7: 'goes on': write continue, resume, propagate"]
