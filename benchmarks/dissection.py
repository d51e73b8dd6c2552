"""Compare the cost of counting in a dissection with its two forward sweeps.

    python benchmarks/dissection.py [IMAGES]

timm resnet18 with random weights, 512 units of layer4, 60 random masks, 224 px; CPU time of one thread.
"""

from __future__ import annotations

import sys
import time

import timm
import torch

from whywrong.explain.dissection.counting import active_maps, count_overlap
from whywrong.explain.dissection.thresholds import top_values

BATCH, UNITS_KEPT = 16, 5


def main(images: int) -> None:
    """Print CPU seconds per image and the ratio of the whole to its two sweeps."""
    torch.set_num_threads(1)
    net = timm.create_model("resnet18", num_classes=10).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 224, 224, generator=generator)
    masks = torch.rand(BATCH, 60, 56 * 56, generator=generator) < 0.05
    counted = torch.ones(BATCH, 56 * 56, dtype=torch.bool)
    forward = counting = 0.0
    rounds = max(1, images // BATCH)
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.process_time()
            maps = net.forward_features(x)
            forward += time.process_time() - start
            thresholds = maps.movedim(1, 0).flatten(1).quantile(0.995, dim=1)
            start = time.process_time()
            top_values(maps, UNITS_KEPT)
            count_overlap(active_maps(maps, thresholds, 56), masks, counted)
            counting += time.process_time() - start
    done = rounds * BATCH
    print(f"forward {forward / done:.4f} s, counting {counting / done:.4f} s an image")
    print(f"whole / two sweeps: {1 + counting / (2 * forward):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
