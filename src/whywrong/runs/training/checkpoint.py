"""The state of a training after an epoch, in one safetensors file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import ModelError, RunFolderError
from whywrong.models.architectures.files import read_metadata
from whywrong.models.weights.files import read_state
from whywrong.runs.store.files import replacing

KEY = "whywrong.checkpoint"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Facts of a checkpoint.

    Attributes:
        facts: Settings and identity of the images, equal in every training that may resume it.
        losses: Mean loss of each finished epoch.
    """

    facts: dict[str, Any]
    losses: tuple[float, ...]


def write_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Write the state of a training, replacing the former one atomically.

    Raises:
        EnvironmentFailure: The disk is full or fails; the former checkpoint is unchanged.
    """
    from safetensors.torch import save

    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    for number, weight in enumerate(module.parameters()):
        for name, value in optimizer.state[weight].items():
            state[f"optimizer.{number}.{name}"] = value
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in state.items()},
        metadata={KEY: json.dumps({"facts": checkpoint.facts, "losses": checkpoint.losses})},
    )
    with replacing(path, "the last checkpoint stays, start the same command again to resume") as file:
        file.write(content)


def read_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> tuple[float, ...]:
    """Restore the state of a training.

    Returns:
        Mean losses of the epochs that are finished.

    Raises:
        RunFolderError: The checkpoint belongs to another training; the message names what differs.
        ModelError: It is damaged, or not a checkpoint of whywrong.
    """
    told = read_metadata(path, KEY)
    stored, losses = told.get("facts"), told.get("losses")
    if not isinstance(stored, dict) or not isinstance(losses, list) or not all(_finite(loss) for loss in losses):
        raise ModelError(f"{path}: this checkpoint is damaged; remove it to train from the beginning")
    wanted = json.loads(json.dumps(facts))
    changed = sorted(name for name in {*stored, *wanted} if stored.get(name) != wanted.get(name))
    if changed:
        raise RunFolderError(
            f"{path.parent} holds another training: {', '.join(changed)} differ; use another folder, or the same "
            "settings and images"
        )
    state, _ = read_state(path)
    _restore(path, state, module, optimizer)
    return tuple(map(float, losses))


def _restore(path: Path, state: dict[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    weights = {name.removeprefix("module."): value for name, value in state.items() if name.startswith("module.")}
    try:
        module.load_state_dict(weights)
        for number, weight in enumerate(module.parameters()):
            moments = {name: state[f"optimizer.{number}.{name}"] for name in _MOMENTS}
            if any(moments[name].shape != weight.shape for name in _MOMENTS[1:]) or moments["step"].ndim:
                raise ValueError(f"state {number} of the optimizer has another shape")
            optimizer.state[weight] = {
                "step": moments["step"],
                **{name: moments[name].to(weight.device) for name in _MOMENTS[1:]},
            }
    except (KeyError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: this checkpoint is damaged ({text}); remove it to start again") from None


def _finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
