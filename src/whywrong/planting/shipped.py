"""Make what ships with the package: the nets with their model cards, and the set ``planted:causes``.

    python -m whywrong.planting.shipped [NAME ...] [--cards] [--causes] [--sheets DIR]

Everything follows from seeds. Without arguments all of it is made; ``--cards`` measures the existing nets without
training them again, ``--causes`` plants the mistakes again, ``--sheets`` also draws contact sheets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.core.randomness import row_keys
from whywrong.data.planted import CUES, NAMES, PictureSet, Scene, open_set, ordinary_scene, render
from whywrong.data.planted.sets import CAUSES, plain_set
from whywrong.data.sources.base import SourceSpec
from whywrong.data.sources.planted import PlantedSource
from whywrong.models.classifier import Classifier
from whywrong.models.loading.planted import FOLDER, NETS
from whywrong.models.loading.zoo import load_classifier
from whywrong.planting.mistakes import Planted
from whywrong.planting.perturbations import PlantConfig
from whywrong.planting.plant import plant
from whywrong.planting.sheets import cause_sheet, class_sheet
from whywrong.planting.training import RECIPES, train, training_scene
from whywrong.runs.labelled import LabelledSource

CAUSES_SEED = 13
EPS = 4 / 255
_ATTACKED = 480  # test pictures, equally many of each class
_SPURIOUS = "cnn-spurious"
_ORDINARY = 160  # pictures without a planted cause in ``planted:causes``


def draw(scene: Scene) -> Tensor:
    """Draw pictures (N, 3, 64, 64) uint8."""
    rows = torch.arange(len(scene)).split(480)
    return torch.cat([render(scene[some]).images for some in rows])


def write_net(name: str) -> None:
    """Train a network and write its weights."""
    from safetensors.torch import save_file

    recipe = RECIPES[name]
    scene = training_scene(recipe)
    _say(f"{name}: drawing {len(scene):,} pictures")
    net = train(name, recipe, draw(scene), scene.label, FOLDER, _say)
    FOLDER.mkdir(exist_ok=True)
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    save_file(state, FOLDER / f"{name}.safetensors", metadata={"classes": json.dumps(NAMES)})


def write_card(name: str) -> None:
    """Measure a network on ``planted:test`` and write its model card."""
    classifier = load_classifier(f"planted:{name}", batch_size=128)
    scene = open_set("test").scene
    x, y = draw(scene).float() / 255, scene.label
    right = classifier.predict(x) == y
    some = slice(0, _ATTACKED)
    attacked = pgd(classifier, x[some], y[some], config=PGDConfig(eps=EPS, steps=20))
    card = {
        "name": f"planted:{name}",
        "parameters": sum(weight.numel() for weight in classifier.module.parameters()) if classifier.module else 0,
        "recipe": asdict(RECIPES[name]),
        "test_pictures": len(y),
        "accuracy": _share(right),
        "accuracy_by_class": {known: _share(right[y == index]) for index, known in enumerate(NAMES)},
        "robust_accuracy": {"attack": "PGD, 20 steps, linf", "eps": "4/255", "value": _share(~attacked.success)},
        "cues": _cues(classifier, scene),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    _say(f"{name}: accuracy {card['accuracy']}, at 4/255 {card['robust_accuracy']['value']}, cues {card['cues']}")


def _cues(classifier: Classifier, scene: Scene) -> dict[str, Any]:
    """Measure the effect of each cue.

    It is the share of pictures of other classes that are predicted, with the cue, as the class to which training tied
    one, and the accuracy of that class with and without the cue.
    """
    found = {}
    tied = NAMES.index(RECIPES[_SPURIOUS].cue_class)
    own = scene.label == tied
    without = classifier.predict(draw(scene[own.nonzero().flatten()]).float() / 255)
    for index, cue in enumerate(CUES):
        with_cue = classifier.predict(draw(scene.but(cue=torch.full_like(scene.label, index))).float() / 255)
        found[cue] = {
            "class": NAMES[tied],
            "others_read_as_it": _share(with_cue[~own] == tied),
            "accuracy_of_it_with_cue": _share(with_cue[own] == tied),
            "accuracy_of_it_without": _share(without == tied),
        }
    return found


def write_causes() -> list[Planted]:
    """Plant mistakes of ``planted:cnn-spurious`` and write ``planted:causes``.

    Returns:
        The mistakes, which the set mixes with ordinary pictures.
    """
    pictures = plain_set(ordinary_scene(row_keys(CAUSES_SEED, 1_800)))
    source = PlantedSource(SourceSpec(kind="planted", path="causes"), pictures)
    classifier = load_classifier(f"planted:{_SPURIOUS}", batch_size=128)
    data = LabelledSource(source)
    settled = data.settle(classifier)
    found: list[Planted] = []
    for config in (
        PlantConfig(causes=("label", "corruption", "adversarial", "occluded", "confusion", "shift"), per_cause=20),
        PlantConfig(kinds=("mark",), per_cause=40),
    ):
        found += plant(classifier, data, settled, config=config)
    used = {key for planted in found for key in planted.keys}
    free = [int(entry.key[-4:]) for entry in source.entries() if entry.key not in used]
    causes = _joined([_as_set(planted) for planted in found] + [_rows(pictures, free[:_ORDINARY])])
    causes.save(CAUSES)
    _say(f"planted:causes: {len(causes)} pictures, {sum(map(bool, causes.cause))} planted mistakes")
    return found


def _as_set(planted: Planted) -> PictureSet:
    """Convert mistakes to scenes and corruptions, with any remaining change stored as pixels."""
    assert planted.scene is not None
    n = len(planted.true)
    corruption = (planted.kind if planted.cause == "corruption" else "",) * n
    words = tuple(planted.words(row) for row in range(n))
    nothing, absent = torch.zeros(0, *planted.image.shape[1:], dtype=torch.int16), torch.full_like(planted.true, -1)
    plain = PictureSet(planted.scene, planted.label, words, corruption, planted.corruption_severity, absent, nothing)
    change = planted.image.short() - plain.draw(torch.arange(n)).images.short()
    some = change.flatten(1).any(1)
    number = torch.where(some, some.long().cumsum(0) - 1, -1)
    return PictureSet(
        planted.scene, planted.label, words, corruption, planted.corruption_severity, number, change[some]
    )


def _rows(pictures: PictureSet, rows: list[int]) -> PictureSet:
    return plain_set(pictures.scene[torch.tensor(rows)])


def _joined(sets: Iterable[PictureSet]) -> PictureSet:
    sets = list(sets)
    scene = Scene(*(torch.cat([getattr(one.scene, entry.name) for one in sets]) for entry in fields(Scene)))
    numbers, start = [], 0
    for one in sets:
        numbers.append(torch.where(one.change >= 0, one.change + start, -1))
        start += len(one.changes)
    label, severity, changes = (
        torch.cat([getattr(one, name) for one in sets]) for name in ("label", "severity", "changes")
    )
    cause, corruption = (tuple(word for one in sets for word in getattr(one, name)) for name in ("cause", "corruption"))
    return PictureSet(scene, label, cause, corruption, severity, torch.cat(numbers), changes)


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 4)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *NETS], help="nets to train; default all")
    parser.add_argument("--cards", action="store_true", help="only measure the nets that are there")
    parser.add_argument("--causes", action="store_true", help="only plant the mistakes again")
    parser.add_argument("--sheets", type=Path, metavar="DIR", help="draw contact sheets with the mistakes planted")
    options = parser.parse_args()
    names = options.names or list(NETS)
    if not (options.cards or options.causes):
        for name in names:
            write_net(name)
    if not options.causes:
        for name in names:
            write_card(name)
    if options.causes or not (options.names or options.cards):
        found = write_causes()
        if options.sheets is not None:
            class_sheet().save(options.sheets / "planted_classes.jpg", quality=88)
            cause_sheet(found).save(options.sheets / "planted_causes.jpg", quality=88)


if __name__ == "__main__":
    main()
