"""ONNX models through ONNX Runtime, as scores-only classifiers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError, ModelError
from whywrong.models.loaded import Loaded
from whywrong.models.onnx_graph import last_operation

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxModel:
    """A callable from images (B, C, H, W) to the outputs of an ONNX graph.

    Graphs with channels last get them last; graphs with a fixed batch larger than one are filled up with zeros.

    Attributes:
        input_size: (C, H, W) where the graph states it, else None.
        largest_batch: The fixed batch of the graph, None where it is free.
        ends_in_sigmoid: Whether nothing but reshaping follows a sigmoid before the only output.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError("ONNX models need ONNX Runtime: pip install 'whywrong[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # its own log goes to the terminal; what stops us is raised
        providers = [p for p in ("CUDAExecutionProvider",) if p in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=[*providers, "CPUExecutionProvider"]
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
        """Outputs of the graph: the tensor where there is one, else all of them by name."""
        pixels = x.detach().cpu().numpy().astype(self._type)
        if self._last:
            pixels = pixels.transpose(0, 2, 3, 1)
        missing = (self.largest_batch or len(x)) - len(x)
        if missing > 0:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])
        answers = self._session.run(None, {self._name: np.ascontiguousarray(pixels)})
        tensors = [torch.as_tensor(np.asarray(answer)[: len(x)]) for answer in answers]
        return tensors[0] if len(tensors) == 1 else dict(zip(self._outputs, tensors, strict=True))


def load_onnx(path: Path) -> Loaded:
    """A scores-only classifier from an ONNX file.

    Raises:
        InputError: No such file.
        ModelError: ONNX Runtime is absent or refuses the file, or the graph is no image classifier.
    """
    if not path.is_file():
        raise InputError(f"no ONNX model at {path}")
    model = OnnxModel(path)
    content = path.read_bytes()
    digests = [hashlib.sha256(content).digest()]
    for beside in _external_data(path, content):
        digests.append(hashlib.sha256(beside.read_bytes()).digest())
    says: dict[str, Any] = {} if model.input_size is None else {"input_size": model.input_size}
    return Loaded(
        model=model, says=says, ask="the graph leaves it open: pass input_size=(C, H, W)", sources=tuple(digests)
    )


def _external_data(path: Path, content: bytes) -> list[Path]:
    """Files beside the graph in which it keeps weights: entries ``location`` of its protocol buffer."""
    names = set()
    for entry in re.finditer(rb"\x0a\x08location\x12([\x01-\x7f])", content, re.DOTALL):
        names.add(content[entry.end() : entry.end() + entry.group(1)[0]].decode(errors="replace"))
    return [beside for name in sorted(names) if (beside := path.parent / Path(name).name).is_file()]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
