"""The shape of the package: no import circles between files, folders and signatures of a readable size."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import whywrong

SOURCE = Path(whywrong.__file__).parent
MOST_MODULES = 20
MOST_PARAMETERS = 7


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Sets of files that import each other, directly or through one another."""
    files = sorted(imports)
    number = {file: i for i, file in enumerate(files)}
    edges = [(number[file], number[other]) for file in files for other in imports[file]]
    rows, columns = np.array(edges).T
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(files), len(files)))
    count, label = connected_components(graph, directed=True, connection="strong")
    sets = [{files[i] for i in np.flatnonzero(label == k)} for k in range(count)]
    return [files for files in sets if len(files) > 1]


def signatures(path: Path) -> Iterator[tuple[str, int]]:
    """Public functions and methods of a file, each with its number of positional-or-keyword parameters."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int]]:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from walk(node.body, f"{node.name}.")
            if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
                names = [a.arg for a in node.args.args if a.arg not in ("self", "cls", "config")]
                yield prefix + node.name, len(names)

    yield from walk(ast.parse(path.read_text("utf-8")).body, "")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph("whywrong", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_a_circle_through_three_files_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_no_files_import_each_other(imports: dict[str, set[str]]) -> None:
    assert "whywrong.core.errors" in imports["whywrong.core.checks"]
    unknown = [sorted(found) for found in circles(imports)]
    assert unknown == []


def test_no_folder_has_more_than_twenty_modules() -> None:
    counts = {str(f.relative_to(SOURCE)): len(list(f.glob("*.py"))) for f in SOURCE.rglob("*") if f.is_dir()}
    assert len(counts) > 10
    assert {name: n for name, n in counts.items() if n > MOST_MODULES} == {}


def test_no_public_function_has_more_than_seven_positional_parameters() -> None:
    counts = {f"{p.relative_to(SOURCE)} {name}": n for p in SOURCE.rglob("*.py") for name, n in signatures(p)}
    assert counts["core/checks.py check_images"] == 2
    assert {name: n for name, n in counts.items() if n > MOST_PARAMETERS} == {}
