"""Training resumes to the same network, and refuses folders and checkpoints that are not its own."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from whywrong.core.classes import ClassList
from whywrong.core.errors import DataError, InputError, ModelError, RunFolderError
from whywrong.core.input_spec import InputSpec
from whywrong.data.objects.opening import open_any
from whywrong.models.architectures.build import build_network, plan_network
from whywrong.models.architectures.files import read_network
from whywrong.models.loading.zoo import load_classifier
from whywrong.runs.training import train as module_of_train
from whywrong.runs.training.augment import shift_and_flip
from whywrong.runs.training.config import TrainConfig
from whywrong.runs.training.pictures import Pictures, read_pictures
from whywrong.runs.training.train import train_network

CONFIG = TrainConfig(epochs=3, batch=16, shift=1, held_out=0.2)


@pytest.fixture(scope="module")
def pictures():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(60) % 3
    pixels = torch.randint(0, 120, (60, 3, 12, 12), generator=generator, dtype=torch.uint8)
    pixels[torch.arange(60), label] += 120  # the class is the brightest channel
    return Pictures(pixels, label, InputSpec(height=12, width=12), ClassList(("red", "green", "blue")), 0)


def plan(family="capsnet", **settings):
    return plan_network(family, (3, 12, 12), 3, width=4, types=2, **settings)


def stop_at(step):
    def stop(progress):
        if progress.done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("family", ["capsnet", "convnet"])
def test_a_training_that_was_killed_resumes_to_the_same_network_bit_for_bit(pictures, tmp_path, family):
    whole = train_network(plan(family), pictures, tmp_path / "whole", config=CONFIG)
    for step in (2, 5, 8):  # before the first checkpoint, and in the second and third epoch of three steps
        with pytest.raises(KeyboardInterrupt):
            train_network(plan(family), pictures, tmp_path / "killed", config=CONFIG, progress=stop_at(step))
    resumed = train_network(plan(family), pictures, tmp_path / "killed", config=CONFIG)
    assert (whole.resumed, resumed.resumed) == (0, 2)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.card == resumed.card
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["model.safetensors", "model_card.md"]


def test_another_seed_gives_another_network(pictures, tmp_path):
    for seed in (0, 1):
        train_network(plan(), pictures, tmp_path / str(seed), config=replace(CONFIG, epochs=1, seed=seed))
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "01")
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_training_is_not_repeated_and_its_network_can_be_loaded(pictures, tmp_path):
    config = replace(CONFIG, epochs=12, rate=1e-2)
    first = train_network(plan(), pictures, tmp_path / "net", config=config)
    assert first.accuracy.value >= 0.9
    assert first.card.losses[-1] < first.card.losses[0]
    again = train_network(plan(), pictures, tmp_path / "net", config=config, progress=stop_at(1))
    assert (again.resumed, again.card) == (12, first.card)
    classifier = load_classifier(f"trained:{tmp_path / 'net'}")
    assert classifier.classes is not None
    assert classifier.classes.names == ("red", "green", "blue")
    right = classifier.predict(pictures.pixels.float() / 255) == pictures.label
    held = pictures.split(config.held_out, config.seed)[1]
    assert float(right[held].float().mean()) == pytest.approx(first.accuracy.value)
    assert classifier.recipe.build().identity == classifier.identity
    assert f"{100 * first.accuracy.value:.1f} % of 12 held-out images" in (tmp_path / "net/model_card.md").read_text()


def test_other_settings_and_other_images_are_refused_by_name(pictures, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_network(plan(), pictures, tmp_path, config=CONFIG, progress=stop_at(4))
    with pytest.raises(RunFolderError, match="another training: rate differ"):
        train_network(plan(), pictures, tmp_path, config=replace(CONFIG, rate=1e-3))
    with pytest.raises(RunFolderError, match="another training: iterations differ"):
        train_network(plan(iterations=1), pictures, tmp_path, config=CONFIG)
    darker = replace(pictures, pixels=pictures.pixels // 2)
    with pytest.raises(RunFolderError, match="another training: images differ"):
        train_network(plan(), darker, tmp_path, config=CONFIG)
    train_network(plan(), pictures, tmp_path, config=CONFIG)
    with pytest.raises(RunFolderError, match="trained otherwise"):
        train_network(plan(), darker, tmp_path, config=CONFIG)


def test_a_folder_with_other_files_is_left_alone(pictures, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"holds other files, as thesis\.txt"):
        train_network(plan(), pictures, tmp_path, config=CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_card_that_lies_alone_is_somebody_elses_and_left_alone(pictures, tmp_path):
    (tmp_path / "model_card.md").write_text("mine")
    with pytest.raises(RunFolderError, match=r"holds other files, as model_card\.md"):
        train_network(plan(), pictures, tmp_path, config=CONFIG)
    assert (tmp_path / "model_card.md").read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "pickle", "foreign", "shape"])
def test_a_damaged_checkpoint_is_refused_and_nothing_in_it_runs(pictures, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        train_network(plan(), pictures, tmp_path, config=CONFIG, progress=stop_at(4))
    path = tmp_path / "checkpoint.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "pickle":
        torch.save({"module": torch.zeros(3)}, path)
    elif damage == "foreign":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        from safetensors import safe_open

        with safe_open(path, "pt") as opened:
            metadata = opened.metadata()
        state = load_file(path)
        state["optimizer.0.exp_avg"] = torch.zeros(3)
        save_file(state, path, metadata)
    with pytest.raises(ModelError, match="damaged"):
        train_network(plan(), pictures, tmp_path, config=CONFIG)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_checkpoint(pictures, tmp_path, monkeypatch):
    plain, steps = module_of_train.training_loss, []

    def diverging(*given, **settings):
        steps.append(1)
        return plain(*given, **settings) * (math.nan if len(steps) > 3 else 1)

    monkeypatch.setattr(module_of_train, "training_loss", diverging)
    with pytest.raises(ModelError, match=r"not finite in epoch 2.*rate below 0\.002"):
        train_network(plan(), pictures, tmp_path, config=CONFIG)
    state = load_file(tmp_path / "checkpoint.safetensors")
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert not (tmp_path / "model.safetensors").exists()


def test_training_leaves_the_callers_generator_alone(pictures, tmp_path):
    before = torch.get_rng_state()
    train_network(plan(), pictures, tmp_path, config=replace(CONFIG, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_images_and_too_large_shifts_are_refused(pictures, tmp_path):
    with pytest.raises(InputError, match="48 training images are fewer than a batch of 64"):
        train_network(plan(), pictures, tmp_path, config=replace(CONFIG, batch=64))
    with pytest.raises(InputError, match="below the shorter side, 12 pixels, got 12"):
        train_network(plan(), pictures, tmp_path, config=replace(CONFIG, shift=12))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 1}, {"rate": 0.0}, {"rate": math.nan}, {"held_out": 0.6}, {"shift": -1}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_images_are_held_out_class_by_class(pictures):
    training, held = pictures.split(0.2, 0)
    assert sorted([*training.tolist(), *held.tolist()]) == list(range(60))
    assert pictures.label[held].bincount().tolist() == [4, 4, 4]
    assert not torch.equal(held, pictures.split(0.2, 1)[1])
    one_each = replace(pictures, pixels=pictures.pixels[:3], label=pictures.label[:3])
    assert len(one_each.split(0.5, 0)[1]) == 0


def test_pictures_are_read_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.array([0, 1, 2, 0, 1, 2]))
    found = read_pictures(open_any(str(tmp_path / "set.npz")))
    assert torch.equal(found.pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert found.label.tolist() == [0, 1, 2, 0, 1, 2]
    assert read_pictures(open_any(str(tmp_path / "set.npz")), (1, 16, 16)).pixels.shape == (6, 1, 16, 16)
    np.savez(tmp_path / "one.npz", images=pixels, labels=np.zeros(6, dtype=np.int64))
    with pytest.raises(DataError, match="at least 2 classes"):
        read_pictures(open_any(str(tmp_path / "one.npz")))


def test_shifts_move_images_by_whole_pixels_and_follow_from_the_generator():
    x = torch.rand(40, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    same = shift_and_flip(x, torch.Generator().manual_seed(1), shift=0, flip=False)
    assert torch.equal(same, x)
    moved, again = (shift_and_flip(x, torch.Generator().manual_seed(1), shift=1, flip=False) for _ in range(2))
    assert torch.equal(moved, again)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    places = [padded[:, :, i : i + 6, j : j + 8] for i in range(3) for j in range(3)]
    hits = torch.stack([(place == moved).flatten(1).all(1) for place in places])
    assert bool(hits.any(0).all())
    assert bool(hits.any(1).all())  # each of the nine shifts occurs
    flipped = shift_and_flip(x, torch.Generator().manual_seed(1), shift=0, flip=True)
    mirrored = (flipped == x.flip(3)).flatten(1).all(1)
    assert bool(((flipped == x).flatten(1).all(1) ^ mirrored).all())
    assert 0 < int(mirrored.sum()) < 40


def test_files_that_are_no_networks_of_ours_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        load_classifier(f"trained:{tmp_path}")
    with pytest.raises(InputError, match="no network at"):
        load_classifier(f"trained:{tmp_path / 'none'}")
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match="not written by `whywrong train`"):
        load_classifier(f"trained:{tmp_path}")
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(ModelError, match="not written by `whywrong train`"):
        load_classifier(f"trained:{tmp_path}")
    with pytest.raises(InputError, match="its own weights"):
        load_classifier(f"trained:{tmp_path}", weights=file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": 0}, "types must be"),
        ({"family": "resnet"}, "family must be one of"),
        ({"width": 10**9}, "width must be"),
        ({"unknown": 1}, "unknown"),
        (None, "names for 3 classes"),
    ],
)
def test_a_card_with_invalid_settings_is_refused(pictures, tmp_path, change, message):
    train_network(plan(), pictures, tmp_path, config=replace(CONFIG, epochs=1))
    file = tmp_path / "model.safetensors"
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        card = json.loads(opened.metadata()["whywrong.network"])
    if change is None:
        card["classes"] = ["red", "green"]
    else:
        card["plan"] |= change
    save_file(load_file(file), file, {"whywrong.network": json.dumps(card)})
    with pytest.raises(ModelError, match=message):
        read_network(file)


def test_weights_of_another_architecture_are_refused(pictures, tmp_path):
    train_network(plan(), pictures, tmp_path, config=replace(CONFIG, epochs=1))
    file = tmp_path / "model.safetensors"
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(build_network(plan(dim=4), seed=0).state_dict(), file, metadata)
    with pytest.raises(ModelError):
        read_network(file)
