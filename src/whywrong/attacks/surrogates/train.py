"""Train a surrogate on the answers of a black box, from a seed.

Source: distillation with a temperature, Hinton, Vinyals and Dean 2015, arXiv 1503.02531; the architectures, the
augmentation and the early stop on agreement are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whywrong.attacks.surrogates.answers import TrainingAnswers
from whywrong.attacks.surrogates.augment import augment
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.models.surrogates.nets import Ensemble, check_nets

FEWEST = 20  # answers, below which nothing can be trained or held out


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilConfig:
    """Settings of :func:`whywrong.attacks.surrogates.distil.distil`, validated on construction.

    Attributes:
        nets: Architectures of the ensemble, each of ``plain``, ``residual``, ``patches``; one may occur several times.
        epochs: Most passes over the training images.
        patience: Epochs without better agreement after which a network stops.
        batch: Images per step.
        rate: Highest learning rate of AdamW under the one-cycle schedule.
        decay: Weight decay.
        temperature: Divides scores and logits before they are compared; large values stress the order of all classes.
        held_out: Share of the answers that is not trained on, for the agreement.
        flip: Whether images may be mirrored left and right; False for text or digits.
        labels_only: Train on labels also if the black box grants scores.
        rounds: Rounds of Jacobian augmentation around the errors; each asks one more image per error.
        step: Change of each pixel in a round, [0, 1] units.
        seed: Seed of weights, order, augmentation and held-out images.

    Example:
        >>> from whywrong.attacks.surrogates.train import DistilConfig
        >>> DistilConfig(nets=("plain",)).temperature
        4.0
    """

    nets: tuple[str, ...] = ("plain", "residual", "patches")
    epochs: int = 40
    patience: int = 15
    batch: int = 64
    rate: float = 4e-3
    decay: float = 0.02
    temperature: float = 4.0
    held_out: float = 0.1
    flip: bool = True
    labels_only: bool = False
    rounds: int = 0
    step: float = 8 / 255
    seed: int = 0

    def __post_init__(self) -> None:
        check_nets(self.nets)
        for name in ("epochs", "patience", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.rounds <= 10:
            raise InputError(f"rounds must be in 0..10, got {self.rounds}")
        for name, low, high in (("rate", 0, 1), ("temperature", 0, 100), ("held_out", 0, 0.5), ("step", 0, 1)):
            if not low < getattr(self, name) <= high:
                raise InputError(f"{name} must be in ({low:g}, {high:g}], got {getattr(self, name)}")
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay must be in [0, 1], got {self.decay}")


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained ensemble and how well it agrees with the black box.

    Attributes:
        module: The ensemble, in evaluation mode.
        agreement: Share of the held-out answers that the ensemble gives as well.
        held_out: Number of held-out answers.
        epochs: Epochs after which each network was kept.
    """

    module: Ensemble
    agreement: float
    held_out: int
    epochs: tuple[int, ...]


def train(
    answers: TrainingAnswers,
    config: DistilConfig,
    *,
    begin: Ensemble | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trained:
    """Train each network of an ensemble on the same answers, and stop each when its agreement no longer rises.

    Args:
        answers: Of the black box, on the device where the training runs.
        config: Settings.
        begin: Ensemble to continue from, of the same architectures; it is left as it is. None begins at random.
        progress: Called after every epoch with the epochs that are done, those that a network left out included.

    Raises:
        InputError: There are fewer than 20 answers.
    """
    if len(answers) < FEWEST:
        raise InputError(f"a surrogate needs at least {FEWEST} answers of the black box, got {len(answers)}")
    channels, height, width = answers.x.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        module = Ensemble(config.nets, (channels, height, width), answers.classes)
    if begin is not None:
        module.load_state_dict(begin.state_dict())
    module.to(device=answers.x.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    order = keyed_uniform(row_keys(config.seed, len(answers)), ()).argsort().to(answers.x.device)
    apart = max(FEWEST // 4, round(config.held_out * len(answers)))
    held, rest = answers.at(order[:apart]), answers.at(order[apart:])
    tell = progress or (lambda _: None)
    epochs = []
    for index, member in enumerate(module.members):
        start = index * config.epochs
        epochs.append(
            _train_one(member, rest, held, config, config.seed + index, lambda done, start=start: tell(start + done))
        )
        tell(start + config.epochs)
    module.eval()
    agreement = float((_logits(module, held.x) == held.predicted).float().mean())
    return Trained(module, agreement, len(held), tuple(epochs))


def _train_one(
    net: nn.Module,
    rest: TrainingAnswers,
    held: TrainingAnswers,
    config: DistilConfig,
    seed: int,
    done: Callable[[int], None],
) -> int:
    """Train one network in place; return the epoch whose weights were kept."""
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(rest) // config.batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=steps * config.epochs)
    best, kept, chosen = (-1.0, float("-inf")), _state(net), 0
    for epoch in range(1, config.epochs + 1):
        net.train()
        for rows in torch.randperm(len(rest), generator=generator).chunk(steps):
            part = rest.at(rows.to(rest.x.device))
            x = 4 * augment(part.x, generator, flip=config.flip) - 2
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = _loss(net(x), part, config.temperature)
                loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        found = _score(net.eval(), held, config.temperature)
        done(epoch)
        if found > best:
            best, kept, chosen = found, _state(net), epoch
        elif epoch - chosen >= config.patience:
            break
    net.load_state_dict(kept)
    for parameter in net.parameters():
        parameter.grad = None
    return chosen


def _state(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def _loss(logits: Tensor, answers: TrainingAnswers, temperature: float) -> Tensor:
    """Compute the mean loss of logits (N, K) against the answers."""
    if answers.log_scores is None:
        return nn.functional.cross_entropy(logits, answers.predicted, label_smoothing=0.05)
    wanted = (answers.log_scores / temperature).log_softmax(1)
    found = (logits / temperature).log_softmax(1)
    return temperature**2 * nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


@torch.no_grad()
def _score(net: nn.Module, held: TrainingAnswers, temperature: float) -> tuple[float, float]:
    """Return the agreement on held-out answers and, to break ties, minus the loss."""
    logits = torch.cat([net(4 * part - 2) for part in held.x.split(256)])
    agreement = float((logits.argmax(1) == held.predicted).float().mean())
    return agreement, -float(_loss(logits, held, temperature))


@torch.no_grad()
def _logits(module: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([module(part) for part in x.split(256)]).argmax(1)
