"""Models that end the process, move it, print, or leave threads, seen from outside of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NETS = """
import ctypes, os, random, sys, threading, time
import torch
from torch import nn

class Net(nn.Module):
    input_size, classes = (3, 16, 16), ["red", "green", "blue"]
    deed = None
    def __init__(self):
        super().__init__(); self.c = nn.Conv2d(3, 8, 3); self.l = nn.Linear(8, 3)
    def forward(self, x):
        type(self).deed()
        return self.l(torch.relu(self.c(x)).mean((2, 3)))

def make(deed):
    torch.manual_seed(0)
    return type("Own", (Net,), {"deed": staticmethod(deed)})().eval()

def move():
    os.makedirs("elsewhere", exist_ok=True); os.chdir("elsewhere")

def shout():
    print("HELLO")
    sys.__stdout__.write("HELLO AGAIN\\n"); sys.__stdout__.flush()
    os.write(1, b"HELLO FROM BELOW\\n")
    ctypes.CDLL(None).puts(b"HELLO FROM C"); ctypes.CDLL(None).fflush(None)
    os.system("echo HELLO FROM A CHILD")

def plain(): return make(lambda: None)
def moves(): return make(move)
def shouts(): return make(shout)
def quits(): return make(lambda: sys.exit(0))
def leaves(): return make(lambda: os._exit(0))
def interrupts(): return make(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
def aborts(): return make(lambda: os.abort())
def noisy():
    def late():
        while True:
            time.sleep(0.01); print("LATE", flush=True)
    def deed():
        shout()
        threading.Thread(target=late).start()
    return make(deed)
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(NETS)
    return path


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "whywrong", *map(str, arguments)],
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_a_model_prints_never_reaches_stdout_and_its_threads_do_not_keep_the_command_from_ending(
    nets, small, tmp_path
):
    ended = call(tmp_path, "check", f"{nets}:noisy", small.images, "--json")
    assert json.loads(ended.stdout)["images"] == small.count, ended.stderr
    words = ("HELLO\n", "HELLO AGAIN", "HELLO FROM BELOW", "HELLO FROM C", "HELLO FROM A CHILD", "LATE", "running")
    assert [word for word in words if word not in ended.stderr] == []


@pytest.mark.parametrize("net", ["moves", "shouts"])
def test_the_run_stays_where_it_was_asked_for(nets, small, tmp_path, monkeypatch, whywrong, net):
    monkeypatch.chdir(tmp_path)
    ended = whywrong(
        "diagnose", f"{nets}:{net}", small.images, "--methods", "cam", "--out", "run", "--progress", "none"
    )
    assert ended.code == 1, ended.err  # one broken image
    assert "HELLO" not in ended.out
    assert (tmp_path / "run" / "run.json").is_file()
    assert list(tmp_path.glob("elsewhere/*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("net", ["moves", "shouts"])
def test_the_same_holds_with_workers(nets, small, tmp_path, net):
    from whywrong import api

    for name in ("plain", net):
        ended = call(
            tmp_path, "diagnose", f"{nets}:{name}", small.images, "--methods", "cam", "--out", name, "--workers", 2
        )
        assert ended.returncode == 1, ended.stderr
        assert "HELLO" not in ended.stdout
    mine, plain = (api.open_run(tmp_path / name).query("from predictions").to_pylist() for name in (net, "plain"))
    assert mine == plain


@pytest.mark.parametrize("net", ["quits", "leaves", "interrupts", "aborts"])
@pytest.mark.parametrize("command", ["check", "diagnose"])
def test_a_model_that_ends_the_process_stops_the_command_with_one_sentence(
    nets, small, tmp_path, whywrong, net, command
):
    more = ("--out", tmp_path / "run") if command == "diagnose" else ()
    ended = whywrong(command, f"{nets}:{net}", small.images, *more)
    assert ended.code == 2
    assert "the model ended the process" in ended.out + ended.err
