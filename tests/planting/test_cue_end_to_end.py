"""The inverted attack finds the cue that a net learnt by mistake (``planted:cnn-spurious``)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_region_fix_hits_the_learnt_cue():
    script = ROOT / "benchmarks" / "planted_cue.py"
    done = subprocess.run([sys.executable, script, "--errors", "200"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["fixed"] == found["errors"] == 200
    assert found["q_candidates"] < 1.96
    assert found["region_hits"] >= 0.80
    assert found["ratio"] >= 3
