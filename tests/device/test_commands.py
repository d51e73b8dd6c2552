"""Every command and every claim on a machine with a GPU, from files to files, on a few small images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tests.device.pictures import WRONG, drawn, folder, many, two_classes

from whywrong.cli import app
from whywrong.core.registry import claims
from whywrong.runs.folder import RunFolder

METHODS = "cam,inverted,patch_groups,counterfactuals,profiles"
SHORT = (
    "--set=inverted.segments=20",
    "--set=inverted.rounds=6",
    "--set=patch_groups.grid=4",
    "--set=counterfactuals.steps=3",
    "--set=profiles.grid=4",
    "--set=profiles.max_passes=500",
    "--set=profiles.contexts=4",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_classes(tmp_path_factory.mktemp("pairs"))


def command(*words: object) -> int:
    """One command in this process; its exit code."""
    try:
        return app([str(word) for word in words], standalone_mode=False) or 0
    except typer.Exit as end:
        return end.exit_code


def failures(run: Path) -> dict[str, list[str]]:
    """Reasons of items that failed, by method."""
    from whywrong.runs.store.shards import read_facts

    found = {}
    for table in sorted((run / "parts").rglob("*.parquet")):
        failed = read_facts(table).get("failed", {})
        if failed:
            found[table.parent.parent.name] = [reason for _, reason in failed.values()]
    return found


def test_check_reads_every_image(gpu, data, capsys):
    assert command("check", "planted:cnn", data, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["wrong"] == WRONG
    assert gpu.tally.bytes["up"] > 0


@pytest.mark.slow  # test_budgets.py runs the same from Python
def test_diagnose_gives_every_error_all_five_methods(gpu, data, tmp_path):
    run = tmp_path / "run"
    words = ("diagnose", "planted:cnn", data, "--out", run, "--methods", METHODS, "--limit", 3, *SHORT)
    assert command(*words) == 0
    assert failures(run) == {}
    assert RunFolder(run).meta["refused"] == {}
    assert RunFolder(run).meta["machine"]["device"].startswith("cuda")
    before = gpu.tally.times["launch"]
    assert command(*words) == 0  # complete: nothing is asked of a method again
    assert gpu.tally.times["launch"] - before < before / 10


def test_explain_diagnoses_one_image(gpu, data, tmp_path):
    _, y, names = drawn()
    image = next((data / names[int(y[0])]).glob("000.png"))
    label = names[int(y[0])]
    run = tmp_path / "why"
    assert command("explain", "planted:cnn", image, "--label", label, "--out", run, *SHORT[:2]) == 0
    assert failures(run) == {}


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--changes",), ("--changes", "--guide", "planted:cnn-robust")], ids=len)
def test_spurious_searches_and_changes(gpu, pairs, tmp_path, extra):
    settings = ["components=2", "min_images=3", "min_carriers=1"]
    settings += ["changed_steps=2", "changed_images=20", "changed_classes=1"] if extra else []
    data = many(tmp_path / "many") if extra else pairs
    words = ("spurious", "planted:cnn-spurious", data, "--out", tmp_path / "s", *extra)
    assert command(*words, *(f"--set={one}" for one in settings)) == 0
    assert gpu.tally.times["launch"] > 0


def test_dissect_names_units(gpu, data, tmp_path):
    short = ("--layer", "stem", "--set", "permutations=19", "--set", "images_each=1", "--set", "errors=4")
    assert command("dissect", "planted:cnn", data, "--out", tmp_path / "d", *short) in (0, 1)
    assert (tmp_path / "d" / "dissection.html").is_file()


TRANSFORMER = """
import timm
import torch
from torch import nn


def vit():
    torch.manual_seed(0)
    shape = {"img_size": 64, "patch_size": 16, "depth": 2, "embed_dim": 24, "num_heads": 2}
    net = nn.Sequential(timm.create_model("vit_tiny_patch16_224", num_classes=12, **shape)).eval()
    net[0].head.bias.data[COMMON] += 3
    net.input_size = (3, 64, 64)
    return net
"""


def test_robustness_measures_every_row_of_a_transformer_and_a_cnn(gpu, data, tmp_path, capsys):
    common = int(drawn()[1].mode().values)  # so that it is right at times
    (tmp_path / "nets.py").write_text(TRANSFORMER.replace("COMMON", str(common)))
    (tmp_path / "classes.txt").write_text("\n".join(drawn()[2]))
    short = ("draws=1", "steps=2", "apgd_steps=3", "patch_steps=2", "positions=2", "corruptions=fog,jpeg_compression")
    words = ("robustness", f"{tmp_path / 'nets.py'}:vit", "planted:cnn", data, "--classes", tmp_path / "classes.txt")
    assert command(*words, "--out", tmp_path / "r", "--json", *(f"--set={one}" for one in short)) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    reasons = {(row["row"], row["model"]) for row in rows if row["reason"]}
    assert reasons == {
        ("vote_linf", "nets.py:vit"),
        ("vote_linf", "planted:cnn"),
        ("patch_temperature", "planted:cnn"),
    }
    assert any(row["mass"] is not None for row in rows)
    assert gpu.tally.times["launch"] > 0


def test_a_run_is_repaired(gpu, tmp_path, capsys):
    run, images = tmp_path / "run", many(tmp_path / "many")
    assert command("diagnose", "planted:cnn", images, "--out", run, "--methods", "cam") == 0
    capsys.readouterr()
    short = ("steps=2", "batch=8", "fewest=2", "arms=replay,errors,fixes,regions,as predicted")
    assert command("repair", run, "--json", *(f"--set={one}" for one in short)) == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    assert [arm["reason"] for arm in arms] == [None] * 5
    assert min(arm["images"] for arm in arms) > 50


def test_a_surrogate_is_distilled(gpu, data, tmp_path):
    short = ("--set=nets=plain", "--set=epochs=1")
    assert command("distil", "planted:cnn", data, "--out", tmp_path / "s.safetensors", *short) == 0
    assert gpu.tally.bytes["up"] > 0


def test_plant_makes_mistakes_of_every_cause(gpu, data, tmp_path):
    assert command("plant", "planted:cnn", data, "--out", tmp_path / "made", "--per-cause", 1, "--tries", 3) in (0, 1)
    assert list((tmp_path / "made").rglob("*.png"))


@pytest.mark.slow
def test_train_writes_a_network(gpu, data, tmp_path):
    short = ("--epochs", 2, "--set", "width=4", "--set", "batch=4", "--set", "decoder=true")
    assert command("train", "capsnet", data, "--out", tmp_path / "net", *short) == 0
    assert command("check", f"trained:{tmp_path / 'net'}", data) in (0, 1)


@pytest.mark.slow
def test_demo_runs(gpu, tmp_path):
    assert command("demo", "--out", tmp_path / "demo") == 0


def test_doctor_names_the_device(gpu, capsys):
    assert command("doctor", "--json") == 0
    assert "cuda:0 (stand-in)" in json.loads(capsys.readouterr().out)["devices"]


SMALL = {
    "inverted.1": "limit=3",
    "inverted.3": "limit=3",
    "inverted.2": "limit=2 own=planted:vit",
    "inverted.4": "limit=2",
    "inverted.5": "limit=12 correct=40 steps=2",
    "inverted.6": "limit=3",
    "interactions.C1": "limit=2 pool=20 steps=4 grid=4 contexts=4 draws=1000",
    "interactions.C2": "limit=2 pool=20 steps=4 grid=4 contexts=4 draws=1000",
    "interactions.C3": "limit=2 pool=20 steps=4 grid=4 contexts=4 draws=1000",
    "interactions.C4": "limit=2 pool=20 grid=4 contexts=4 draws=1000",
    "interactions.C5": "limit=2 pool=20 grid=4 contexts=4 draws=1000",
    "interactions.C6": "limit=2 pool=20 steps=4 grid=4 contexts=4 draws=1000",
    "interactions.C7": "limit=2 pool=20 steps=4 grid=4 contexts=4 draws=1000 permutations=2",
    "interactions.C8": "limit=2 grid=4 permutations=2 draws=1000",
    "counterfactuals.C1": "limit=2 steps=3",
    "counterfactuals.C2": "limit=2",
    "counterfactuals.C3": "limit=2 steps=3",
    "counterfactuals.C4": "limit=2 long=4",
    "counterfactuals.C5": "limit=2 steps=3",
    "counterfactuals.C6": "limit=2 steps=3",
    "counterfactuals.C7": "components=2 min_images=5 min_carriers=1",
    "counterfactuals.C8": "limit=2 steps=3",
    "vote.V1": "limit=3 steps=2",
    **{f"suppression.C{number}": "limit=3 grid=4" for number in (1, 2, 3, 4, 5, 9)},
    **{f"patches.{name}": "limit=3 positions=1 patch_steps=2 draws=1" for name in ("P1", "P2", "P3", "P4", "A1")},
}


def test_every_claim_is_listed_here():
    assert set(SMALL) == set(claims())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_claim_gives_a_verdict(gpu, data, pairs, capsys, tmp_path, name):
    claim = claims()[name]
    words = ["reproduce", name, pairs if name == "counterfactuals.C7" else data, "--json"]
    model = "planted:vit" if name in ("patches.P3", "patches.P4") else "planted:cnn"  # those need attention
    if name.startswith("vote."):  # needs a capsule network
        short = ("--epochs", 1, "--set", "width=4", "--set", "batch=4")
        assert command("train", "capsnet", data, "--out", tmp_path / "net", *short) == 0
        model = f"trained:{tmp_path / 'net'}"
        capsys.readouterr()
    words += ["--model", model, *(["--model2", "planted:cnn-robust"] if claim.models == 2 else [])]
    words += ["--judge", "planted:vit"] if "judges" in claim.takes else []
    assert command(*words, *(f"--set={setting}" for setting in SMALL[name].split())) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] in ("holds", "does not hold", "undecided")
    assert gpu.tally.times["launch"] > 0
