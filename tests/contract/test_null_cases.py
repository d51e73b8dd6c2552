"""Statements of methods are rare where there is nothing to find.

A new method joins by being listed in ``null_statements.py``, with its statements or as one that makes none.
``benchmarks/null_cases.py`` measures them on more nets, beside real errors.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
import torch
from tests.contract.null_statements import (
    NO_STATEMENT,
    STATEMENTS,
    Statement,
    clear_runner_up,
    features_of,
    harmful_components,
    pictures,
)

import whywrong
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.registry import methods
from whywrong.explain.spurious import Features
from whywrong.reproduce.null_cases import NULL_CASES, NullCase, null_cases

MOST = 0.1  # share of a null case in which a statement may be made
ALL = [pytest.param(one, id=f"{method}: {one.words}") for method, some in STATEMENTS.items() for one in some]
# Words that name a cause; what a section says of one has to be a statement and to be measured.
CAUSES = ("misled", "mislead", "because of", "caused by", "responsible for", "the reason for", "due to", "led to")


@functools.cache
def cases(net: str, most: int) -> dict[str, NullCase]:
    return {case.name: case for case in null_cases(*pictures(net), most=most)}


def test_every_method_lists_its_statements_or_that_it_makes_none():
    assert set(methods()) <= set(STATEMENTS) | set(NO_STATEMENT)
    assert not set(STATEMENTS) & set(NO_STATEMENT)


def test_every_null_case_can_be_made_of_a_shipped_net():
    found = cases("planted:cnn", 4)
    assert tuple(found) == NULL_CASES
    assert all(len(case.x) == 4 for case in found.values())


@pytest.mark.parametrize("statement", ALL)
def test_a_statement_is_rare_where_there_is_nothing_to_find(statement: Statement):
    said = torch.cat([statement.said(case, "planted:cnn") for case in cases("planted:cnn", 4).values()])
    assert len(said) == 4 * len(NULL_CASES)
    assert int(said.sum()) <= MOST * len(said)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["planted:cnn", "planted:vit"])
@pytest.mark.parametrize("name", NULL_CASES)
@pytest.mark.parametrize("statement", ALL)
def test_a_statement_is_made_in_at_most_one_null_case_in_ten(statement: Statement, name: str, net: str):
    case = cases(net, 200)[name]
    said = statement.said(case, net)
    assert len(said) >= 200 or name in ("error, random label", "permuted weights")  # as many as there are
    assert float(said.float().mean()) <= MOST


def test_the_runner_up_is_called_clear_where_the_label_is_the_runner_up():
    """The statement is one that can be made: role play on images read right makes it in more than a third."""
    classifier, x, y = pictures("planted:cnn")
    order = classifier.logits(x).argsort(1, descending=True)
    rows = (order[:, 0] == y).nonzero().flatten()[:60]
    said = clear_runner_up(NullCase("role play", classifier, x[rows], order[rows, 1]), "planted:cnn")
    assert float(said.float().mean()) > 1 / 3


@pytest.mark.parametrize("name", NULL_CASES)
def test_components_are_rarely_called_harmful_where_there_is_nothing_to_find(name: str):
    case = cases("planted:cnn", 480)[name]
    features = features_of(case)
    order = keyed_uniform(row_keys(0, len(features)), ()).argsort()
    half = len(order) // 2
    said = harmful_components(case.classifier, features[order[:half]], features[order[half:]])
    assert len(said) >= 60
    assert float(said.float().mean()) <= MOST


def test_components_are_not_called_harmful_by_the_features_of_other_images():
    """Who carries a component says nothing then of how an image is read."""
    classifier, x, y = pictures("planted:cnn")
    features = features_of(NullCase("as they are", classifier, x, y))
    order = keyed_uniform(row_keys(0, len(features)), ()).argsort()
    half = len(order) // 2
    held_out, other = features[order[half:]], features[order[half:].roll(1)]
    mixed = Features(other.phi, held_out.logits, held_out.label)
    said = harmful_components(classifier, features[order[:half]], mixed)
    assert len(said) >= 60
    assert float(said.float().mean()) <= MOST


def texts_of_sections() -> list[tuple[str, str]]:
    """Every text in the modules of the report that speak of one error, docstrings left out."""
    folder = Path(whywrong.__file__).parent / "report"
    found = []
    for path in sorted([*folder.glob("methods/**/*.py"), *folder.glob("primitives/*.py"), folder / "error_view.py"]):
        tree = ast.parse(path.read_text())
        skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                found.append((path.name, node.value))
    return found


def test_no_section_names_a_cause():
    texts = texts_of_sections()
    assert len(texts) > 200
    for file, text in texts:
        for word in CAUSES:
            assert word not in text.lower(), f"{file}: {text}"
