"""Settings from the outside world: read, or refused with the nearest known one (faults, row 95)."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.core.config import check_radius, config_dict, config_hash, make_config
from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    steps: int = 10
    eps: float = 8 / 255
    norm: Literal["l2", "linf"] = "l2"
    limit: int | None = None
    clean: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_radius("eps", self.eps)
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    pass


BAD = [
    ({"step": 5}, 'nearest: "m.steps"'),
    ({"Steps": 5}, 'nearest: "m.steps"'),
    ({"esp": 0.1}, 'nearest: "m.eps"'),
    ({"epsilon": 0.1}, 'nearest: "m.eps"'),
    ({"zzz": 1}, "unknown setting"),
    ({"": 1}, "unknown setting"),
    ({"steps": "five"}, "steps"),
    ({"steps": 2.5}, "steps"),
    ({"steps": "2.5"}, "steps"),
    ({"steps": None}, "steps"),
    ({"steps": []}, "steps"),
    ({"steps": {}}, "steps"),
    ({"steps": 0}, "at least 1, got 0"),
    ({"steps": -3}, "at least 1, got -3"),
    ({"steps": "-3"}, "at least 1, got -3"),
    ({"steps": math.nan}, "NaN"),
    ({"steps": math.inf}, "steps"),
    ({"steps": "1e400"}, "steps"),
    ({"eps": 8}, r"8 grey levels write 0.03137 \(8/255\)"),
    ({"eps": "8"}, "8/255"),
    ({"eps": 1.0001}, "eps must be in"),
    ({"eps": 300}, "eps must be in"),
    ({"eps": 0}, "eps must be in"),
    ({"eps": -0.1}, "eps must be in"),
    ({"eps": math.nan}, "NaN"),
    ({"eps": "nan"}, "NaN"),
    ({"eps": " NaN "}, "NaN"),
    ({"eps": math.inf}, "eps must be in"),
    ({"eps": "-inf"}, "eps must be in"),
    ({"eps": "8/255"}, "eps"),
    ({"eps": "small"}, "eps"),
    ({"eps": None}, "eps"),
    ({"eps": [0.1]}, "eps"),
    ({"norm": "l3"}, "norm"),
    ({"norm": "L2"}, "norm"),
    ({"norm": 2}, "norm"),
    ({"norm": None}, "norm"),
    ({"limit": "many"}, "limit"),
    ({"clean": "perhaps"}, "clean"),
    ({"clean": 2}, "clean"),
    ({"seed": "x"}, "seed"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[str(options) for options, _ in BAD])
def test_a_bad_setting_is_refused_and_named(options, says):
    with pytest.raises(InputError, match=says):
        make_config(Small, options, "m")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"radius": 8}, r"8 grey levels write 0.03137 \(8/255\)"),
        ({"step_sise": 0.1}, 'nearest: "inverted.step_size"'),
        ({"norm": "l7"}, "norm"),
        ({"steps": -1}, "steps"),
        ({"rivals": 0}, "rivals"),
        ({"overshoot": "nan"}, "NaN"),
        ({"halvings": -1}, "halvings"),
    ],
)
def test_a_method_refuses_its_bad_settings(options, says):
    with pytest.raises(InputError, match=says):
        make_config(InvertedConfig, options, "inverted")


def test_settings_without_any_say_so():
    with pytest.raises(InputError, match='"cam" has no settings, got "x"'):
        make_config(Bare, {"x": 1}, "cam")


def test_text_is_read_as_the_type_of_the_setting():
    config = make_config(Small, {"steps": "7", "eps": "0.5", "norm": "linf", "limit": "3", "clean": "false"})
    assert config == Small(steps=7, eps=0.5, norm="linf", limit=3, clean=False)
    assert make_config(Small, {}) == Small()


def test_the_hash_tells_settings_and_methods_apart():
    @dataclass(frozen=True)
    class Other:
        steps: int = 10

    assert config_hash(Small()) == config_hash(Small(steps=10))
    assert len({config_hash(c) for c in (Small(), Small(steps=11), Small(eps=0.1), Small(norm="linf"), Other())}) == 5
    assert len(config_hash(Small())) == 12
    assert make_config(Small, config_dict(Small(eps=1 / 3))) == Small(eps=1 / 3)


def test_the_hash_is_the_same_in_every_process():
    code = (
        "from dataclasses import dataclass\n"
        "from whywrong.core.config import config_hash\n"
        "@dataclass(frozen=True)\nclass Sample:\n    names: tuple = ('a', 'b')\n    eps: float = 1/3\n"
        "print(config_hash(Sample()))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


@dataclass(frozen=True)
class Lists:
    radii: tuple[float, ...] = ()
    name: str = ""


def test_text_with_commas_is_read_as_a_tuple():
    assert make_config(Lists, {"radii": "2, 5.6", "name": "a,b"}) == Lists((2.0, 5.6), "a,b")
    assert make_config(Lists, {"radii": "3"}) == Lists((3.0,))
    assert make_config(Lists, {"radii": ""}) == Lists()
    with pytest.raises(InputError, match="radii"):
        make_config(Lists, {"radii": "2,x"})
