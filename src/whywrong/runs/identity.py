"""Identity of a run by model, data, seed and settings, and how two runs differ."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whywrong._version import __version__
from whywrong.core.classes import ClassList
from whywrong.core.config import config_dict, config_hash
from whywrong.core.input_spec import InputSpec
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source
from whywrong.runs.sizes import shard_size
from whywrong.runs.store.schemas import PREDICTIONS_VERSION, SCHEMA_VERSION, SHARD_SIZE
from whywrong.runs.work.tasks import MethodSpec

if TYPE_CHECKING:  # reading an analysis needs this module without torch
    from whywrong.models.classifier import Classifier

_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "pyarrow", "duckdb", "scikit-image", "scipy")

_PLAIN_CPU = {"device": "cpu", "precision": "exact"}  # of runs of versions that did not record it


def describe(
    classifier: Classifier, source: Source, *, classes: ClassList, spec: InputSpec, options: DecodeOptions, seed: int
) -> dict[str, Any]:
    """Describe a run for ``run.json`` before anything is computed."""
    return {
        "schema": SCHEMA_VERSION,
        "whywrong": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": {
            "source": getattr(classifier.recipe, "model", None),
            "identity": classifier.identity,
            "access": classifier.access.name,
            "classes": list(classes.names),
            "wnids": None if classes.wnids is None else list(classes.wnids),
            "input": asdict(spec),
        },
        "data": {"source": _plain(source.spec.to_dict()), "items": 0, "ignored": {}, "warnings": []},
        "given": {"model": classifier.title or None, "data": source.facts.title or None},
        "decoding": _plain(asdict(options)),
        "seed": seed,
        "arithmetic": {
            "device": classifier.device.type,
            "precision": classifier.precision if classifier.device.type != "cpu" else "exact",
        },
        "depth": None,
        "images": None,
        "limit": 0,
        "shard_size": shard_size(len(source), SHARD_SIZE),
        "predictions": {"hash": config_hash(options), "result_version": PREDICTIONS_VERSION},
        "methods": {},
        "refused": {},
        "health": [],
        "notes": [],
        "complete": False,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "device": str(classifier.device),
        },
    }


def identity(meta: Mapping[str, Any]) -> str:
    """Hash what all shards of a run have in common.

    A shard with another hash belongs to another run.
    """
    parts = {name: meta[name] for name in ("schema", "model", "decoding", "seed")}
    arithmetic = meta.get("arithmetic", _PLAIN_CPU)
    if arithmetic != _PLAIN_CPU:  # runs on the CPU keep the hash that they had before this was recorded
        parts["arithmetic"] = arithmetic
    return hashlib.sha256(json.dumps([parts, meta["data"]["source"]], sort_keys=True).encode()).hexdigest()[:16]


def step_record(step: MethodSpec) -> dict[str, Any]:
    """Return a method as ``run.json`` records it."""
    return {
        "hash": step.hash,
        "config": config_dict(step.config),
        "result_version": step.method.result_version,
        "title": step.method.title,
    }


def differences(stored: Mapping[str, Any], now: Mapping[str, Any], steps: Sequence[MethodSpec]) -> list[str]:
    """List the differences between a stored run and the requested one."""
    found = []
    for name in ("schema", "model", "decoding", "seed"):
        found += _compare(name, stored[name], now[name])
    found += _compare("data", stored["data"]["source"], now["data"]["source"])
    found += _compare("arithmetic", stored.get("arithmetic", _PLAIN_CPU), now.get("arithmetic", _PLAIN_CPU))
    found += _compare("predictions.hash", stored["predictions"]["hash"], now["predictions"]["hash"])
    for step in steps:
        before = stored["methods"].get(step.method.name)
        if before is not None and before["hash"] != step.hash:
            found += _compare(step.method.name, *_comparable(before, step))
    return found


def _comparable(before: Mapping[str, Any], step: MethodSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the stored and the present settings, without those that another version of the method lacks.

    Results of another version are computed again, so that an added or removed setting does not make another run.
    """
    stored, now = before["config"], config_dict(step.config)
    if before["result_version"] == step.method.result_version:
        return stored, now
    shared = stored.keys() & now.keys()
    return {name: stored[name] for name in shared}, {name: now[name] for name in shared}


def _compare(name: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _compare(f"{name}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after) and before != after:
        at = next(i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
        yield f"{name}[{at}] was {_short(before[at])}, is now {_short(after[at])}"
    elif before != after:
        yield f"{name} was {_short(before)}, is now {_short(after)}"


def _short(value: Any) -> str:
    text = f"a list of {len(value)}" if isinstance(value, list) and len(value) > 5 else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(value: Any) -> Any:
    """Convert to JSON and back, so that stored and requested values can be compared."""
    return json.loads(json.dumps(value, default=str))


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
