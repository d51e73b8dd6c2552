"""Result of promotion and suppression, one row per pair of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from whywrong.core.result import ColumnGroup, MethodResult, column, map_field, nested, result_class
from whywrong.core.status import Status
from whywrong.explain.suppression.measures import effect_strength, effect_types, promotion_ratio

CAMS = ("cam_ref_suppressed", "cam_ref_promoted", "cam_alt_suppressed", "cam_alt_promoted")


@result_class
class Shares(ColumnGroup):
    """Effects of one change and the types of its cells, (B,) float64 each."""

    total_suppression: Tensor = column("float64", "Score of the suppressed class that the whole change takes away.")
    total_promotion: Tensor = column("float64", "Score of the promoted class that the whole change adds.")
    strength: Tensor = column("float64", "Sum of the strengths of all cells.")
    suppression: Tensor = column("float64", "Share of the cells that are suppression-dominated.")
    promotion: Tensor = column("float64", "Share of the cells that are promotion-dominated.")
    balanced: Tensor = column("float64", "Share of the cells in which neither effect is twice the other.")
    neutral: Tensor = column("float64", "Share of the cells without an effect above `eps`.")


def _control() -> Mapping[str, str]:
    return {one.name: f"control_{one.name}" for one in Shares.declared()}


@result_class
class SuppressionResult(MethodResult):
    """Effects of the change between two images on two scores, cell by cell.

    ``ref`` is the image without the change and ``alt`` the one with it; for an error they are its fix and the error.
    Effects are in units of the scores, logits unless ``gauge`` is ``logprob``. ``reason`` may also hold a remark on a
    row that is ``ok``. ``psr``, ``types`` and ``strengths`` follow from ``s``, ``g`` and ``eps``.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> clean = torch.rand(2, 3, 64, 64)
        >>> noisy = (clean + 0.1 * torch.rand_like(clean)).clamp(0, 1)
        >>> found = ww.promotion_suppression(classifier, clean, noisy, torch.tensor([0, 1]), torch.tensor([2, 3]))
        >>> found.types.shape
        torch.Size([2, 8, 8])
    """

    status: Sequence[Status] = column(
        "string",
        "`ok`, `already_correct`, `no_answer` (no fix to compare with), `skipped`, `bad_input` or `refused`.",
    )
    reason: Sequence[str | None] = column("string", "Why a row is not ok, or a remark on it; null otherwise.")
    pair: str = column("string", "`fix`: the error and its fix; `given`: two images that were given.")
    mode: str = column("string", "How the change of a cell was measured: `remove`, `insert`, `path` or `shapley`.")
    gauge: str = column("string", "Scores that were compared: `raw`, `centred` or `logprob`.")
    cells: str = column("string", "`grid`, `superpixels` or `masks`.")
    suppressed: Tensor = column(
        "int64", "Class a whose score the change lowers, for an error its label; -1 if unknown."
    )
    promoted: Tensor = column("int64", "Class b whose score it raises, for an error its prediction; -1 if unknown.")
    flipped: Tensor = column("bool", "Whether `ref` is predicted as a and `alt` as b.")
    l2: Tensor = column("float32", "l2 norm of the change, [0, 1] units.")
    linf: Tensor = column("float32", "linf norm of the change, [0, 1] units.")
    count: Tensor = column("int64", "Number of cells; 0 without a result.")
    eps: Tensor = column("float64", "Effect below which a cell is neutral.")
    shares: Shares = nested(Shares)
    ratio: Tensor = column("float64", "log2 of the total promotion over the total suppression, both at least `eps`.")
    image_type: Sequence[str | None] = column(
        "string", "`suppression` (ratio below -1), `promotion` (above 1), `balanced` or `neutral`."
    )
    weighted_suppression: Tensor = column("float64", "Share of the strength that is in suppression-dominated cells.")
    weighted_promotion: Tensor = column("float64", "The same for promotion-dominated cells.")
    weighted_balanced: Tensor = column("float64", "The same for balanced cells.")
    counter_acting: Tensor = column("float64", "Share of the cells with an effect below -`eps`, against the change.")
    sum_suppression: Tensor = column("float64", "Sum of the suppression of all cells.")
    sum_promotion: Tensor = column("float64", "Sum of the promotion of all cells.")
    residual: Tensor = column(
        "float64",
        "What the sums miss of the totals, as a share of all absolute effects; NaN for `remove` and `insert`, whose "
        "sums differ from the totals where cells interact.",
        check=True,
    )
    gauge_shift: Tensor = column(
        "float64",
        "Largest difference of a share of a type under another gauge; NaN where it was not measured.",
        check=True,
    )
    eps_shift: Tensor = column("float64", "The same with a tenth of `eps` and ten times `eps`.", check=True)
    removed_quarter: Tensor = column(
        "float64",
        "1 if `alt` is still b without the change in the strongest quarter of the cells, or 0; a fix is extended.",
    )
    removed_random: Tensor = column("float64", "Share of five random quarters without which it is still b.", check=True)
    kept_quarter: Tensor = column("float64", "1 if `ref` is b with the change in the strongest quarter alone, or 0.")
    kept_random: Tensor = column("float64", "Share of five random quarters that alone make it b.", check=True)
    control: Shares | None = nested(Shares, names=_control())
    cam_kind: str | None = column("string", "Kind of the class activation maps; null without any.")
    cam_exact: bool = column("bool", "Whether differences of these maps add up to the changes of the logits.")
    s: Tensor = map_field("(B, rows, cols), suppression of each cell of a grid; of other cells, (B, H, W) by pixel.")
    g: Tensor = map_field("The same for promotion.")
    cam_ref_suppressed: Tensor = map_field("(B, h, w), logits, class activation map of a on `ref`.")
    cam_ref_promoted: Tensor = map_field("(B, h, w), logits, of b on `ref`.")
    cam_alt_suppressed: Tensor = map_field("(B, h, w), logits, of a on `alt`.")
    cam_alt_promoted: Tensor = map_field("(B, h, w), logits, of b on `alt`.")
    forwards: Tensor
    backwards: Tensor

    @property
    def psr(self) -> Tensor:
        """(B, ...) float64, promotion-suppression ratio of each cell, in bits."""
        return promotion_ratio(self.s.double(), self.g.double(), self._eps)

    @property
    def types(self) -> Tensor:
        """(B, ...) int8, 0 suppression, 1 promotion, 2 balanced, 3 neutral, -1 without a result."""
        return effect_types(self.s.double(), self.g.double(), self._eps)

    @property
    def strengths(self) -> Tensor:
        """(B, ...) float64, strength of each cell."""
        return effect_strength(self.s.double(), self.g.double(), self._eps)

    @property
    def location(self) -> tuple[Tensor, Tensor]:
        """Suppression and promotion (B, h, w) by place of the last spatial layer, from the class activation maps.

        They show where in feature space the scores changed, not which pixels did it; exact if ``cam_exact``.
        """
        return (
            self.cam_ref_suppressed - self.cam_alt_suppressed,
            self.cam_alt_promoted - self.cam_ref_promoted,
        )

    @property
    def class_maps(self) -> Tensor:
        """(B, 4, h, w), the class activation maps in the order of ``CAMS``."""
        return torch.stack([getattr(self, name) for name in CAMS], 1)

    @property
    def _eps(self) -> Tensor:
        return self.eps[:, None, None]
