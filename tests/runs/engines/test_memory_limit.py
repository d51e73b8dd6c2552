"""A memory limit of the system: batches are halved, an image that does not fit alone is an item (row 65)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")

# The first run has no limit: it starts the threads, whose address space is none of the model's, and gives the answers.
SCRIPT = """
import json, resource, sys
from pathlib import Path
import torch
from torch import nn
from tests.runs import kit
from whywrong.explain import methods

MIB = 2**20
methods.METHODS = (kit.method(),)

class Hungry(nn.Module):
    '''The reader, which maps 200 MiB an image, never touched, and 100 times as much for some.'''
    def __init__(self, hungry):
        super().__init__()
        self.reader, self.hungry, self.largest = kit.Reader(), torch.tensor(hungry, dtype=torch.int64), 0
    def forward(self, x):
        most = 100 * int(torch.isin((x[:, 0, 0, 1] * 255).round().long(), self.hungry).sum())
        torch.empty((len(x) + most) * 200 * MIB, dtype=torch.uint8)
        self.largest = max(self.largest, len(x))
        return self.reader(x)

def found(name, hungry):
    net = Hungry(hungry)
    classifier = kit.Classifier(net, classes=kit.ClassList(kit.NAMES), preprocess=kit.SPEC, identity="hungry")
    run = kit.diagnosed(out / name, source, classifier=classifier, batch_size=16)
    return {
        "failed": run.query("select key, reason from failed_items order by 1").to_pylist(),
        "ok": run.query("select key, predicted, margin from predictions where status = 'ok' order by 1").to_pylist(),
        "stub": run.query("select key, level from stub order by 1").to_pylist(),
        "largest": net.largest,
        "size": classifier.batch_size,
    }

out = Path(sys.argv[1])
source = kit.array_source(out, 48)
answers = {"plain": found("plain", [])}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1000 * MIB, resource.RLIM_INFINITY))
answers |= {name: found(name, json.loads(name)) for name in sys.argv[2:]}
print(json.dumps(answers))
"""
HUNGRY = [(20,), (0, 47), (3, 4)]  # up to the 5 % of faults at which the probe stops a run


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    names = [json.dumps(hungry) for hungry in HUNGRY]
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("limited")), *names],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from what the process uses")
@pytest.mark.parametrize("hungry", HUNGRY, ids=str)
def test_batches_are_halved_and_an_image_that_never_fits_is_an_item(answers, hungry):
    plain, limited = answers["plain"], answers[json.dumps(hungry)]
    lost = {f"images[{number}]" for number in hungry}
    assert plain["failed"] == []
    assert plain["largest"] >= 16
    assert {row["key"] for row in limited["failed"]} == lost
    assert all("does not fit into memory" in row["reason"] for row in limited["failed"])
    for table in ("ok", "stub"):
        assert limited[table] == [row for row in plain[table] if row["key"] not in lost]
    assert 2 <= limited["largest"] <= 5  # of 200 MiB each, in 1,000 MiB
