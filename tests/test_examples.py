"""The examples in the docstrings of the public names run as they are printed."""

from __future__ import annotations

import doctest

import pytest

import whywrong

NAMES = [name for name in whywrong.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(getattr(whywrong, name).__doc__, {}, name, None, None)
    assert example.examples, f"whywrong.{name} has no example in its docstring"
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert said == []
