"""The public face: what is listed is there, is documented, and is loaded only when used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import whywrong


@pytest.mark.parametrize("name", whywrong.__all__)
def test_every_public_name_can_be_had_and_has_a_docstring(name):
    value = getattr(whywrong, name)
    assert name == "__version__" or (value.__doc__ and value.__module__.startswith("whywrong."))


def test_no_other_name_is_offered():
    tree = ast.parse(Path(whywrong.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared | {"__version__"} == set(whywrong.__all__)  # what type checkers see is what there is
    assert set(whywrong.__all__) <= set(dir(whywrong))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        whywrong.explian  # noqa: B018


@pytest.mark.parametrize("first", ["", "import whywrong.explain.cam", "import whywrong.attacks.inverted"])
def test_submodules_never_stand_in_front_of_public_names(first):
    script = f"{first}\nimport whywrong\nassert callable(whywrong.cam) and callable(whywrong.invert)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_importing_loads_nothing_heavy():
    script = (
        "import sys, whywrong; heavy = {'torch', 'numpy', 'pyarrow', 'matplotlib', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
