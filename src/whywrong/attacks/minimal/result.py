"""Results of the minimal-norm attacks: one row per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.state import AttackResult
from whywrong.core.result import MethodResult, column, map_field, result_class
from whywrong.core.status import Status


@result_class
class SmallestChangeResult(AttackResult):
    """Result of :func:`whywrong.attacks.minimal.smallest_change`, see :class:`AttackResult`.

    An image for which no change was found is returned unchanged.
    """

    l0: Tensor = column("int64", "Pixels that change in any channel.")
    l1: Tensor = column("float32", "l1 norm of the change.")


@result_class
class SmallestFixResult(MethodResult):
    """Smallest fixes of a batch and their cost. Distances are in units of the [0, 1] pixel range.

    ``delta`` (B, C, H, W) is the change: ``x + delta`` is the fix; zero if there is none.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.smallest_fix(classifier, x[:1], y[:1]).delta.shape
        torch.Size([1, 3, 64, 64])
    """

    status: Sequence[Status] = column(
        "string",
        "`ok`: a fix is known; `no_answer`: none was found; `already_correct`, `skipped`, `bad_input` or `refused`.",
    )
    norm: str = column("string", "The norm that was minimised.")
    size: Tensor = column("float32", "Norm of the fix, in that norm; NaN without one, as in the next five columns.")
    l0: Tensor = column("float32", "Pixels that it changes in any channel.")
    l1: Tensor = column("float32", "l1 norm of the change.")
    l2: Tensor = column("float32", "l2 norm of the change.")
    linf: Tensor = column("float32", "linf norm of the change.")
    groups: Tensor = column("float32", "Sum over superpixels of its l2 norm; NaN for other norms than `groups`.")
    linear: Tensor = column(
        "float32",
        "First-order estimate of the size, inside the pixel range but for `groups`; infinite where no change in the "
        "range reaches the linearised boundary.",
    )
    margin_before: Tensor = column("float32", "Logits, best other class minus true class; positive is an error.")
    margin_after: Tensor = column("float32", "The same for the fix.", check=True)
    u8_fixed: Tensor = column("bool", "Whether the fix of whole grey levels is predicted as the true class.")
    u8_l0: Tensor = column("float32", "Pixels that it changes; NaN without one.")
    u8_l2: Tensor = column("float32", "l2 norm of its change; NaN without one.")
    u8_linf: Tensor = column("float32", "linf norm of its change; NaN without one.")
    unstable: Tensor = column(
        "bool", "Whether the fix was right when found and wrong when tested again among other images.", check=True
    )
    change: Tensor = map_field("(B, C, H, W), the change of each value, [0, 1] units; NaN if there is no fix.")
    change_u8: Tensor = map_field("(B, C, H, W), the same for the fix of whole grey levels, in grey levels.")
    reason: Sequence[str | None]
    forwards: Tensor
    backwards: Tensor

    @property
    def fixed(self) -> Tensor:
        """(B,), bool: rows with a fix."""
        return torch.tensor([word == Status.OK for word in self.status], dtype=torch.bool, device=self.change.device)

    @property
    def delta(self) -> Tensor:
        """(B, C, H, W): the change, zero where there is no fix."""
        return torch.nan_to_num(self.change, 0.0)
