"""A GPU that runs out of memory, and one that breaks: what is retried, and what ends the run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contract.nets import build, images
from tests.device.pictures import drawn, folder
from tests.device.stand_in import StandIn
from torch import Tensor, nn

from whywrong.api import diagnose, open_run
from whywrong.cli import main
from whywrong.core.errors import DeviceFailure, EnvironmentFailure, ModelRaisedError
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.models.memory import device_errors, device_failed, out_of_memory

BROKEN = [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("HIP error: the operation cannot be performed in the present state"),
]
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if the input is not contiguous"),
    ValueError("CUDA error: said by a model of its own"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", BROKEN, ids=str)
def test_broken_devices_are_told_from_full_ones(error):
    assert device_failed(error)
    assert not out_of_memory(error)
    with pytest.raises(DeviceFailure, match=r"the GPU failed .* --device cpu") as caught, device_errors():
        raise error
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [*FULL, *OTHERS], ids=repr)
def test_other_errors_pass_as_they_are(error):
    assert not device_failed(error)
    assert out_of_memory(error) == (error in FULL)
    with pytest.raises(type(error)) as caught, device_errors():
        raise error
    assert caught.value is error


class Failing(nn.Module):
    """A net that raises in one pass."""

    def __init__(self, error: Exception, passes: int, gpu: StandIn | None = None) -> None:
        super().__init__()
        self.net, self.error, self.left, self.asked, self.gpu = build("gap"), error, passes, 0, gpu

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        if self.asked == self.left:
            if self.gpu is not None:
                self.gpu.broken = self.error
            raise self.error
        return self.net(x)


@pytest.mark.parametrize("error", BROKEN, ids=str)
@pytest.mark.parametrize("ask", ["logits", "logits_or_faults", "predict", "gradient"])
def test_a_broken_device_is_never_bisected(gpu, error, ask):
    failing = Failing(error, 2).to("cuda")
    classifier = Classifier(failing, batch_size=4)
    request: Any = getattr(classifier, ask)
    more = [lambda logits, rows: logits[:, 0]] if ask == "gradient" else []
    with pytest.raises(DeviceFailure):
        request(images(8), *more)
    assert failing.asked == 2
    assert classifier.batch_size == 4


def test_a_model_that_raises_is_bisected_as_before(gpu):
    failing = Failing(ValueError("no"), 1).to("cuda")
    with pytest.raises(ModelRaisedError):
        Classifier(Failing(ValueError("no"), 3).to("cuda"), batch_size=1).logits(images(4))
    assert len(Classifier(failing).logits(images(4))) == 4
    assert failing.asked == 2


@pytest.mark.parametrize("error", FULL[:4], ids=str)
def test_a_full_device_gets_smaller_batches(gpu, error):
    classifier = Classifier(Failing(error, 1).to("cuda"), batch_size=8)
    assert len(classifier.logits(images(8))) == 8
    assert classifier.batch_size == 4


def test_memory_of_a_failed_pass_is_free_before_it_is_given_back():
    with StandIn(memory=300_000) as gpu:
        classifier = Classifier(build("flat").to("cuda"), batch_size=64)
        x = images(64)
        resting = gpu.held
        held = []
        classifier._chunks._release = lambda: held.append(gpu.held)
        found = classifier.logits(x)
        assert gpu.mixes == []
    assert len(found) == 64
    assert held, "the device was large enough for all"
    assert max(held) == resting
    assert classifier.batch_size < 64


def test_one_image_that_does_not_fit_says_so():
    with StandIn(memory=10**6) as gpu:
        classifier = Classifier(build("flat").to("cuda"))
        gpu.memory = gpu.held + 10_000
        with pytest.raises(EnvironmentFailure, match="one image alone") as caught:
            classifier.logits(images(4))
    assert not isinstance(caught.value, DeviceFailure)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("stage", ["predict", "explain"])
def test_a_run_ends_and_blames_no_image_and_goes_on_later(data, tmp_path, stage, monkeypatch):
    module, name = {
        "predict": ("whywrong.runs.work.predict", "ask"),
        "explain": ("whywrong.explain.cam", "cam"),
    }[stage]
    with StandIn() as gpu:
        classifier = load_classifier("planted:cnn")

        def breaks(*_: Any, **__: Any) -> Any:
            gpu.broken = torch.AcceleratorError("CUDA error: device-side assert triggered")
            return torch.ones(1, device="cuda") + 1

        with monkeypatch.context() as patched:
            patched.setattr(importlib.import_module(module), name, breaks)
            with pytest.raises(DeviceFailure):
                diagnose(classifier, data, tmp_path / "run", methods=["cam"])
        gpu.broken = None
        run = diagnose(classifier, data, tmp_path / "run", methods=["cam"])
    assert open_run(tmp_path / "run").query("select 1 from predictions where status = 'failed'").num_rows == 0
    assert run.query("select 1 from cam").num_rows == len(run.errors())


def test_the_command_line_says_it_in_one_sentence(data, tmp_path, monkeypatch, capsys):
    drawn()
    words = ["whywrong", "check", "planted:cnn", str(data)]
    with StandIn() as gpu:
        load = load_classifier

        def loaded(*args: Any, **kwargs: Any) -> Classifier:
            classifier = load(*args, **kwargs)
            gpu.broken = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
            return classifier

        monkeypatch.setattr("whywrong.models.loading.zoo.load_classifier", loaded)
        monkeypatch.setattr("sys.argv", words)
        monkeypatch.setattr("whywrong.cli.plain_warnings", lambda: None)  # they change the whole process
        monkeypatch.setattr("whywrong.cli.prepare_streams", lambda: None)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert "the GPU failed (CUDA error: an illegal memory access" in told
    assert "fault of whywrong" not in told
