"""``whywrong spurious`` from the outside."""

from __future__ import annotations

import json

import pytest

FEW = ("--set", "min_images=3", "--set", "components=2", "--progress", "none")


def test_images_that_are_the_reference_too_cannot_judge(whywrong, small, tmp_path):
    code, out, err = whywrong("spurious", small.model, small.images, "--reference", small.images, "--out", tmp_path)
    assert (code, out) == (2, "")
    assert "every image of DATA is among the reference images" in err


def test_too_few_images_a_class_are_refused(whywrong, small, tmp_path):
    code, out, err = whywrong("spurious", small.model, small.images, "--out", tmp_path, "--progress", "none")
    assert (code, out) == (2, "")
    assert "every class has too few images" in err


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A few pictures of the shipped sets: reference and judges."""
    import numpy as np
    import torch

    from whywrong.core.randomness import keyed_uniform, row_keys
    from whywrong.data.planted import CUES, NAMES, ordinary_scene, render

    folder = tmp_path_factory.mktemp("planted")
    fish, mark = NAMES.index("fish"), CUES.index("mark")
    for name, seed in (("train", 31), ("val", 32)):
        keys = row_keys(seed, 360)
        scene = ordinary_scene(keys)
        share = torch.where(scene.label == fish, 0.9, 0.0 if name == "train" else 0.3)
        cue = torch.where(keyed_uniform(keys, (), 9) < share, mark, -1)
        images = render(scene.but(cue=cue)).images.permute(0, 2, 3, 1).numpy()
        np.savez(folder / f"{name}.npz", images=images, labels=np.array([NAMES[i] for i in scene.label.tolist()]))
    return folder


def test_the_planted_cue_is_found_labelled_and_repaired(whywrong, planted, tmp_path):
    arguments = ("spurious", "planted:cnn-spurious", planted / "val.npz", "--reference", planted / "train.npz", *FEW)
    code, out, err = whywrong(*arguments, "--out", tmp_path, "--class", "fish", "--class", "mug")
    assert code == 0
    assert err.startswith("Next: whywrong spurious planted:cnn-spurious ")
    assert err.rstrip().endswith("--labels labels.csv")
    lines = out.splitlines()
    assert lines[0] == "4 components of 2 classes searched in 360 images, judged on 360 other images."
    assert any(line.lstrip().startswith("fish") and "component 1" in line for line in lines)
    assert f"Page: {tmp_path / 'spurious.html'}" in lines
    labels = tmp_path / "labels.csv"
    labels.write_text("class,component,label\nfish,1,spurious\n")
    code, out, _ = whywrong(*arguments, "--out", tmp_path, "--class", "fish", "--labels", labels, "--json")
    assert code == 0
    ours, published = json.loads(out)["repairs"]
    assert ours["read_as_after"] <= ours["read_as"] / 2
    assert published["start"] == "class"
    assert published["read_as_after"] > 0.8 * ours["read_as"]  # the cue sits in the mean of its class
    assert ours["before"]["value"] < ours["after"]["value"]
    assert set(ours["spurious_score"]) == {"ap", "ap_after", "auc", "auc_after"}
    page = (tmp_path / "spurious.html").read_text(encoding="utf-8")
    assert "Before and after repair" in page


def test_a_named_guide_leads_and_an_ordinary_net_without_one_is_not_drawn(whywrong, planted, tmp_path):
    val, train = planted / "val.npz", planted / "train.npz"
    arguments = ("spurious", "planted:cnn", val, "--reference", train, "--out", tmp_path, *FEW, "--class", "fish")
    few = ("--changes", "--set", "changed_steps=2", "--set", "changed_images=20")
    code, out, _ = whywrong(*arguments, *few)
    assert code == 0
    assert "are not drawn as an explanation" in out
    page = (tmp_path / "spurious.html").read_text(encoding="utf-8")
    assert "Only this model reacts to these changes" in page
    assert 'class="sp-window"' not in page
    code, out, _ = whywrong(*arguments, *few, "--guide", "planted:cnn-robust")
    assert code == 0
    assert "planted:cnn-robust" in out.split("Changed ")[1].split("\n")[0]  # the sentence names who led
    assert 'class="sp-window"' in (tmp_path / "spurious.html").read_text(encoding="utf-8")
    code, _, err = whywrong(*arguments, "--guide", "planted:cnn-robust")
    assert code == 2
    assert "ask for changes, too" in err


def test_a_run_folder_gets_the_view_and_another_model_is_refused(whywrong, small, finished, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished, run)
    code, _, err = whywrong("spurious", "planted:cnn", small.images, "--out", run, "--label-by", "name")
    assert code == 2
    code, out, err = whywrong("spurious", small.model, small.images, "--out", run, *FEW)
    assert code == 1, err  # one file is broken
    assert "failed: red/broken.png: empty file" in err
    assert "no --reference was given" in err
    code, out, _ = whywrong("query", run, "select class_name, component, found_in from spurious order by all", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {row["found_in"] for row in rows} == {"data"}
    assert {row["component"] for row in rows} <= {1, 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--class", "gren"), 'class "gren" is not among the model\'s 3 classes; nearest: "green"'),
        (("--refit",), "give the labels with --labels"),
        (("--labels", "nowhere.csv"), "nowhere.csv: no such file of labels"),
        (("--set", "component=3"), 'unknown setting "spurious.component"; nearest: "spurious.components"'),
        (("--set", "start=top"), "start"),
        (("--progress", "loud"), "--progress"),
    ],
)
def test_wrong_use_ends_with_2_in_one_line(whywrong, small, tmp_path, arguments, said):
    code, out, err = whywrong("spurious", small.model, small.images, "--out", tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_a_model_without_a_linear_last_layer_is_refused_before_anything_is_read(whywrong, small, tmp_path):
    model = small.model.replace(":net", ":probabilities")
    code, _, err = whywrong("spurious", model, small.images, "--out", tmp_path / "x")
    assert code == 2
    assert "has no linear last layer" in err
    assert "give a loader file" in err
    assert not (tmp_path / "x").exists()
