"""``whywrong train`` from a folder of images to a model that other commands take."""

from __future__ import annotations

import json

SHORT = ("--set", "width=4", "--set", "types=2", "--set", "batch=4", "--input-size", "16", "--rate", "0.01")


def test_a_network_is_trained_resumed_and_checked(whywrong, small, tmp_path):
    command = ("train", "capsnet", small.images, "--out", tmp_path / "net", "--epochs", "3", *SHORT)
    code, out, err = whywrong(*command)
    assert code == 0
    assert "Trained capsnet on" in out
    assert f"Next: whywrong check trained:{tmp_path / 'net'}" in err
    code, out, _ = whywrong(*command, "--json")
    told = json.loads(out)
    assert (code, told["resumed"], len(told["losses"])) == (0, 3, 3)
    assert told["images"] + told["held_out"] == small.count
    code, out, _ = whywrong("check", f"trained:{tmp_path / 'net'}", small.images, "--json")
    assert code in (0, 1)
    assert json.loads(out)


def test_other_settings_in_the_same_folder_are_refused(whywrong, small, tmp_path):
    command = ("train", "convnet", small.images, "--out", tmp_path / "net", "--epochs", "1", *SHORT)
    assert whywrong(*command)[0] == 0
    code, out, err = whywrong(*command, "--seed", "5")
    assert (code, out) == (2, "")
    assert "trained otherwise: use another folder" in err


def test_images_of_several_sizes_need_an_input_size(whywrong, tmp_path):
    from PIL import Image

    for name, side in (("a", 20), ("b", 24)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (side, side)).save(tmp_path / "images" / name / f"{number}.png")
    code, _, err = whywrong("train", "capsnet", tmp_path / "images", "--out", tmp_path / "net", "--set", "batch=2")
    assert code == 2
    assert "b/0.png is 24 x 24, the first image 20 x 20; training needs one size: give --input-size" in err
