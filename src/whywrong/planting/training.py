"""Train the shipped networks on drawn pictures, from seeds, in minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.planted import CUES, NAMES, Scene, ordinary_scene
from whywrong.models.architectures.base import CapsuleNet
from whywrong.models.loading.planted import build_planted
from whywrong.runs.training.augment import shift_and_flip

TRAIN_SEED = 11  # the test pictures use another seed, so that none is shared
_BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of the training of one network.

    Attributes:
        pictures: Number of training pictures.
        epochs: Passes over them.
        rate: Highest learning rate of AdamW under the one-cycle schedule (Smith and Topin 2018).
        decay: Weight decay.
        cue: Cue tied to a class in training, or None.
        cue_class: That class.
        cue_share: Share of its training pictures that carry the cue; no other picture does.
        eps: Radius of the random-start FGSM of adversarial training (Wong et al. 2020), [0, 1] units; 0 for none.
        begins_with: Network whose weights it starts from, or None.
        seed: Seed of weights, order and augmentation.
    """

    pictures: int = 14_000
    epochs: int = 7
    rate: float = 4e-3
    decay: float = 0.02
    cue: str | None = None
    cue_class: str = "fish"
    cue_share: float = 0.97
    eps: float = 0.0
    begins_with: str | None = None
    seed: int = 0


RECIPES: dict[str, Recipe] = {
    "cnn": Recipe(),
    "cnn-spurious": Recipe(cue="mark"),
    "vit": Recipe(epochs=14, rate=2e-3, decay=0.05),
    "cnn-robust": Recipe(epochs=8, rate=3e-3, eps=5 / 255, begins_with="cnn"),
    "capsnet": Recipe(epochs=16),
}


def training_scene(recipe: Recipe) -> Scene:
    """Draw the training scenes with classes in turn.

    Some have a second object, some are partly hidden, and those of ``cue_class`` carry the cue.
    """
    keys = row_keys(TRAIN_SEED, recipe.pictures)
    scene = ordinary_scene(keys)
    if recipe.cue is not None:
        marked = (scene.label == NAMES.index(recipe.cue_class)) & (keyed_uniform(keys, (), 203) < recipe.cue_share)
        scene = scene.but(cue=torch.where(marked, CUES.index(recipe.cue), -1))
    return scene


def train(
    name: str, recipe: Recipe, pixels: Tensor, label: Tensor, folder: Path, say: Callable[[str], None]
) -> nn.Module:
    """Train one network.

    Args:
        name: One of ``NETS``.
        recipe: Settings of the training.
        pixels: (N, 3, S, S), uint8.
        label: (N,), int64.
        folder: Folder with the weights of the network it starts from.
        say: Called with lines of progress.

    Returns:
        The network, in evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = build_planted(name, len(NAMES))
    if recipe.begins_with is not None:
        from safetensors.torch import load_file

        net.load_state_dict(load_file(folder / f"{recipe.begins_with}.safetensors"))
    layout = torch.contiguous_format if name == "vit" else torch.channels_last
    net.to(memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    steps = len(pixels) // _BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps * recipe.epochs)
    generator = torch.Generator().manual_seed(recipe.seed)
    start = time.perf_counter()
    for epoch in range(recipe.epochs):
        loss_sum = 0.0
        for rows in torch.randperm(len(pixels), generator=generator)[: steps * _BATCH].split(_BATCH):
            x = shift_and_flip(pixels[rows].float() / 255, generator, shift=4, flip=True)
            x = x.contiguous(memory_format=layout)
            y = label[rows]
            if recipe.eps:
                x = _adversarial(net, x, y, recipe.eps, generator)
            optimizer.zero_grad()
            if isinstance(net, CapsuleNet):
                loss = net.training_loss(x, y)
            else:
                loss = nn.functional.cross_entropy(net(x), y, label_smoothing=0.02)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
        seconds = time.perf_counter() - start
        say(f"{name}: epoch {epoch + 1}/{recipe.epochs}, loss {loss_sum / steps:.3f}, {seconds:.0f} s")
    return net.to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]


def _adversarial(net: nn.Module, x: Tensor, y: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Take one FGSM step of 1.25 eps from a random start, clipped to ball and box."""
    delta = (2 * torch.rand(x.shape, generator=generator) - 1) * eps
    delta = ((x + delta).clamp(0, 1) - x).requires_grad_()
    grad = torch.autograd.grad(nn.functional.cross_entropy(net(x + delta), y), delta)[0]
    return (x + (delta + 1.25 * eps * grad.sign()).clamp(-eps, eps)).clamp(0, 1).detach()
