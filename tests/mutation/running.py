"""Runs of tests against mutants, in a copy of the package; a process of its own for each, forked after the imports.

python -m tests.mutation.running --number 100 --seed 1      # a random sample over the key modules
python -m tests.mutation.running --module core/statistics.py --number 30
python -m tests.mutation.running --number 130 --seed 1 --skip 100 --cpu 20 --green      # thirty more, on a busy machine
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutate import Mutant, mutants
from tests.mutation.targets import EQUIVALENT, TARGETS

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300.0  # most for the tests of one mutant; a mutant that hangs is killed


@dataclass(frozen=True, slots=True)
class Tried:
    """A mutant and what became of it: ``killed``, ``survived``, ``hung``, or ``open``.

    A mutant that hangs counts as killed, one whose tests did not end within their CPU time does not.
    """

    module: str
    mutant: Mutant
    fate: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.fate in ("killed", "hung")

    def __str__(self) -> str:
        return f"{self.module}:{self.mutant.line}  {self.mutant.what}  {self.fate} ({self.seconds:.0f} s)"


def sample(number: int, seed: int, modules: Sequence[str] = ()) -> list[tuple[str, Mutant]]:
    """Mutants at random, every module as likely by the number of its mutants as by being one: known equivalents out."""
    rng = random.Random(seed)
    pool = {}
    for module in modules or TARGETS:
        found = mutants((ROOT / "src" / "whywrong" / module).read_text())
        pool[module] = [one for one in found if (module, one.what) not in EQUIVALENT]
        rng.shuffle(pool[module])
    drawn: list[tuple[str, Mutant]] = []
    while len(drawn) < number and any(pool.values()):
        left = [module for module, some in pool.items() if some]
        module = rng.choices(left, [len(pool[module]) ** 0.5 for module in left])[0]
        drawn.append((module, pool[module].pop()))
    return drawn


def run(
    chosen: Sequence[tuple[str, Mutant]], *, seconds: float | None = None, cpu: int | None = None, green: bool = False
) -> Iterator[Tried]:
    """Try mutants one after the other, until the time is up.

    Args:
        chosen: Modules and their mutants.
        seconds: Time for all of them; None sets no limit.
        cpu: CPU seconds for the tests of one mutant; None sets no limit.
        green: The tests are known to pass by the modules as they are, and are not run on them first.
    """
    ends = None if seconds is None else time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        package = Path(folder) / "whywrong"
        shutil.copytree(ROOT / "src" / "whywrong", package, copy_function=_link, ignore=_ignored)
        compileall.compile_dir(package, quiet=2)  # or every child would compile the whole package again
        _import_heavy()
        checked: set[tuple[str, ...]] = set()
        for module, mutant in chosen:
            if ends is not None and time.monotonic() > ends:
                return
            if not green and TARGETS[module] not in checked:
                checked.add(TARGETS[module])
                if (fate := _tests(Path(folder), TARGETS[module])) != "survived":
                    raise RuntimeError(f"the tests of {module} are {fate} by the module as it is")
            path = package / module
            whole = path.read_bytes()
            start = time.monotonic()
            _replace(path, mutant.source.encode())
            try:
                fate = _tests(Path(folder), TARGETS[module], cpu)
            finally:
                _replace(path, whole)
                compileall.compile_file(path, quiet=2)
            yield Tried(module, mutant, fate, time.monotonic() - start)


def _replace(path: Path, source: bytes) -> None:
    """Write a module anew and drop its bytecode, which a change of the same size and second would not outdate."""
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    path.unlink()
    path.write_bytes(source)


def _link(source: str, target: str) -> None:
    """Weights and pictures are linked, code is copied, so that imports stay in the copy."""
    if source.endswith(".py"):
        shutil.copyfile(source, target)
    else:
        os.symlink(source, target)


def _ignored(_: str, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__"}


def _import_heavy() -> None:
    """What tests import, once; nothing of the package itself."""
    import hypothesis  # noqa: F401
    import matplotlib  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow  # noqa: F401
    import pytest  # noqa: F401
    import scipy.special
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import timm  # noqa: F401
    import torch  # noqa: F401


def _tests(folder: Path, files: Sequence[str], cpu: int | None = None) -> str:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if cpu is not None:
                used = resource.getrusage(resource.RUSAGE_SELF)
                cpu += int(used.ru_utime + used.ru_stime)
                resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
            code = _in_child(folder, files)
        finally:
            os._exit(code)
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid and os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return "open"
        if pid:
            return "survived" if status == 0 else "killed"
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung" if cpu is None else "open"  # within its CPU time: the machine was busy with other things


def _in_child(folder: Path, files: Sequence[str]) -> int:
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(entry for entry in sys.path if not entry.rstrip("/").endswith("src"))]
    os.environ["PYTHONPATH"] = str(folder)
    os.chdir(ROOT)
    for name in [name for name in sys.modules if name.split(".")[0] in ("whywrong", "tests")]:
        del sys.modules[name]
    import pytest
    import torch

    torch.set_num_threads(1)
    import whywrong

    assert Path(whywrong.__file__).is_relative_to(folder)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:timeout", "-o", "timeout=0"]
    return int(pytest.main([*options, *files]) != 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0, help="first mutants of the sample to leave out, tried before")
    parser.add_argument("--cpu", type=int, help="CPU seconds for the tests of one mutant")
    parser.add_argument("--green", action="store_true", help="do not run the tests without a mutant first")
    parser.add_argument("--module", action="append", default=[])
    options = parser.parse_args()
    found = []
    chosen = sample(options.number, options.seed, options.module)[options.skip :]
    for tried in run(chosen, cpu=options.cpu, green=options.green):
        found.append(tried)
        sys.stderr.write(f"{tried}\n")
        sys.stderr.flush()
    killed = sum(tried.killed for tried in found)
    survivors = [str(tried) for tried in found if not tried.killed]
    json.dump({"tried": len(found), "killed": killed, "survivors": survivors}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
