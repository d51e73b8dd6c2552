"""Docstrings: sources that a reader can find, and first lines in one imperative sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import whywrong

ROOT = Path(__file__).parents[1]
SOURCE = Path(whywrong.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

MOST_LETTERS = 80
# Packages in which every public function begins its docstring with an instruction. The list only grows.
INSTRUCTIONS = (
    "api",
    "attacks",
    "attacks/inverted",
    "core",
    "core/preprocessing",
    "data",
    "data/corruptions",
    "data/objects",
    "data/planted",
    "data/sources",
    "doors",
    "explain",
    "explain/counterfactuals",
    "explain/counterfactuals/solvers",
    "explain/dissection",
    "explain/edits",
    "explain/interactions",
    "explain/masking",
    "explain/patch_groups",
    "explain/robustness",
    "explain/signs",
    "explain/spurious",
    "models",
    "models/architectures",
    "models/checks",
    "models/layers",
    "models/loading",
    "models/weights",
    "planting",
    "report",
    "report/analyses/robustness",
    "report/analyses/spurious",
    "report/methods",
    "report/methods/counterfactuals",
    "report/methods/inverted",
    "report/methods/patch_groups",
    "report/methods/profiles",
    "report/primitives",
    "reproduce",
    "reproduce/counterfactuals",
    "reproduce/interactions",
    "reproduce/inverted",
    "runs",
    "runs/engines",
    "runs/queries",
    "runs/store",
    "runs/work",
    "verdicts/combiner",
)
# Words that begin a description of the result, not an instruction.
NOT_VERBS = """
    a accuracy all an and another any are area arguments as at attention batch before both bounds by bytes cells
    chance class classes columns content contexts counts cumulative dense difference digests distance distances each
    errors every everything features file findings for four from gaussian gradient half hidden highest how identity
    if images in indices input integrated is it items its levels log logits loss lowest maps mean means median
    methods most nodes none numbers of on one orders pairs passes paths pixels players profile profiles realism
    reason results rows same sampling settings shares sizes smallest some something standard statistics steps stream
    sufficiency superpixels table tensors the their there this threads three time to true two types union valid
    validity value values verdict versions warnings weighted weights what whatever when where whether which why
    windows with
"""


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


def is_instruction(docstring: str) -> bool:
    """Whether a docstring begins with one short imperative sentence, without a colon."""
    first = docstring.split("\n\n")[0]
    words = re.match(r"[A-Z][a-z]+\b", first)
    plain = re.sub(r":\w+:`|``[^`]*``", "", first)
    one = "\n" not in first and len(first) <= MOST_LETTERS and re.search(r"[.;:] |:$|;", plain) is None
    return one and words is not None and words.group().lower() not in NOT_VERBS.split()


def public_functions(path: Path) -> Iterator[tuple[str, str]]:
    """Public functions and methods of public classes with their docstrings; properties and columns name a value."""

    def walk(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from walk(node.body)
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                named = any(re.match("(.*property|computed)\\b", ast.unparse(d)) for d in node.decorator_list)
                if (text := ast.get_docstring(node)) and not named:
                    yield node.name, text

    yield from walk(ast.parse(path.read_text("utf-8")).body)


def test_first_lines_that_describe_or_run_on_are_noticed() -> None:
    assert is_instruction("Remove finished rows from the active batch.\n\nReturns the indices: (m,).")
    assert is_instruction("Look values up, see :meth:`Game.evaluate`.")
    assert not is_instruction("The indices of the rows that remain.")
    assert not is_instruction("(B,) bool, which rows remain.")
    assert not is_instruction("Remove rows: those that are finished.")
    assert not is_instruction("Remove rows. Keep the others.")
    assert not is_instruction(
        "Remove all those rows of the active batch whose search has come to its end, and keep the rest."
    )


@pytest.mark.parametrize("package", INSTRUCTIONS)
def test_public_functions_begin_their_docstring_with_an_instruction(package: str) -> None:
    functions = [(p.name, *f) for p in MODULES if p.parent == SOURCE / package for f in public_functions(p)]
    assert len(functions) > 3
    assert [(file, name) for file, name, text in functions if not is_instruction(text)] == []
