"""What all networks with class capsules have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.decoder import Decoder
from whywrong.models.architectures.losses import margin_loss, reconstruction_loss, share_loss, spread_loss
from whywrong.models.architectures.routing import log_share


@dataclass(frozen=True, slots=True, kw_only=True)
class CapsuleAnswer:
    """What a capsule network computes for a batch.

    Attributes:
        lengths: (B, K), activation of each class.
        caps: (B, K, D), class capsules, squashed if the network squashes.
        sums: (B, K, D), class capsules before squashing.
        votes: (B, N, K, D); None if the network was not asked for them or makes none.
        coupling: (B, N, K), weights of the votes in ``sums``; None where ``votes`` is.
        primary: (B, N, d), primary capsules, position by position within a type; None if the network has none.
        attention: (B, types, positions, K), attention of ``gracapsnet``, which sums to 1 over the positions.
    """

    lengths: Tensor
    caps: Tensor
    sums: Tensor
    votes: Tensor | None = None
    coupling: Tensor | None = None
    primary: Tensor | None = None
    attention: Tensor | None = None


class CapsuleNet(nn.Module):
    """A network whose class scores are lengths of class capsules.

    Calling it returns logits (B, K): the logarithm of each length divided by their sum if lengths are below 1, whose
    softmax is this share; otherwise the lengths.

    Attributes:
        plan: Settings of the network.
        size: (h, w) of the positions of the last feature map.
        decoder: Reconstructs images; None if the network has no decoder.
    """

    size: tuple[int, int]

    def __init__(self, plan: Architecture) -> None:
        super().__init__()
        self.plan = plan
        self.decoder = Decoder(plan.classes, plan.dim, plan.shape) if plan.decoder else None

    def answer(self, x: Tensor, *, details: bool = False) -> CapsuleAnswer:
        """Compute class capsules of images (B, C, H, W) in [0, 1].

        Args:
            x: The images.
            details: Whether to return votes and coupling also if the network can do without them.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.answer(x).lengths)

    def logits(self, lengths: Tensor) -> Tensor:
        """Compute logits (B, K) from class lengths."""
        return log_share(lengths)

    def view(self, x: Tensor, *, routed: bool = True, scaled: bool = False) -> Tensor:
        """Compute logits (B, K) with another way to combine the votes.

        Args:
            x: (B, C, H, W) in [0, 1].
            routed: Whether votes are routed as in the network; otherwise all weigh the same.
            scaled: Whether the sum over votes is turned into a mean, which keeps squashed lengths from saturating.

        Raises:
            InputError: The network makes no votes for classes.
        """
        raise InputError(f"{self.plan.family} makes no votes for each class, so that they cannot be combined otherwise")

    def mean_votes(self, x: Tensor) -> Tensor:
        """Compute logits from the plain mean of all votes, without routing.

        Returns (B, K).

        Raises:
            InputError: The network makes no votes for classes.
        """
        return self.view(x, routed=False, scaled=True)

    def training_loss(self, x: Tensor, y: Tensor, *, margin: float = 0.9) -> Tensor:
        """Compute the loss of a batch.

        The loss of the reconstruction is added if there is a decoder.

        Args:
            x: (B, C, H, W) in [0, 1].
            y: (B,) int64.
            margin: Margin of the spread loss.
        """
        answer = self.answer(x)
        if self.plan.loss == "margin":
            loss = margin_loss(answer.lengths, y)
        elif self.plan.loss == "spread":
            loss = spread_loss(answer.lengths, y, margin)
        else:
            loss = self._likelihood_loss(answer.lengths, y)
        if self.decoder is not None:
            loss = loss + reconstruction_loss(self.decoder.reconstruct(answer.caps, y), x)
        return loss

    def _likelihood_loss(self, lengths: Tensor, y: Tensor) -> Tensor:
        return share_loss(lengths, y)

    def reconstruct(self, x: Tensor, classes: Tensor | None = None) -> Tensor:
        """Reconstruct images from the capsules of their classes.

        Returns (B, C, H, W). ``classes`` (B,) int64 are by default those predicted.

        Raises:
            InputError: The network has no decoder, or a class is out of range.
        """
        if self.decoder is None:
            raise InputError(f"this {self.plan.family} has no decoder: train it with decoder=true")
        answer = self.answer(x)
        return self.decoder.reconstruct(answer.caps, answer.lengths.argmax(1) if classes is None else classes)
