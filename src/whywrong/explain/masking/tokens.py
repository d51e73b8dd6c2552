"""Players that are patch tokens of a vision transformer; absent ones never enter the blocks.

Tokens are taken after the position embedding; class, distillation and register tokens always stay. Nothing artificial
is inserted into the image, and the cost decreases with the number of tokens.

Source: Sumiyasu et al. 2024 (MoXI), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import InputError, ModelError, WhyWrongError
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.masking.encoders import EncoderTokens, NoEncoder
from whywrong.models.classifier import Classifier
from whywrong.models.layers.capture import SpatialLayer
from whywrong.models.layers.grids import Layout
from whywrong.models.layers.spatial import read_layer

_ROUNDING = 1e-4  # of the largest logit; the same sums, possibly in another order


class CannotDropTokens(ModelError):
    """Raised if a classifier has no patch tokens that can be dropped; the message says why."""


class PatchTokens:
    """Images reduced to some of their patch tokens.

    If the scores depend on the mean over patch tokens and no patch is left, one zero token replaces them.

    Args:
        classifier: Wraps a transformer of timm's ``VisionTransformer`` design, or one encoder of PyTorch or
            torchvision, see :mod:`whywrong.explain.masking.encoders`.
        x: (B, C, H, W) in [0, 1]; embedded once per image, by one plain pass.
        grid: g, players of whole blocks of tokens; None makes every patch token a player.

    Attributes:
        rows, cols: Grid of players.
        full: (B, K), logits of the plain pass, all tokens present.

    Raises:
        CannotDropTokens: The model is of another kind; the message says why.
        InputError: The grid does not divide the grid of tokens.
    """

    kind = "tokens"

    def __init__(self, classifier: Classifier, x: Tensor, grid: int | None = None) -> None:
        source = token_source(classifier, (x.shape[1], x.shape[2], x.shape[3]))
        down, across = source.grid
        if grid is not None and (grid < 2 or down % grid or across % grid):
            raise InputError(f"players of whole tokens need a grid that divides {down} x {across}, got {grid}")
        self.rows, self.cols = (grid, grid) if grid else (down, across)
        places = torch.arange(down * across)
        row, col = places // across * self.rows // down, places % across * self.cols // across
        self._owner = row * self.cols + col  # (tokens,) player of each token
        self._prefix, self._needs_patch = source.prefix, source.needs_patch
        self._classifier = classifier
        self._rest = Classifier(source.rest, output=classifier.output, batch_size=classifier.batch_size, pixels=False)
        self.full, self._tokens = source.embed(classifier, x)

    @property
    def players(self) -> int:
        """Number n of players."""
        return self.rows * self.cols

    def logits(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Classify sets of tokens, (Q, K) float32.

        Sets with the same number of tokens share batches.
        """
        if len(masks) == 0:
            return self.full[:0]
        kept = masks[:, self._owner]  # (Q, tokens)
        number = kept.sum(1)
        order = number.argsort(stable=True)
        found: list[Tensor] = []
        with self._classifier:
            for count, chosen in zip(
                number[order].unique_consecutive().tolist(),
                order.split(number[order].unique_consecutive(return_counts=True)[1].tolist()),
                strict=True,
            ):
                for part in chosen.split(self._rest.batch_size):
                    found.append(self._ask(self._gather(kept[part], rows[part], count)))
        answers = torch.cat(found)
        return torch.empty_like(answers).index_copy_(0, order.to(answers.device), answers)

    def _gather(self, kept: Tensor, rows: Tensor, count: int) -> Tensor:
        """Collect prefix and kept patch tokens in order, as an image of one channel.

        Returns (q, 1, T, D).
        """
        place = kept.nonzero()[:, 1].view(len(kept), count) + self._prefix
        place = torch.cat([torch.arange(self._prefix).expand(len(kept), -1), place], 1).to(self._tokens.device)
        tokens = self._tokens[rows.to(self._tokens.device)[:, None], place]  # (q, T, D)
        if count == 0 and self._needs_patch:
            tokens = torch.cat([tokens, tokens.new_zeros(len(kept), 1, self._tokens.shape[2])], 1)
        return tokens[:, None]

    def _ask(self, tokens: Tensor) -> Tensor:
        """Run the rest of the model, counting passes of the classifier."""
        before = self._rest.forwards
        self._rest.on_pass = self._classifier.on_pass
        answer = self._rest.logits(tokens)
        self._classifier.forwards += self._rest.forwards - before
        return answer


class TimmTokens:
    """Tokens after the embedding of timm's ``VisionTransformer``; attributes as for ``EncoderTokens``.

    Raises:
        CannotDropTokens: The model is of another kind, or has more than blocks and head after its tokens.
    """

    def __init__(self, classifier: Classifier, x: Tensor) -> None:
        name, vit = find_transformer(classifier)
        self._layer = _after_embedding(name, vit, x)
        self.grid, self.prefix = self._layer.grid, self._layer.prefix_tokens
        self.rest = _Rest(vit)
        self.needs_patch = self.prefix == 0 or getattr(vit, "global_pool", "token") != "token"
        self._probe(classifier, x)

    def embed(self, classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) of plain passes and the tokens (B, T, D) before the blocks."""
        with classifier:
            parts = read_layer(classifier, x, self._layer, lambda logits, tokens, rows: (logits, tokens.detach()))
        logits, tokens = (torch.cat(part) for part in zip(*parts, strict=True))
        return logits, tokens

    def _probe(self, classifier: Classifier, x: Tensor) -> None:
        """Check that all tokens give the plain forward pass of one image.

        The pass is not counted as a query.
        """
        before = classifier.forwards
        try:
            plain, tokens = self.embed(classifier, x)
            answer = (
                Classifier(self.rest, output=classifier.output, pixels=False).logits(tokens[:, None]).to(plain.device)
            )
        except ModelError as error:
            raise CannotDropTokens(f"its tokens do not run through timm's blocks and head alone: {error}") from error
        finally:
            classifier.forwards = before
        gap = float((answer - plain).abs().max()) if answer.shape == plain.shape else float("inf")
        rounding = max(_ROUNDING, 16 * torch.finfo(tokens.dtype).eps)
        if not gap <= rounding * max(float(plain.abs().max()), 1.0):
            raise CannotDropTokens(
                f"with all tokens kept the scores differ from those of the plain forward pass by {gap:.2g}: "
                "the model does more than a transformer's blocks and head after its tokens"
            )


_FOUND: WeakKeyDictionary[Classifier, dict[tuple[int, int, int], TimmTokens | EncoderTokens | str]] = (
    WeakKeyDictionary()
)


def token_source(classifier: Classifier, size: tuple[int, int, int]) -> TimmTokens | EncoderTokens:
    """Find where the patch tokens of a classifier come from.

    This is tested once on a synthetic image, which is not counted.

    Args:
        classifier: Tested once for every size.
        size: (C, H, W) of its images.

    Raises:
        CannotDropTokens: It has none that can be dropped; the message says why.
    """
    known = _FOUND.setdefault(classifier, {})
    if size not in known:
        try:
            known[size] = _look(classifier, keyed_uniform(torch.zeros(1, dtype=torch.int64), size))
        except CannotDropTokens as error:
            known[size] = str(error)
    found = known[size]
    if isinstance(found, str):
        raise CannotDropTokens(found)
    return found


def _look(classifier: Classifier, x: Tensor) -> TimmTokens | EncoderTokens:
    try:
        return TimmTokens(classifier, x)
    except CannotDropTokens as error:
        try:
            return EncoderTokens(classifier, x)
        except NoEncoder:
            raise error from None  # of the better known design


def find_transformer(classifier: Classifier) -> tuple[str, nn.Module]:
    """Find the one transformer in a classifier whose patch tokens can be dropped.

    Returns its name and module.

    Raises:
        CannotDropTokens: There is none; the message says why.
    """
    from timm.layers.patch_embed import PatchEmbed
    from timm.models.vision_transformer import VisionTransformer

    if classifier.access < Access.INTERNALS or classifier.module is None:
        raise CannotDropTokens("the classifier grants no access to its layers")
    found = [(name, part) for name, part in classifier.module.named_modules() if isinstance(part, VisionTransformer)]
    if len(found) != 1:
        title = type(classifier.module).__name__
        raise CannotDropTokens(f"{title} holds {len(found) or 'no'} transformers of timm's VisionTransformer design")
    name, vit = found[0]
    title = type(vit).__name__
    if type(vit).forward_features is not VisionTransformer.forward_features:
        raise CannotDropTokens(f"{title} runs its tokens in a way of its own (windows, rotations or several stages)")
    embed = vit.patch_embed
    projection = getattr(embed, "proj", None)
    if (
        not isinstance(embed, PatchEmbed)
        or not isinstance(projection, nn.Conv2d)
        or projection.kernel_size != projection.stride
    ):
        raise CannotDropTokens(f"{title} has a hybrid stem: its tokens see beyond their own patch")
    return name, vit


def _after_embedding(name: str, vit: nn.Module, x: Tensor) -> SpatialLayer:
    """Return the tokens with their positions, before the first block.

    They are what ``patch_drop`` returns.
    """
    patch: tuple[int, int] = vit.patch_embed.patch_size  # type: ignore[assignment]
    rows, cols = -(-x.shape[2] // patch[0]), -(-x.shape[3] // patch[1])
    prefix = int(vit.num_prefix_tokens)  # type: ignore[arg-type]
    width = int(vit.embed_dim)  # type: ignore[arg-type]
    return SpatialLayer(
        name=f"{name}.patch_drop" if name else "patch_drop",
        kind="tokens",
        layout=Layout(rows, cols, prefix, -1, True),
        shape=(prefix + rows * cols, width),
        op=None,
        occurrence=0,
        constant=torch.zeros(0),
    )


class _Rest(nn.Module):
    """What follows the embedding, from tokens (B, 1, T, D) to scores: any number of tokens goes."""

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, tokens: Tensor) -> Tensor:
        x = tokens[:, 0]
        for step in ("norm_pre", "blocks", "norm"):
            x = getattr(self.vit, step)(x)
        head: Callable[[Tensor], Tensor] = self.vit.forward_head  # type: ignore[assignment]
        return head(x)


def why_not(error: WhyWrongError) -> str:
    """Describe the reason of a fallback for results and reports."""
    return f"patch tokens cannot be left out ({error}); cells of pixels take their place"
