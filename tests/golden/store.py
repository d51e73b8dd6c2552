"""Store the numbers of all cases again, after a change of results that is meant.

python -m tests.golden.store
"""

from __future__ import annotations

import json

import torch
from tests.golden import choices as choices  # these cases join the list
from tests.golden import edges as edges
from tests.golden.values import CASES, STORED, summary


def main() -> None:
    """Compute every case on one thread, and write the file that the tests read."""
    torch.set_num_threads(1)
    stored = {name: summary(function()) for name, function in CASES.items()}
    STORED.write_text(json.dumps(stored, indent=0, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
