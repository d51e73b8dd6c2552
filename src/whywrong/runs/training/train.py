"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError, ModelError, RunFolderError
from whywrong.core.statistics import Interval, wilson
from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.build import build_network, training_loss
from whywrong.models.architectures.files import MODEL_FILE, NetworkCard, read_card, write_network
from whywrong.runs.progress import Progress
from whywrong.runs.store.files import make_folder, preparing, replacing
from whywrong.runs.training.augment import shift_and_flip
from whywrong.runs.training.card import card_text
from whywrong.runs.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from whywrong.runs.training.config import TrainConfig
from whywrong.runs.training.pictures import Pictures

CHECKPOINT_FILE, CARD_FILE = "checkpoint.safetensors", "model_card.md"
_OWN = {MODEL_FILE, CHECKPOINT_FILE, CARD_FILE}
_RISE = 0.05  # share of the steps in which the learning rate rises


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network.

    Attributes:
        folder: Folder that holds it; ``trained:FOLDER`` names it as a model.
        card: How it was trained.
        accuracy: On the held-out images, with its Wilson interval.
        resumed: Finished epochs that were found in the folder.
    """

    folder: Path
    card: NetworkCard
    accuracy: Interval
    resumed: int


def train_network(
    plan: Architecture,
    pictures: Pictures,
    out: Path,
    *,
    config: TrainConfig,
    device: torch.device | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a network and write it with its card; a killed training is resumed.

    A checkpoint is written after each epoch. The random choices of an epoch follow from the seed and its number, so
    that a resumed training gives the same network, bit for bit on one thread of a CPU.

    Args:
        plan: Settings of the network.
        pictures: Labelled images.
        out: Output folder. If it holds this training, that is resumed.
        config: Settings of the training.
        device: Default the CPU.
        progress: Called after every step.

    Raises:
        InputError: There are fewer training images than a batch, or a shift is larger than an image.
        RunFolderError: The folder holds something else, or another training.
        ModelError: The loss is not finite, or the checkpoint is damaged.
        EnvironmentFailure: The disk is full or fails; the last checkpoint stays.
    """
    training, held = pictures.split(config.held_out, config.seed)
    shift = min(plan.shape[1:]) // 16 if config.shift is None else config.shift
    if len(training) < config.batch:
        raise InputError(f"{len(training):,} training images are fewer than a batch of {config.batch}: set batch lower")
    if shift >= min(plan.shape[1:]):
        raise InputError(f"shift must be below the shorter side, {min(plan.shape[1:])} pixels, got {shift}")
    facts = {**asdict(plan), **asdict(config), "shift": shift, "images": pictures.identity()}
    _check_folder(out)
    device = device or torch.device("cpu")
    done = _finished(out, facts, pictures)
    if done is not None:
        return done
    module = build_network(plan, seed=config.seed).to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.rate, weight_decay=config.decay)
    checkpoint = out / CHECKPOINT_FILE
    losses = read_checkpoint(checkpoint, module, optimizer, facts) if checkpoint.is_file() else ()
    resumed = len(losses)
    steps = len(training) // config.batch
    for epoch in range(resumed, config.epochs):
        run = _Epoch(pictures, training, config, shift, epoch, steps, progress)
        losses = (*losses, run.train(module, optimizer, device))
        write_checkpoint(checkpoint, module, optimizer, Checkpoint(facts=facts, losses=losses))
    hits = _hits(module.eval(), pictures, held, config.batch, device)
    card = NetworkCard(
        plan=plan,
        classes=pictures.classes.names,
        training={**asdict(config), "shift": shift, "data": facts["images"], "threads": torch.get_num_threads()},
        images=len(training),
        held_out=len(held),
        accuracy=hits / len(held) if len(held) else None,
        losses=losses,
    )
    weights = sum(weight.numel() for weight in module.parameters())
    with replacing(out / CARD_FILE, "start the same command again") as file:
        file.write(card_text(card, weights).encode())
    with replacing(out / MODEL_FILE, "start the same command again") as file:
        write_network(file, module, card)
    checkpoint.unlink(missing_ok=True)
    return Trained(out, card, wilson(hits, len(held)), resumed)


def _check_folder(out: Path) -> None:
    """Create the output folder, and refuse one with other content."""
    with preparing(out):
        make_folder(out)
        names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    foreign = [name for name in names if name not in _OWN]
    if names == [CARD_FILE]:  # ours is written while a checkpoint is there, and a network follows
        foreign = names
    if foreign:
        raise RunFolderError(f"{out} holds other files, as {foreign[0]}: use a new folder")


def _finished(out: Path, facts: dict[str, Any], pictures: Pictures) -> Trained | None:
    """Return the network that the folder holds already, if it is the one that is asked for."""
    if not (out / MODEL_FILE).is_file():
        return None
    card = read_card(out / MODEL_FILE)
    same = all(facts[name] == value for name, value in asdict(card.plan).items())
    stored = card.training
    settings = {name: facts[name] for name in asdict(TrainConfig())}
    if not same or stored.get("data") != facts["images"] or any(stored.get(k) != v for k, v in settings.items()):
        raise RunFolderError(f"{out} holds a network trained otherwise: use another folder")
    hits = round((card.accuracy or 0.0) * card.held_out)
    return Trained(out, card, wilson(hits, card.held_out), len(card.losses))


@dataclass(frozen=True, slots=True)
class _Epoch:
    """One pass over the training images."""

    pictures: Pictures
    rows: Tensor
    config: TrainConfig
    shift: int
    number: int
    steps: int
    progress: Callable[[Progress], None] | None

    def train(self, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
        """Train for one epoch and return the mean loss."""
        config, total = self.config, self.steps * self.config.epochs
        seed = (config.seed * 1_000_003 + self.number) % 2**63
        generator = torch.Generator().manual_seed(seed)
        margin = 0.2 + 0.7 * self.number / max(1, config.epochs - 1)  # of the spread loss
        losses = torch.zeros((), device=device)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)  # for dropout
            order = self.rows[torch.randperm(len(self.rows), generator=generator)]
            for step, batch in enumerate(order[: self.steps * config.batch].split(config.batch)):
                x = self.pictures.pixels[batch].float() / 255
                x = shift_and_flip(x, generator, shift=self.shift, flip=config.flip).to(device)
                done = self.number * self.steps + step
                for group in optimizer.param_groups:
                    group["lr"] = config.rate * _rate(done, total)
                optimizer.zero_grad()
                loss = training_loss(module, x, self.pictures.label[batch].to(device), margin=margin)
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizer.step()
                losses += loss.detach()
                if self.progress is not None:
                    self.progress(Progress("train", done + 1, total, 0, 0, passes=2 * config.batch * (done + 1)))
        mean = float(losses / self.steps)
        if not math.isfinite(mean):
            raise ModelError(
                f"the loss is not finite in epoch {self.number + 1}: training diverged; start again in another folder "
                f"with a rate below {config.rate:g}"
            )
        return mean


def _rate(step: int, steps: int) -> float:
    """Compute the factor of the learning rate: a linear rise, then half a cosine to 0."""
    rise = max(1, round(_RISE * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _hits(module: nn.Module, pictures: Pictures, rows: Tensor, batch: int, device: torch.device) -> int:
    """Count correct predictions."""
    hits = 0
    with torch.no_grad():
        for some in rows.split(batch):
            predicted = module((pictures.pixels[some].float() / 255).to(device)).argmax(1).cpu()
            hits += int((predicted == pictures.label[some]).sum())
    return hits
