"""Does the region fix point at what misled the model? A cue that it learnt by mistake, put on images of other classes.

The pictures are drawn; each is read right without the cue and as the cue's class with it, so the cue is the cause.
A region hits where it meets the cue; how often it lies mostly on the cue is told too. Beside it stand random regions:
superpixels of the same picture in random order, as many as come nearest to the area of the region fix.

    python benchmarks/planted_cue.py --errors 200
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.attacks.inverted.segments import superpixels
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import wilson
from whywrong.data.planted import CUES, NAMES, ordinary_scene, render
from whywrong.models.loading.zoo import load_classifier

SEED = 21  # of the pictures: neither those of training nor those of the shipped sets
DRAWS = 50


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="planted:cnn-spurious")
    parser.add_argument("--errors", type=int, default=200)
    options = parser.parse_args()
    net = load_classifier(options.model, batch_size=64)
    fish = NAMES.index("fish")
    xs, ys, cues = [], [], []
    for keys in row_keys(SEED, 20 * options.errors).split(240):
        scene = ordinary_scene(keys)
        plain = render(scene).images.float() / 255
        marked = render(scene.but(cue=CUES.index("mark") + torch.zeros_like(scene.label)))
        x = marked.images.float() / 255
        caused = (net.predict(plain) == scene.label) & (net.predict(x) == fish) & (scene.label != fish)
        xs.append(x[caused])
        ys.append(scene.label[caused])
        cues.append(marked.cue[caused])
        if sum(map(len, ys)) >= options.errors:
            break
    x, y, cue = (torch.cat(parts)[: options.errors] for parts in (xs, ys, cues))
    with net:
        result = invert(net, x, y, detail=torch.ones(len(y), dtype=torch.bool), config=InvertedConfig())
    region = result.maps()["region_mask"] > 0.5
    found = _on_cue(region, cue)
    segments = superpixels(x)
    chance = np.stack([_on_cue(_random_region(segments, region, draw), cue) for draw in range(DRAWS)])
    contribution = result.maps()["contribution"].abs()
    on_cue = (contribution * cue).flatten(1).sum(1) / contribution.flatten(1).sum(1)
    area = cue.float().flatten(1).mean(1)
    rate, random_rate = float((found > 0).mean()), float((chance > 0).mean())
    interval = wilson(int((found > 0).sum()), len(found))
    print(
        json.dumps(
            {
                "model": options.model,
                "errors": len(y),
                "fixed": int(result.fixed.sum()),
                "q_candidates": float(result.q_candidates.float().mean()),
                "region_hits": rate,
                "region_hits_wilson": [interval.low, interval.high],
                "random_hits": random_rate,
                "ratio": rate / max(random_rate, 1e-9),
                "mostly_on_cue": float((found >= 0.5).mean()),
                "random_mostly_on_cue": float((chance >= 0.5).mean()),
                "region_area": float(region.float().mean()),
                "cue_area": float(area.mean()),
                "cue_lift_of_contribution": float((on_cue / area).median()),
                "lift_outside_the_cue": float(((1 - on_cue) / (1 - area)).median()),
            },
            indent=1,
        )
    )


def _on_cue(region: torch.Tensor, cue: torch.Tensor) -> np.ndarray:
    """(B,): share of the region's area that lies on the cue."""
    return ((region & cue).flatten(1).sum(1) / region.flatten(1).sum(1).clamp_min(1)).numpy()


def _random_region(segments: torch.Tensor, region: torch.Tensor, draw: int) -> torch.Tensor:
    """(B, H, W) bool: superpixels in random order, as many as come nearest to the region's area."""
    count = int(segments.max()) + 1
    order = keyed_uniform(row_keys(SEED + 1, len(region)), (count,), draw).argsort(1)
    one_hot = torch.nn.functional.one_hot(segments.flatten(1), count).float()  # (B, H * W, S)
    area = one_hot.sum(1).gather(1, order).cumsum(1)  # (B, S)
    wanted = region.flatten(1).sum(1, keepdim=True)
    taken = ((area - wanted).abs().argmin(1, keepdim=True) >= torch.arange(count)).float()
    chosen = torch.zeros_like(taken).scatter_(1, order, taken)  # (B, S)
    return ((one_hot @ chosen[:, :, None])[:, :, 0] > 0.5).view_as(region)


if __name__ == "__main__":
    main()
