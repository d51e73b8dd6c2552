"""The tests notice changes of the modules whose results people rely on."""

from __future__ import annotations

import ast

import pytest
from tests.mutation.mutate import changes_of, mutants, places
from tests.mutation.running import ROOT, run, sample
from tests.mutation.targets import EQUIVALENT, TARGETS

SOURCE = '''"""A module; 1 < 2 in its text is no code."""

LIMIT: int = 3


def largest(values: list[int], least: float = 0.5) -> int:
    """Not here: 4 + 5."""
    if not values or len(values) > LIMIT:
        raise ValueError(f"at most {LIMIT + 1}")
    return max(values) - 1 if values[0] < 2 else -values[0]
'''

CHOICE = "max(values) - 1 if values[0] < 2 else -values[0]"


def test_a_mutant_changes_one_part_of_the_code_that_runs():
    found = mutants(SOURCE)
    assert sorted((one.line, one.what) for one in found) == [
        (3, "3 -> 4"),
        (6, "0.5 -> 0.65"),
        (8, "len(values) > LIMIT -> len(values) >= LIMIT"),
        (8, "not values -> values"),
        (8, "not values or len(values) > LIMIT -> not values and len(values) > LIMIT"),
        (10, "-values[0] -> values[0]"),
        (10, "0 -> 1"),
        (10, "0 -> 1"),
        (10, "1 -> 2"),
        (10, "2 -> 3"),
        (10, "max -> min"),
        (10, "max(values) - 1 -> max(values) + 1"),
        (10, f"{CHOICE} -> {CHOICE.replace('if', 'if not')}"),
        (10, "values[0] < 2 -> values[0] <= 2"),
    ]
    assert places(SOURCE) == len(found)
    whole = ast.dump(ast.parse(SOURCE))
    assert all(ast.dump(ast.parse(one.source)) != whole for one in found)


def test_every_key_module_and_its_tests_are_there():
    for module, files in TARGETS.items():
        assert (ROOT / "src" / "whywrong" / module).is_file(), module
        for test in files:
            assert (ROOT / test.partition("::")[0]).is_file(), test
        assert places((ROOT / "src" / "whywrong" / module).read_text()) > 8, module


def test_known_equivalents_are_mutants_of_their_modules():
    for module in {module for module, _ in EQUIVALENT}:
        found = changes_of((ROOT / "src" / "whywrong" / module).read_text())
        assert {what for name, what in EQUIVALENT if name == module} <= found, module


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_nine_mutants_in_ten_are_noticed():
    """A sample over all key modules that changes with the seed; what survives is named."""
    found = list(run(sample(100, seed=2026), seconds=2400))
    survivors = [str(tried) for tried in found if not tried.killed]
    assert len(found) >= 25, "too few mutants in the time there was"
    assert len(survivors) <= 0.1 * len(found), "\n".join(survivors)
