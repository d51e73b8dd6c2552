"""What every method returns: batched tensors, plain data, with checks and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class MethodResult:
    """Base of the frozen result dataclasses; the runner and the report know results only through this.

    A subclass carries at least:
        forwards: (B,), int64, times each image went through the classifier.
        backwards: (B,), int64, times it was differentiated through it.
    """

    __slots__ = ()

    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """Scalars and nested lists of the table, one entry an image; names are the columns of the view."""
        raise NotImplementedError

    def maps(self) -> Mapping[str, Tensor]:
        """Dense maps to be stored, (B, ...); rows without a map hold NaN."""
        return {}

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """Residuals, intervals and controls, (B,) each: what the numbers were tested with."""
        return {}

    @property
    def cost(self) -> Mapping[str, Tensor]:
        """``forwards`` and ``backwards``, (B,) int64 each."""
        return {"forwards": self.forwards, "backwards": self.backwards}

    @staticmethod
    def schema() -> pa.Schema | None:
        """Types of the table, where they must hold although a column is empty; None reads them off the values."""
        return None

    def to_arrow(self) -> pa.Table:
        """The table of :meth:`columns` with the cost, one row an image."""
        import pyarrow as pa

        columns = {**self.columns(), **self.cost}
        return pa.table({name: _plain(values) for name, values in columns.items()}, schema=self.schema())

    def to_pandas(self) -> pd.DataFrame:
        """As :meth:`to_arrow`, for pandas."""
        return self.to_arrow().to_pandas()


def _plain(values: Tensor | Sequence[Any]) -> Any:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return list(values)
