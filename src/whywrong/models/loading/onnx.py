"""Load ONNX models with ONNX Runtime as scores-only classifiers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError, ModelError
from whywrong.models.loading.limits import answer_within, memory_limit
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.loading.onnx_graph import external_files, last_operation
from whywrong.models.memory import out_of_memory

OPENING = 300.0  # seconds, limit for ONNX Runtime to open and optimise a graph
SECONDS = 60.0  # seconds, limit for the first image
SECONDS_AN_IMAGE = 10.0  # seconds, added to the limit per image of a batch
_TERMINATED = "terminate flag"  # part of the message of ONNX Runtime
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxModel:
    """Callable that maps images (B, C, H, W) to the outputs of an ONNX graph.

    Pixels are transposed for graphs with channels last, and padded with zeros for a fixed batch larger than one.

    Attributes:
        input_size: (C, H, W) if the graph states it, otherwise None.
        largest_batch: The fixed batch of the graph; None if it is free.
        ends_in_sigmoid: Whether nothing but reshaping follows a sigmoid before the only output.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError("ONNX models need ONNX Runtime: pip install 'whywrong[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # its log would go to the terminal; fatal errors are raised
        providers = [p for p in ("CUDAExecutionProvider",) if p in onnxruntime.get_available_providers()]
        providers += ["CPUExecutionProvider"]
        self._limited = len(providers) == 1  # CUDA maps more memory than the machine has
        self._file, self._run_options = path.name, onnxruntime.RunOptions
        try:
            self._session = self._bounded(
                lambda: onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers), OPENING
            )
        except Exception as error:
            raise ModelError(f"{path.name} cannot be opened by ONNX Runtime: {_one_line(error)}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            seen = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise ModelError(f"{path.name} must take one float tensor of images (B, C, H, W), it takes: {seen}")
        self._name, self._type = inputs[0].name, TYPES[inputs[0].type]
        batch, *shape = (d if isinstance(d, int) and d > 0 else None for d in inputs[0].shape)
        self._last = shape[0] not in (1, 3) and shape[2] in (1, 3)
        c, h, w = (shape[2], *shape[:2]) if self._last else shape
        self.input_size = (c, h, w) if c and h and w else None
        self.largest_batch = batch
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.ends_in_sigmoid = len(self._outputs) == 1 and last_operation(path.read_bytes()) == "Sigmoid"

    def __call__(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the graph.

        Returns the tensor of its only output, or all outputs by name.
        """
        pixels = x.detach().cpu().numpy().astype(self._type)
        if self._last:
            pixels = pixels.transpose(0, 2, 3, 1)
        missing = (self.largest_batch or len(x)) - len(x)
        if missing > 0:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])
        answers = self._answers(np.ascontiguousarray(pixels), SECONDS + SECONDS_AN_IMAGE * len(pixels))
        tensors = [torch.as_tensor(np.asarray(answer)[: len(x)]) for answer in answers]
        return tensors[0] if len(tensors) == 1 else dict(zip(self._outputs, tensors, strict=True))

    def try_blank(self, input_size: tuple[int, ...] | None) -> None:
        """Run one grey image, to stop early if the graph exceeds its limits.

        Raises:
            ModelError: The limit of memory or time is exceeded.
        """
        size = input_size or self.input_size
        if size is None:  # the caller requests it
            return
        x = np.full((self.largest_batch or 1, *size), 0.5, self._type)
        try:
            self._bounded(lambda: self._answers(x.transpose(0, 2, 3, 1) if self._last else x, SECONDS), SECONDS + 5)
        except Exception as error:
            if not (out_of_memory(error) or _TERMINATED in str(error) or isinstance(error, TimeoutError)):
                return  # the health probe explains other problems better
            why = "needs more memory than there is" if out_of_memory(error) else f"gives no answer within {SECONDS:g} s"
            raise ModelError(f"{self._file} {why} for one blank image: {_one_line(error)}") from error

    def _answers(self, pixels: np.ndarray, seconds: float) -> list[Any]:
        """Run the graph, and end it when the time is over."""
        options = self._run_options()
        timer = threading.Timer(seconds, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            with memory_limit() if self._limited else contextlib.nullcontext():
                return self._session.run(None, {self._name: pixels}, options)
        finally:
            timer.cancel()

    def _bounded(self, function: Callable[[], Any], seconds: float) -> Any:
        with memory_limit() if self._limited else contextlib.nullcontext():
            return answer_within(function, seconds)


def load_onnx(request: ModelRequest) -> Loaded:
    """Load a scores-only classifier from an ONNX file.

    It is run once on a blank image.

    Args:
        request: Its name is the file, without separate weights; it states the input size if the graph leaves it open.

    Raises:
        InputError: The file does not exist, or separate weights were given.
        ModelError: ONNX Runtime is missing or refuses the file, the graph is no image classifier, needs more memory
            than is free or more than a minute for one image, or keeps weights outside of its folder.
    """
    if request.weights is not None:
        raise InputError("an ONNX file carries its own weights; leave weights out")
    path = Path(os.path.abspath(request.name))  # links are kept: its other files are beside the link, not the target
    if not path.is_file():
        raise InputError(f"no ONNX model at {path}")
    size = request.given.get("input_size")
    content = path.read_bytes()
    files = _external_files(path, content)  # before anything opens them
    model = OnnxModel(path)
    model.try_blank(tuple(map(int, size)) if size else None)
    digests = [hashlib.sha256(content).digest(), *map(_digest, files)]
    says: dict[str, Any] = {} if model.input_size is None else {"input_size": model.input_size}
    return Loaded(
        model=model,
        name=str(path),
        says=says,
        ask="the graph leaves it open: give --input-size 224, or input_size=(3, 224, 224) in Python",
        sources=tuple(digests),
    )


def _external_files(path: Path, content: bytes) -> list[Path]:
    """List the files in which a graph keeps weights; they are part of its identity.

    Raises:
        ModelError: A file is missing or outside the folder of the graph.
    """
    try:
        names = sorted(external_files(content))
    except ValueError as error:
        raise ModelError(f"{path.name} is damaged or no ONNX file: {error}") from None
    # A download cache links both files to another folder; what is beside the real graph counts as beside the link.
    folders = {os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path))}
    files = []
    for name in names:
        file = path.parent / name
        inside = any(os.path.realpath(file).startswith(folder.rstrip("/") + "/") for folder in folders)
        if not name or os.path.isabs(name) or ".." in re.split(r"[\\/]", name) or not inside:
            raise ModelError(f'{path.name} keeps weights in "{name[:200]}", outside of its folder; it is not read')
        if not file.is_file():
            raise ModelError(f'{path.name} keeps weights in "{name[:200]}", which is not a file beside it')
        files.append(file)
    return files


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
