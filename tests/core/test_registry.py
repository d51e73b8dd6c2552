"""Methods by name; plug-ins that fail or shadow a built-in are named and left out (faults, row 96)."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from whywrong.core import registry
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.registry import Claim, Method
from whywrong.explain.methods import METHODS
from whywrong.reproduce import CLAIMS


def line(name: str) -> Method:
    return Method(name=name, title="t", access=Access.SCORES, function="m:f", config="m:C", draw="m:d")


class Point:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self.name, self.value, self.load = name, f"plugin.{name}:entry", load


def missing() -> Any:
    raise ModuleNotFoundError("No module named 'plugin'")


@pytest.fixture
def installed(monkeypatch):
    points: list[Point] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "whywrong.methods" else [])
    return points


def test_a_plugin_joins_after_the_built_ins(installed):
    installed.append(Point("extra", lambda: line("extra")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(registry.methods()) == [*(m.name for m in METHODS), "extra"]
    assert registry.find_method("extra").title == "t"
    assert set(registry.claims()) == {claim.name for claim in CLAIMS}


def test_a_plugin_that_fails_to_import_is_named_and_left_out(installed):
    installed += [Point("broken", missing), Point("extra", lambda: line("extra"))]
    with pytest.warns(UserWarning, match=r"plug-in broken \(plugin.broken:entry\) failed to load: No module"):
        found = registry.methods()
    assert "extra" in found
    assert "broken" not in found


def test_a_plugin_never_shadows_a_built_in(installed):
    built_in = registry.methods()["cam"]
    installed.append(Point("cam", lambda: line("cam")))
    with pytest.warns(UserWarning, match='plugin.cam:entry may not replace "cam"'):
        assert registry.methods()["cam"] is built_in


def test_of_two_plugins_with_one_name_the_first_stays(installed):
    first = line("extra")
    installed += [Point("a", lambda: first), Point("b", lambda: line("extra"))]
    with pytest.warns(UserWarning, match='plugin.b:entry may not replace "extra"'):
        assert registry.methods()["extra"] is first


@pytest.mark.parametrize("entry", [None, "cam", dict, Claim(name="a.1", title="t", function="m:f", config="m:C")])
def test_a_plugin_that_is_no_method_is_named_and_left_out(installed, entry):
    installed.append(Point("odd", lambda: entry))
    with pytest.warns(UserWarning, match="plug-in odd .* is not a Method"):
        assert "odd" not in registry.methods()


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r'no method "cams"; nearest: "cam"; the methods are: .*cam, .*inverted'):
        registry.find_method("cams")


def test_names_are_unique_and_follow_the_pattern_of_their_kind():
    names = [entry.name for entry in (*METHODS, *CLAIMS)]
    assert len(set(names)) == len(names)
    assert all("." not in method.name for method in METHODS)
    assert all(claim.name.count(".") == 1 for claim in CLAIMS)


def test_claims_can_be_imported():
    for claim in CLAIMS:
        assert callable(registry.resolve(claim.function))
        assert callable(registry.resolve(claim.config))


@pytest.mark.parametrize("kind", ["Method", "Claim", "Loader", "SourceKind"])
def test_listing_what_exists_imports_no_torch(kind):
    code = (
        f"import sys; from whywrong.core import registry; assert registry.lines(registry.{kind}); "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False"]
