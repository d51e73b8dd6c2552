"""Write the JPEG images of the CIFAR-10 test set that are no copies of its lossless images.

    python benchmarks/jpeg_without_copies.py LOSSLESS.npz JPEG.npz OUT.npz

Tables of errors planted in both files then share no photograph, so that one trains what the other tests. A JPEG image
is a copy if its mean absolute difference to a lossless image of its label is below that of two different photographs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

FAR = 15.0  # of 255; the 509 copies are nearer than 13, all but a few different photographs farther than 16


def without_copies(lossless: Path, jpeg: Path, out: Path) -> dict[str, float]:
    """Write the images without copies and return counts and the distances that separate them."""
    with np.load(lossless) as a, np.load(jpeg) as b:
        known, known_labels = a["images"].reshape(len(a["labels"]), -1).astype(np.float32), a["labels"]
        images, labels = b["images"], b["labels"]
    flat = images.reshape(len(labels), -1).astype(np.float32)
    nearest = np.full(len(labels), np.inf)
    for label in np.unique(labels):
        rows, same = np.flatnonzero(labels == label), known[known_labels == label]
        nearest[rows] = [np.abs(same - flat[row]).mean(1).min() for row in rows]
    kept = nearest > FAR
    np.savez(out, images=images[kept], labels=labels[kept])
    return {
        "lossless": len(known),
        "jpeg": len(labels),
        "kept": int(kept.sum()),
        "farthest_copy": float(nearest[~kept].max()),
        "nearest_other": float(nearest[kept].min()),
    }


if __name__ == "__main__":
    print(json.dumps(without_copies(*map(Path, sys.argv[1:4])), indent=1))
