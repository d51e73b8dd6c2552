"""Draw contact sheets of natural errors, from which a reader judges why each image is misclassified.

`list` finds the errors of a model and prints them as JSON; `draw` draws them, six a page, each with its photograph, the
model's crop, its key, label and prediction, and nothing that whywrong says about it. The readings in
benchmarks/natural_readings hold keys, verdicts and notes only, so this script brings the images back from the data.

    python benchmarks/natural_sheets.py list deit_tiny imagenet_ccby_a --data ../shared/data \\
        --unread ../shared/data/natural_errors_a/annotations.json > errors.json
    python benchmarks/natural_sheets.py list deit_tiny imagenet_one_per_class --data ../shared/data \\
        --right mobilenetv2 --limit 67 > more.json
    python benchmarks/natural_sheets.py draw errors.json more.json --data ../shared/data --out sheets
    python benchmarks/natural_sheets.py draw benchmarks/natural_readings/deit_tiny.json --out sheets
"""

from __future__ import annotations

import argparse
import hashlib
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from whywrong.api import load_classifier, open_data
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import load_images
from whywrong.data.geometry import Geometry
from whywrong.models.classifier import Classifier

ROWS, COLS = 2, 3
CELL, HEAD = 420, 76  # pixels
FOLDER = "imagenet_ccby_a"  # of records that name none


def main() -> None:
    """List errors, or draw the errors of lists."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="errors of a model as JSON")
    listing.add_argument("model", help="net of DATA/models.py")
    listing.add_argument("folder", help="images are in DATA/FOLDER/images")
    listing.add_argument("--unread", type=Path, help="readings; their images are left out")
    listing.add_argument("--right", help="leave out the errors of this net")
    listing.add_argument("--limit", type=int, help="most errors, drawn by a hash of their keys")
    drawing = commands.add_parser("draw", help="contact sheets of listed errors or of readings")
    drawing.add_argument("errors", type=Path, nargs="+", help="output of `list`, or readings")
    drawing.add_argument("--out", type=Path, required=True, help="folder of the pages, outside the repository")
    for each in (listing, drawing):
        each.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    if options.command == "list":
        print(json.dumps(listed(options), indent=1))
    else:
        records = [record for path in options.errors for record in json.loads(path.read_text())]
        draw(records, options.data, options.out)


def listed(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Find the errors of a model that nobody has read, in the order of a hash of their keys."""
    read = set()
    if options.unread:
        read = {(one.get("folder", FOLDER), one["key"]) for one in json.loads(options.unread.read_text())}
    net = load_classifier(f"{options.data / 'models.py'}:{options.model}", batch_size=64)
    other = load_classifier(f"{options.data / 'models.py'}:{options.right}", batch_size=64) if options.right else None
    assert net.classes is not None
    names = net.classes.names
    errors = []
    for key, x, y, logits in predicted(net, options.data / options.folder / "images"):
        label, answer = int(y), int(logits.argmax())
        if label == answer or (options.folder, key) in read:
            continue
        if other is not None and int(other.logits(x[None])[0].argmax()) != label:
            continue
        errors.append(
            {
                "folder": options.folder,
                "key": key,
                "model": options.model,
                "label": names[label],
                "predicted": names[answer],
                "rank_of_label": 1 + int((logits > logits[label]).sum()),
            }
        )
    errors.sort(key=lambda one: hashlib.sha256(one["key"].encode()).digest())
    return errors[: options.limit]


def predicted(net: Classifier, folder: Path) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Yield key, image (C, H, W), label and logits (K,) of each image."""
    with net, torch.no_grad():
        for batch in load_images(open_data(folder), spec=net.preprocess, classes=net.classes, batch_size=64):
            logits = net.logits(batch.x)
            for item, x, y, row in zip(batch.items, batch.x, batch.y, logits, strict=True):
                yield item.entry.key, x, y, row


def draw(records: list[dict[str, Any]], data: Path, out: Path) -> None:
    """Write the pages of all records to a folder, in their order."""
    out.mkdir(parents=True, exist_ok=True)
    specs: dict[str, InputSpec] = {}
    each = ROWS * COLS
    for start in range(0, len(records), each):
        page = Image.new("RGB", (COLS * CELL, ROWS * (CELL + HEAD)), "white")
        for place, record in enumerate(records[start : start + each]):
            model = record.get("model", "mobilenetv2")
            if model not in specs:
                spec = load_classifier(f"{data / 'models.py'}:{model}").preprocess
                assert spec is not None
                specs[model] = spec
            cell = draw_error(start + place + 1, record, data, specs[model])
            page.paste(cell, (place % COLS * CELL, place // COLS * (CELL + HEAD)))
        page.save(out / f"page_{start // each + 1:02d}.png")


def draw_error(number: int, record: dict[str, Any], data: Path, spec: InputSpec) -> Image.Image:
    """Draw the photograph of one error with the model's crop and two lines about it."""
    path = data / record.get("folder", FOLDER) / "images" / record["key"]
    with Image.open(path) as file:
        photo = ImageOps.exif_transpose(file).convert("RGB")
    geometry = Geometry.plan(photo.width, photo.height, spec)
    scale = (CELL - 10) / max(photo.size)
    shown = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    ImageDraw.Draw(shown).rectangle([side * scale for side in geometry.crop_box], outline="red", width=2)
    cell = Image.new("RGB", (CELL, CELL + HEAD), "white")
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(14)
    lines = (
        f"{number}. {record['key'].split('/')[-1]}",
        f"label: {record['label']}",
        f"predicted: {record['predicted']}",
    )
    for row, line in enumerate(lines):
        pen.text((5, 4 + 22 * row), textwrap.shorten(line, 62), fill="black", font=font)
    cell.paste(shown, (5, HEAD))
    return cell


if __name__ == "__main__":
    main()
