"""Nothing is fetched unasked, and ``python -O`` changes no answer (fault row 98)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def closed(monkeypatch):
    """Every way to a network, closed; what was tried."""
    tried: list[object] = []

    def refuse(*arguments, **_):
        tried.append(arguments)
        raise OSError("the network is closed")

    for owner, name in (
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket.socket, "sendto"),
        (socket, "getaddrinfo"),
        (socket, "create_connection"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    return tried


@pytest.mark.parametrize(
    "command",
    [
        ["check", "MODEL", "DATA"],
        ["diagnose", "MODEL", "DATA", "--methods", "cam", "--out", "OUT"],
        ["explain", "MODEL", "IMAGE", "--label", "green", "--methods", "cam", "--out", "OUT"],
        ["report", "RUN", "--out", "FILE"],
        ["query", "RUN", "select count(*) from items"],
        ["reproduce", "--help"],
        ["reproduce", "inverted.1", "DATA", "--model", "MODEL"],
        ["plant", "MODEL", "DATA", "--out", "OUT"],
        ["spurious", "MODEL", "DATA", "--out", "OUT"],
        ["train", "capsnet", "DATA", "--out", "OUT", "--epochs", "1", "--set", "batch=2"],
        ["robustness", "MODEL", "DATA", "--images", "2", "--row", "affine_grid", "--out", "OUT"],
        ["doctor"],
        ["--version"],
        ["--help"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_no_command_asks_the_network(whywrong, small, finished, tmp_path, closed, command):
    places = {
        "MODEL": small.model,
        "DATA": small.images,
        "IMAGE": small.images / "red" / "03.png",
        "RUN": finished,
        "OUT": tmp_path / "out",
        "FILE": tmp_path / "report.html",
    }
    ended = whywrong(*(places.get(word, word) for word in command))
    assert closed == []
    assert "network" not in ended.err


# Without docstrings there are no assertions either; without bytecode of that kind, either start takes ten seconds.
@pytest.mark.parametrize("flag", [pytest.param("-O", marks=pytest.mark.slow), "-OO"])
def test_optimised_python_gives_the_same_answers(whywrong, small, flag):
    arguments = ["check", small.model, str(small.images), "--json"]
    expected = whywrong(*arguments)
    ended = subprocess.run(
        [sys.executable, flag, "-m", "whywrong", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == expected.code == 1, ended.stderr
    assert json.loads(ended.stdout) == json.loads(expected.out)
