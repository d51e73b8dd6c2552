"""Image games, the scores of a classifier for images of which only some cells or tokens are present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.checks import bad_rows, check_classes, check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.margins import best_other
from whywrong.explain.masking.games import Game
from whywrong.explain.masking.pixels import BASELINES, Baseline, PixelCells, default_grid
from whywrong.explain.masking.precision import check_precision, in_float32, reduced_precision
from whywrong.explain.masking.tokens import CannotDropTokens, PatchTokens, why_not
from whywrong.explain.masking.values import LOG_ODDS, ValueFunction, check_value_functions, class_values
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayersConfig:
    """Settings of the players of an image, checked once, when built.

    Attributes:
        kind: ``tokens``, patch tokens that are dropped; ``pixels``, cells hidden by a baseline; ``auto``, tokens if the
            model can drop them, otherwise pixels, with the reason in ``ImageGame.fallback``.
        grid: g for g x g players; None uses every patch token, or the largest grid up to 16 x 16 that divides the
            image. With ``auto``, a grid that does not consist of whole tokens uses pixels.
        baseline: Replacement for hidden cells of pixels: ``image_mean``, ``data_mean``, ``blur`` or ``inpainted``.
        blur_sigma: Standard deviation of ``blur``, in pixels; None uses the side of a cell.
    """

    kind: Literal["auto", "tokens", "pixels"] = "auto"
    grid: int | None = None
    baseline: Baseline = "image_mean"
    blur_sigma: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("auto", "tokens", "pixels"):
            raise InputError(f'players.kind must be "auto", "tokens" or "pixels", got {self.kind!r}')
        if self.grid is not None and (isinstance(self.grid, bool) or not isinstance(self.grid, int) or self.grid < 2):
            raise InputError(f"players.grid must be at least 2 cells a side, got {self.grid!r}")
        if self.baseline not in BASELINES:
            raise InputError(f"players.baseline must be one of {', '.join(BASELINES)}, got {self.baseline!r}")
        if self.blur_sigma is not None and not 0 < self.blur_sigma < float("inf"):
            raise InputError(f"players.blur_sigma must be a positive number of pixels, got {self.blur_sigma}")


_UNITS = 256


class ImageGame(Game):
    """Values of sets of present players of images, all value functions from the same passes.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), K >= 2.
        x: (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64.
        target: Class t to compare with, (B,) int64; None uses the predicted class if the image is misclassified,
            otherwise the runner-up. Pass the same for an image and its source.
        functions: Value functions.
        config: Settings of the players; None uses the defaults.

    Attributes:
        kind: ``tokens`` or ``pixels``.
        fallback: Why pixels are used instead of tokens; None otherwise.
        baseline: Replacement for hidden cells of pixels; None for tokens.
        rows, cols: Grid of players, numbered by rows.
        target: (B,) int64, the class t.
        full: (B, K) float32, logits of the whole images.
        forwards: (B,) int64, passes so far, the one for ``full`` included.

    Raises:
        InputError: A shape, class, grid or pixel breaks the contract above; bad pixels name their row.
        CannotDropTokens: ``kind`` is ``tokens`` and the model cannot drop tokens.
        ModelError: Weights in half precision fail their test, see :mod:`whywrong.explain.masking.precision`.
    """

    setup = 1

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        functions: Sequence[ValueFunction] = LOG_ODDS,
        config: PlayersConfig | None = None,
    ) -> None:
        config = config or PlayersConfig()
        check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
        check_value_functions(functions)
        check_labels(y, len(x))
        if len(x) == 0:
            raise InputError("a game needs at least one image, got none")
        bad = bad_rows(x).nonzero().flatten()
        if len(bad):
            raise InputError(f"pixels of image {int(bad[0])} are not finite or outside [0, 1]")
        classifier.require(Access.SCORES, "a value function")
        self.fallback, self._shown = _players(classifier, x, config)
        self.full = self._shown.full.cpu()
        check_classes(self.full.shape[1])
        y = y.cpu()
        check_labels(y, len(x), self.full.shape[1])
        if target is None:
            predicted = self.full.argmax(1)
            target = torch.where(predicted == y, best_other(self.full, y), predicted)
        check_labels(target, len(x), self.full.shape[1], what="target class")
        self.kind = self._shown.kind
        self.baseline = config.baseline if self.kind == "pixels" else None
        self.rows, self.cols = self._shown.rows, self._shown.cols
        self.target = target.cpu()
        self._y = y
        self._functions = tuple(functions)
        super().__init__(len(x), self._shown.players, [function.name for function in functions])
        dtype = reduced_precision(classifier.module)
        if dtype is not None:
            self._probe(classifier, x[:1], dtype, config)

    def _probe(self, classifier: Classifier, x: Tensor, dtype: torch.dtype, config: PlayersConfig) -> None:
        """Refuse half precision that rounds interactions away; not counted as queries."""
        before = classifier.forwards, self.forwards.clone()
        twin = ImageGame(
            in_float32(classifier), x, self._y[:1], target=self.target[:1], functions=self._functions, config=config
        )
        check_precision(self, twin, dtype)
        classifier.forwards, self.forwards = before

    def near_baseline(self, tolerance: float = 4 / 255) -> Tensor | None:
        """Return the share (B,) of cells that look the same when hidden.

        See :meth:`PixelCells.near_baseline`. None for tokens.
        """
        return self._shown.near_baseline(tolerance) if isinstance(self._shown, PixelCells) else None

    def rounding(self) -> Tensor:
        """Return 256 units in the last place of the largest logit.

        Float32 sums stay within it, see :meth:`Game.rounding`.
        """
        return _UNITS * torch.finfo(torch.float32).eps * self.full.double().abs().amax(1)

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate sets with one pass each, see :meth:`Game.evaluate`."""
        return self.of_logits(self.logits(masks, rows), rows)

    def logits(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Classify sets ``masks`` (Q, n) of images ``rows`` (Q,), without counting.

        Returns (Q, K) float32 on the CPU.
        """
        return self._shown.logits(masks, rows).cpu()

    def of_logits(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Compute the values (Q, V) float64 of scores (Q, K) of images ``rows`` (Q,)."""
        return class_values(logits, self._y[rows], self.target[rows], self._functions)


def _players(classifier: Classifier, x: Tensor, config: PlayersConfig) -> tuple[str | None, PatchTokens | PixelCells]:
    fallback = None
    if config.kind != "pixels":
        try:
            return None, PatchTokens(classifier, x, config.grid)
        except (CannotDropTokens, InputError) as error:
            if config.kind == "tokens":
                raise
            fallback = why_not(error)
    grid = config.grid or default_grid(*x.shape[2:])
    return fallback, PixelCells(classifier, x, grid, config.baseline, config.blur_sigma)
