"""Docstrings: sources that a reader can find, and first lines in one imperative sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import whywrong

ROOT = Path(__file__).parents[1]
SOURCE = Path(whywrong.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))


def docstrings(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every docstring of a file, with the module, class or function it belongs to."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield node, text


def sources(text: str) -> list[str]:
    """Paragraphs of a docstring that name its source."""
    return [found.group() for found in re.finditer(r"Sources?: .*?(?=\n\n|$)", text, re.DOTALL)]


def findable(source: str) -> bool:
    """Whether a source is a publication or an address, or is ours and names the page that argues it."""
    pages = [ROOT / page for page in re.findall(r"docs/[\w/]+\.md", source)]
    dated = re.search(r"\b(19|20)\d\d\b|arXiv|DOI|https:", source) is not None
    return all(page.is_file() for page in pages) and (dated or ("ours" in source and bool(pages)))


def test_sources_that_nobody_can_find_are_noticed() -> None:
    assert findable("Source: Zhou et al. 2016")
    assert findable("Source: ours, docs/methods/cam.md.")
    assert not findable("Source: ours.")
    assert not findable("Source: ours, docs/methods/none.md.")
    assert not findable("Source: inverted attack, section 2.4.")


def test_every_source_is_a_publication_or_a_page_of_the_docs() -> None:
    found = [(path.name, source) for path in MODULES for _, text in docstrings(path) for source in sources(text)]
    assert len(found) > 60
    assert [(name, source) for name, source in found if not findable(source)] == []


def test_nothing_refers_to_a_document_that_is_not_here() -> None:
    files = [*MODULES, *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))]
    words = re.compile(r"\bspecification\b|\bdesign document\b", re.IGNORECASE)
    assert [str(path) for path in files if words.search(path.read_text("utf-8"))] == []
