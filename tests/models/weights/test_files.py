"""Rows 61 to 63: files that are no weights are refused, and nothing in them is executed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from whywrong.core.errors import InputError, ModelError
from whywrong.models.weights.files import load_weights, read_state


def net(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def other(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value + 1 for key, value in module.state_dict().items()}


# Good files


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin", "no_suffix"])
@pytest.mark.parametrize("legacy", [False, True])
def test_every_plain_form_of_weights_loads(tmp_path, name, legacy):
    module, state = net(), other(net())
    path = tmp_path / name
    if name == "w.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    load_weights(module, path)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: OrderedDict(("module." + k, v) for k, v in s.items()),
        lambda s: {"model_state_dict": {"_orig_mod." + k: v for k, v in s.items()}},
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
    ],
)
def test_usual_wrappings_of_state_dicts_are_taken_off(tmp_path, wrap):
    module, state = net(), other(net())
    torch.save(wrap(state), tmp_path / "w.pt")
    load_weights(module, tmp_path / "w.pt")
    assert torch.equal(module.state_dict()["3.weight"], state["3.weight"])


def test_two_different_sets_of_weights_in_one_file_ask_which(tmp_path):
    torch.save({"state_dict": net().state_dict(), "state_dict_ema": other(net())}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"several sets of weights .*state_dict, state_dict_ema.*--weights-key"):
        load_weights(net(), tmp_path / "w.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.pt"):
        read_state(tmp_path / "nowhere.pt")


# Row 61: pickles


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path, how: str) -> None:
        self.canary, self.how = canary, how

    def __reduce__(self):
        text = f"open({str(self.canary)!r}, 'w').close()"
        return {
            "system": (os.system, (f"touch {self.canary}",)),
            "exec": (exec, (text,)),
            "eval": (eval, (text,)),
            "open": (open, (str(self.canary), "w")),
        }[self.how]


def zipped(members: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def saved(content, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def crafted(canary: Path) -> dict[str, bytes]:
    """Twenty files that are no weights; each that can carry code would touch the canary."""
    files: dict[str, bytes] = {}
    for how in ("system", "exec", "eval", "open"):
        bomb = Payload(canary, how)
        files[f"pickle {how}"] = pickle.dumps(bomb)
        files[f"torch {how}"] = saved({"w": torch.zeros(2), "x": bomb})
    bomb = Payload(canary, "exec")
    files["legacy torch"] = saved({"w": bomb}, _use_new_zipfile_serialization=False)
    files["protocol 0"] = pickle.dumps(bomb, protocol=0)
    files["protocol 5 with prefix"] = b"\x80\x05" + pickle.dumps(bomb, protocol=4)[2:]
    files["whole module"] = saved(net())
    files["zip with pickle"] = zipped({"archive/data.pkl": pickle.dumps(bomb), "archive/version": b"3\n"})
    files["zip, compressed"] = zipped({"archive/data.pkl": pickle.dumps(bomb) + bytes(10**6)}, zipfile.ZIP_DEFLATED)
    files["zip with traversal"] = zipped({"../../escaped.py": b"boom", "archive/data.pkl": pickle.dumps(bomb)})
    good = saved(net().state_dict())
    files["truncated at the half"] = good[: len(good) // 2]
    files["truncated at the end"] = good[:-20]
    files["zip behind a pickle"] = pickle.dumps(bomb) + good
    files["tar-like text"] = b"./sys_info\x00" * 100
    files["empty"] = b""
    return files


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_nothing_in_a_crafted_pickle_is_executed(tmp_path, suffix):
    canary = tmp_path / "canary"
    files = crafted(canary)
    assert len(files) == 20
    for name, content in files.items():
        path = tmp_path / f"crafted{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_weights(net(), path)
        assert "crafted" in str(caught.value), name
        assert not canary.exists(), name
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"crafted{suffix}"]


def test_the_canary_would_die_without_the_door(tmp_path):
    """The payloads do work: else the test above would prove nothing."""
    for how in ("system", "exec", "eval", "open"):
        canary = tmp_path / how
        pickle.loads(pickle.dumps(Payload(canary, how)))
        assert canary.exists()


def test_a_whole_pickled_module_is_refused_with_the_remedy(tmp_path):
    torch.save(net(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"more than weights.*save_file\(model.state_dict"):
        read_state(tmp_path / "model.pt")


def test_a_torchscript_program_is_refused_with_the_remedy(tmp_path):
    members = {"model/data.pkl": b".", "model/constants.pkl": b".", "model/code/__torch__/net.py": b"def forward()"}
    (tmp_path / "model.pt").write_bytes(zipped(members, zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelError, match=r"TorchScript.*state_dict"):
        read_state(tmp_path / "model.pt")


def test_a_zip_directory_that_zipfile_itself_refuses_stops(tmp_path):
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2)  # an archive of two disks
    (tmp_path / "w.pt").write_bytes(locator + b"PK\x05\x06" + bytes(18))
    with pytest.raises(ModelError, match=r"w.pt is a damaged archive"):
        read_state(tmp_path / "w.pt")


def flipped_files(tmp_path: Path, count: int) -> None:
    generator = random.Random(0)
    canary = tmp_path / "canary"
    for content in (saved(net().state_dict()), saved({"w": torch.zeros(9), "x": Payload(canary, "exec")})):
        for _ in range(count):
            damaged = bytearray(content)
            for _ in range(generator.choice([1, 3, 20])):
                damaged[generator.randrange(len(damaged))] = generator.randrange(256)
            path = tmp_path / "flipped.pt"
            path.write_bytes(damaged)
            with contextlib.suppress(ModelError):
                load_weights(net(), path)  # a flip inside the numbers is still weights
            assert not canary.exists()


def test_damaged_pickles_load_or_stop_and_execute_nothing(tmp_path):
    flipped_files(tmp_path, 40)


@pytest.mark.slow
def test_many_damaged_pickles_load_or_stop_and_execute_nothing(tmp_path):
    flipped_files(tmp_path, 2000)


# Row 62: safetensors


def raw(header: bytes | dict, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape=(2,), dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


CRAFTED = {
    "header of 2^63 bytes": (raw({}, length=2**63), "header claims 9223372036854775808 bytes"),
    "header of 2^64 - 1 bytes": (raw({}, length=2**64 - 1), "header claims"),
    "header longer than the file": (raw({"a": entry(0, 8)}, b"\0" * 8, length=10**6), "header claims"),
    "overlap": (raw({"a": entry(0, 8), "b": entry(4, 12)}, b"\0" * 12), 'tensor "b".*overlaps'),
    "gap": (raw({"a": entry(0, 8), "b": entry(12, 20)}, b"\0" * 20), 'tensor "b".*gap'),
    "bad JSON": (raw(b'{"a": '), "not valid JSON"),
    "not UTF-8": (raw(b'{"\xff\xfe": 1}'), "not valid JSON"),
    "deep JSON": (raw(b'{"a":' * 100_000), "not valid JSON"),
    "a list": (raw(b"[1]"), "not a table"),
    "key twice": (raw(b'{"a": {}, "a": {}}'), "'a' occurs twice"),
    "shape and bytes disagree": (raw({"a": entry(0, 8, (3,))}, b"\0" * 8), 'tensor "a".*cannot fill'),
    "huge shape": (raw({"a": entry(0, 8, (2**40, 2**40))}, b"\0" * 8), 'tensor "a".*cannot fill'),
    "negative offsets": (raw({"a": entry(-8, 0)}, b"\0" * 8), 'tensor "a" has no valid'),
    "unknown dtype": (raw({"a": entry(0, 8, dtype="C64X")}, b"\0" * 8), 'tensor "a" has no valid'),
    "true as a size": (raw({"a": entry(0, 4, (True,))}, b"\0" * 4), 'tensor "a" has no valid'),
    "truncated data": (raw({"a": entry(0, 8)}, b"\0" * 4), "truncated"),
    "data at the end": (raw({"a": entry(0, 8)}, b"\0" * 80), "truncated or damaged"),
    "five bytes": (b"\0" * 5, "header claims"),
    "empty": (b"", "header claims"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_safetensors_file_stops_with_the_key(tmp_path, name):
    content, text = CRAFTED[name]
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"(?s)w.safetensors.*{text}"):
        load_weights(net(), path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_weights_that_are_not_finite_stop_with_the_key(tmp_path, value, form):
    state = net().state_dict()
    state["3.weight"][0, 0] = value
    path = tmp_path / f"w.{form}"
    save_file(state, path) if form == "safetensors" else torch.save(state, path)
    with pytest.raises(ModelError, match=r'weight "3.weight" holds NaN or infinity'):
        load_weights(net(), path)


def test_missing_and_extra_keys_stop_with_the_key(tmp_path):
    state = net().state_dict()
    state["3.gamma"] = state.pop("3.bias")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r'"3.bias" is missing; "3.gamma" is not in the model'):
        load_weights(net(), tmp_path / "w.safetensors")


# Row 63: another architecture or class count


def test_another_class_count_is_listed(tmp_path):
    save_file(net(7).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(
        ModelError, match=r'"3.weight" is \(7, 4\) in the file, \(3, 4\) in the model.*pass the classes'
    ):
        load_weights(net(3), tmp_path / "w.safetensors")


def test_another_architecture_lists_the_first_five_mismatches(tmp_path):
    torch.save(nn.Transformer(8, 2, 2, 2, 8).state_dict(), tmp_path / "w.pt")
    module = net()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(module, tmp_path / "w.pt")
    listed, _, rest = str(caught.value).partition(" and ")
    assert listed.count(";") == 4
    assert rest.partition(" more")[0].isdigit()
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_integers_for_floating_weights_stop(tmp_path):
    state = net().state_dict()
    state["3.bias"] = state["3.bias"].to(torch.int8)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r'"3.bias" is torch.int8 in the file'):
        load_weights(net(), tmp_path / "w.safetensors")
