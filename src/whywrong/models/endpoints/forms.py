"""Shapes of requests and answers of common model servers.

``plain``: ``{"id": ..., "images": [base64, ...]}`` to ``{"scores": [[...], ...]}`` or ``{"labels": [...]}``.
``torchserve``: the image file itself to ``{"class": probability, ...}`` or a list of scores.
``kserve``: the Open Inference Protocol, version 2, as served by KServe and Triton, with pixels as numbers.
``hugging-face``: ``{"inputs": base64}`` to ``[{"label": ..., "score": ...}, ...]``.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.core.errors import EnvironmentFailure, ModelError
from whywrong.models.endpoints.settings import EndpointSettings


@dataclass(frozen=True, slots=True)
class Body:
    """Content of a request.

    Attributes:
        content: Bytes.
        kind: Media type.
        id: Identity that a server may repeat in its answer; empty if the form has none.
    """

    content: bytes
    kind: str
    id: str = ""


def write_body(settings: EndpointSettings, files: Sequence[bytes], pixels: np.ndarray, request_id: str) -> Body:
    """Write the request for a batch of images.

    Args:
        settings: Of the endpoint.
        files: The images as files.
        pixels: The same images as numbers, (b, C, H, W) float32; only for the form ``kserve``.
        request_id: Identity of the request.
    """
    if settings.form == "torchserve":
        return Body(files[0], f"image/{settings.image}")
    if settings.form == "hugging-face":
        count = len(settings.classes or ()) or None
        asked: dict[str, Any] = {"inputs": base64.b64encode(files[0]).decode()}
        if count and settings.answers != "top":
            asked["parameters"] = {"top_k": count}
        return Body(json.dumps(asked).encode(), "application/json")
    if settings.form == "kserve":
        tensor = {
            "name": settings.input_name,
            "shape": list(pixels.shape),
            "datatype": "FP32",
            "data": pixels.ravel().tolist(),
        }
        return Body(json.dumps({"id": request_id, "inputs": [tensor]}).encode(), "application/json", request_id)
    images = [base64.b64encode(file).decode() for file in files]
    asked = {"id": request_id, settings.images_key: images}
    return Body(json.dumps(asked).encode(), "application/json", request_id)


def read_answer(settings: EndpointSettings, content: bytes, batch: int, request_id: str) -> np.ndarray:
    """Read the answer to a batch of images.

    Returns:
        (b, K) float64 scores, with 0 for classes that ``top`` does not list; or (b,) int64 classes for ``labels``.

    Raises:
        EnvironmentFailure: The answer is no JSON, as the page of a proxy, or belongs to another request.
        ModelError: The answer has another shape or holds values that are no scores.
    """
    try:
        answer = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        shown = content[:60].decode("utf-8", "replace").strip()
        raise EnvironmentFailure(
            f'the endpoint answered with something else than JSON ("{shown}"); check the address and the form'
        ) from None
    if request_id and isinstance(answer, Mapping) and answer.get("id", request_id) != request_id:
        raise EnvironmentFailure(
            "the endpoint answered another request than the one sent (its id differs); it must not cache or reorder"
        )
    if settings.form == "kserve":
        return _scores(settings, _tensor(settings, answer), batch)
    if settings.form == "plain":
        name = settings.answers_key or ("labels" if settings.answers == "labels" else "scores")
        if not isinstance(answer, Mapping) or name not in answer:
            raise ModelError(f'the endpoint must answer {{"{name}": [...]}}, it answered {_seen(answer)}')
        return _scores(settings, answer[name], batch)
    return _named(settings, answer)


def _refuse_constant(name: str) -> float:
    return math.nan  # checked with the other scores


def _tensor(settings: EndpointSettings, answer: Any) -> Any:
    """Select the output tensor of an answer, as nested lists."""
    outputs = answer.get("outputs") if isinstance(answer, Mapping) else None
    if not isinstance(outputs, list) or not all(isinstance(one, Mapping) for one in outputs):
        raise ModelError(f'the endpoint must answer {{"outputs": [...]}}, it answered {_seen(answer)}')
    wanted = settings.output_name
    found = [one for one in outputs if not wanted or one.get("name") == wanted]
    if not found:
        raise ModelError(f'the endpoint returns no output named "{wanted}"')
    shape, data = found[0].get("shape"), found[0].get("data")
    if not isinstance(shape, list) or not isinstance(data, list) or len(shape) != 2 or not _whole(shape):
        return data
    rows, columns = shape
    return [data[row * columns : (row + 1) * columns] for row in range(rows)] if len(data) == rows * columns else data


def _whole(shape: list[Any]) -> bool:
    return all(isinstance(size, int) and 0 < size <= 10**7 for size in shape)


def _scores(settings: EndpointSettings, rows: Any, batch: int) -> np.ndarray:
    if not isinstance(rows, list) or len(rows) != batch:
        raise ModelError(f"the endpoint must answer {batch} images, it answered {_seen(rows)}")
    if settings.answers == "labels":
        return np.array([_class(settings, row) for row in rows], np.int64)
    if settings.answers == "top":
        return np.concatenate([_named(settings, row) for row in rows])
    width = len(settings.classes) if settings.classes else None
    for row in rows:
        if not isinstance(row, list) or not row or (width is not None and len(row) != width):
            raise ModelError(f"the endpoint must answer {width or 'K'} scores an image, it answered {_seen(row)}")
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in row):
            raise ModelError("the endpoint must answer numbers, it answered something else among the scores")
    if len({len(row) for row in rows}) > 1:
        raise ModelError("the endpoint answered different numbers of scores within one call")
    return _checked(settings, np.array(rows, np.float64))


def _checked(settings: EndpointSettings, scores: np.ndarray) -> np.ndarray:
    if not np.isfinite(scores).all():
        raise ModelError("the endpoint answered NaN or infinite scores")
    if settings.answers == "top" and ((scores < 0).any() or (scores.sum(1) > 1.02).any() or not scores.any(1).all()):
        raise ModelError(
            f"the endpoint answered scores from {scores.min():.3g} to {scores.max():.3g} with sum "
            f"{scores.sum(1).max():.3g} for its best classes, which are no probabilities"
        )
    if settings.answers == "probabilities":
        sums = scores.sum(1)
        if (scores < -1e-3).any() or (scores > 1 + 1e-3).any() or (abs(sums - 1) > 0.02).any():
            raise ModelError(
                f"the endpoint answered scores from {scores.min():.3g} to {scores.max():.3g} with sum {sums[0]:.3g}, "
                'which are no probabilities; if they are logits, set answers = "logits"'
            )
    return scores


def _class(settings: EndpointSettings, value: Any) -> int:
    """Return the index of a class that is given by index, by name, or as a ranked list."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("label")
    names = settings.classes or []
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < (len(names) or 2**31):
        return value
    raise ModelError(f"the endpoint answered {_seen(value)} instead of a class")


def _named(settings: EndpointSettings, answer: Any) -> np.ndarray:
    """Read scores by class name: a mapping, or a list of labels with scores."""
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], list):
        answer = answer[0]
    pairs: list[tuple[Any, Any]] = []
    if isinstance(answer, Mapping):
        pairs = list(answer.items())
    elif isinstance(answer, list) and all(isinstance(one, Mapping) for one in answer):
        pairs = [(one.get("label"), one.get("score")) for one in answer]
    elif isinstance(answer, list) and settings.answers != "top":
        return _scores(settings, [answer], 1)
    names = settings.classes
    if not pairs or names is None:
        advice = "; set classes" if pairs else '; for class names alone, set answers = "labels"'
        raise ModelError(f"the endpoint must answer class names with scores, it answered {_seen(answer)}{advice}")
    strange = [name for name, _ in pairs if name not in names]
    if strange or not all(isinstance(value, (int, float)) for _, value in pairs):
        raise ModelError(f"the endpoint answered {_seen(strange[0] if strange else answer)} instead of scores by class")
    values = dict(pairs)
    if settings.answers == "labels":
        return np.array([names.index(max(values, key=lambda name: values[name]))], np.int64)
    if len(values) < len(names) and settings.answers != "top":
        raise ModelError(
            f"the endpoint answered {len(values)} of {len(names)} classes; let it return all, or set answers = "
            '"top", with which methods that need all scores are refused'
        )
    return _checked(settings, np.array([[values.get(name, 0.0) for name in names]], np.float64))


def _seen(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object with {', '.join(str(name)[:20] for name in list(value)[:4]) or 'nothing'}"
    return f'{type(value).__name__} "{str(value)[:40]}"'
