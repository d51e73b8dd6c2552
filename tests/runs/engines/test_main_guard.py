"""A script without a main guard is told so at once, and one that has it is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import whywrong
from whywrong.core.errors import InputError
from whywrong.runs.engines import main_guard
from whywrong.runs.engines.main_guard import require_main_guard

CALL = "from whywrong.runs.engines.main_guard import require_main_guard\n"


def run(tmp_path: Path, script: str, *, how: str = "file") -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(CALL + textwrap.dedent(script))
    command = {
        "file": [sys.executable, "script.py"],
        "module": [sys.executable, "-m", "script"],
        "text": [sys.executable, "-c", CALL + textwrap.dedent(script)],
    }[how]
    source = str(Path(whywrong.__file__).parents[1])
    paths = os.pathsep.join([source, str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment, check=False
    )


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("require_main_guard()", 2),
        ("def main():\n    require_main_guard()\n\nmain()", 5),
        ("for _ in range(2):\n    require_main_guard()", 3),
        ("if True:\n    require_main_guard()", 3),
        ("try:\n    require_main_guard()\nfinally:\n    pass", 3),
        ("if __name__ == '__main__':\n    pass\nrequire_main_guard()", 4),
    ],
)
def test_a_call_without_a_guard_names_the_guard_and_the_line(tmp_path, script, line):
    found = run(tmp_path, script)
    assert found.returncode == 1
    assert f"line {line} would start the run in each of them" in found.stderr
    assert 'below `if __name__ == "__main__":`' in found.stderr


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("if __name__ == '__main__':\n    require_main_guard()", "file"),
        ("def main():\n    require_main_guard()\n\nif __name__ == '__main__':\n    main()", "file"),
        ("if '__main__' == __name__ and True:\n    for _ in range(2):\n        require_main_guard()", "file"),
        ("if __name__ == '__main__':\n    require_main_guard()", "module"),
        ("require_main_guard()", "text"),  # not imported again
    ],
)
def test_a_guarded_call_and_one_that_is_not_imported_again_pass(tmp_path, script, how):
    found = run(tmp_path, script, how=how)
    assert found.returncode == 0, found.stderr


def test_a_module_that_runs_as_the_script_needs_the_guard_too(tmp_path):
    assert "line 2 would start" in run(tmp_path, "require_main_guard()", how="module").stderr


def test_a_worker_that_imports_such_a_script_stops(monkeypatch):
    class Process:
        _inheriting = True

    monkeypatch.setattr(main_guard.multiprocessing, "current_process", Process)
    with pytest.raises(InputError, match="__main__"):
        require_main_guard()


def test_a_diagnosis_with_workers_stops_before_it_starts_any(tmp_path):
    script = """
        import whywrong as ww
        ww.diagnose(ww.load_classifier("planted:cnn"), "planted:test", "r", workers=2)
    """
    found = run(tmp_path, script)
    assert "InputError: workers import" in found.stderr
    assert not (tmp_path / "r").exists()
