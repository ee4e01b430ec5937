"""The prose of the product, its documents and its help: the rules of CONTRIBUTING.md's "How we write"."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from redistill.cli import app
from redistill.commands import COMMANDS

ROOT = Path(__file__).parents[3]
PACKAGES = ("db", "triggers", "monitor", "distill", "redistill", "migrations", "bench", "examples", "deploy")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for name in ("deploy", "docs") for path in (ROOT / name).rglob("*.md"))]
)

#: Words and idioms that no reader of the field expects, and what to write instead.
REFUSED = {
    r"\bwho(?:m|ever|mever)\b": "name the person or the part",
    r"\bmend(?:s|ed|ing)?\b": "fix or repair",
    r"\banew\b": "again",
    r"\b(?:goes|go|going|gone|went) on\b": "continue or resume",
    r"\bloud(?:er|est|ness)?\b": "severe, escalate",
    r"\bcall(?:s|ed|ing)? off\b": "cancel",
    r"\bputs? aside\b": "discard",
    r"\bfor want of\b": "ran out of",
    r"\bin the mean\b": "on average",
    r"\bin vain\b": "without result",
    r"\bof a datum\b": "data path",
    r"\bno evidence enough\b": "not enough evidence",
    r"\b(?:for|from|of|after|in|than) so (?:long|many|much|few)\b": "give the quantity",
    r"\bmakes? room\b": "free space",
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|other\b|way\b|need\b)": "is not a",
    r"\btold\b|\btells?\b(?! apart)": "report, notify, say",
    r"\bspoken to\b": "called",
    r"\bborne\b": "tolerated",
    r"\blies in\b": "is stored in",
    r"\bis away\b|\bwas away\b": "unreachable or unresponsive",
    r"\brooms?\b": "package",
}
#: Openings of a docstring that make it a bare clause.
BARE = re.compile(
    r"(?:What|Whether|How|Who|Whom|Whose|Where|When|Why|Which|By (?:what|which|how)|Of|That|As|If|So that"
    r"|From|Until)\b(?![^.]*\?)"
)


#: From 3.12 on, the text of an f-string is a token of its own.
_TEXT = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and not _is_message(node):
                yield getattr(node, "lineno", 1), text


def _is_message(node: ast.AST) -> bool:
    """The docstring of an error class is its message."""
    return isinstance(node, ast.ClassDef) and node.name.endswith("Error")


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Return the comments and the strings of more than one word."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            is_text = token.type in _TEXT and " " in token.string
            if token.type == tokenize.COMMENT or is_text:
                yield token.start[0], token.string


def refused_in(text: str) -> list[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`|https?://\S+", " ", text, flags=re.DOTALL)
    return [
        f"{found[0]!r}: {better}" for wrong, better in REFUSED.items() for found in re.finditer(wrong, prose)
    ]


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def at(path: Path, line: int, found: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {found}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_docstring_opens_with_a_bare_clause(package: str) -> None:
    bare = [
        at(path, line, text.splitlines()[0])
        for path in modules(package)
        for line, text in docstrings(path)
        if BARE.match(text)
    ]
    assert not bare, "\n".join(bare)


#: SQL that released revisions execute, and what a simulated user says.
QUOTING = {ROOT / "redistill" / "demo" / "phrases.py", *(ROOT / "migrations" / "versions").glob("*.py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_code_speaks_the_words_of_the_field(package: str) -> None:
    refused = [
        at(path, line, each)
        for path in modules(package)
        if path not in QUOTING
        for line, text in prose(path)
        for each in refused_in(text)
    ]
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_speak_the_words_of_the_field(path: Path) -> None:
    assert refused_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_speaks_the_words_of_the_field(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert refused_in(result.output) == []
