"""Options shared by several commands, for the model, the data and the run.

A command declares a group of options as one parameter (``model: ModelOptions``). :func:`spread` turns this parameter
into one option per field.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Option

from whywrong.core.errors import InputError

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions

MODEL, DATA, RUN = "The model", "The data", "The run"
# Written out, as importing the registry takes longer than printing the help; a test compares the two.
MODEL_HELP = (
    "planted:NAME, timm:NAME, torchvision:NAME, hf:FOLDER, FILE.py:FUNCTION, FILE.onnx, FILE.toml, FILE.pt2, "
    "surrogate:FILE, trained:DIR."
)

ProgressKind = Annotated[str, Option(metavar="KIND", help="How progress is shown: auto, bar, plain, json or none.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Options for loading and running the model; they override what the model states."""

    weights: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Safetensors or state-dict file; `pretrained` lets the library download its weights.",
            rich_help_panel=MODEL,
        ),
    ] = None
    weights_key: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Which weights to load from a file with several sets, such as state_dict_ema.",
            rich_help_panel=MODEL,
        ),
    ] = None
    device: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Where to compute: cpu, cuda, cuda:1 ...; default: the first GPU, else the CPU.",
            rich_help_panel=MODEL,
        ),
    ] = None
    precision: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="On a GPU: exact (default) computes in float32 as a CPU does; fast allows TF32.",
            rich_help_panel=MODEL,
        ),
    ] = None
    classes: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Class names in output order: .txt, .json or .csv; `sorted` takes the sorted labels of the data.",
            rich_help_panel=MODEL,
        ),
    ] = None
    input_size: Annotated[
        str | None,
        Option(
            metavar="SIZE",
            help="Input size of the model in pixels: 224, 224x192 (height x width) or 3x224x192.",
            rich_help_panel=MODEL,
        ),
    ] = None
    resize: Annotated[
        int | None,
        Option(
            min=0,
            metavar="PIXELS",
            help="Shorter side before the centre crop; 0 stretches the whole image.",
            rich_help_panel=MODEL,
        ),
    ] = None
    interpolation: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="How images are resized: nearest, bilinear, bicubic, lanczos, box or hamming.",
            rich_help_panel=MODEL,
        ),
    ] = None
    mean: Annotated[
        str | None,
        Option(
            metavar="R,G,B",
            help="Mean to subtract from values in [0, 1], such as 0.485,0.456,0.406; `none` disables it.",
            rich_help_panel=MODEL,
        ),
    ] = None
    std: Annotated[
        str | None,
        Option(metavar="R,G,B", help="Standard deviation to divide by, in the form of --mean.", rich_help_panel=MODEL),
    ] = None
    access: Annotated[
        str | None,
        Option(
            metavar="LEVEL",
            help="How much of the model to use: labels, top, scores, gradients or internals; default: all.",
            rich_help_panel=MODEL,
        ),
    ] = None
    output: Annotated[
        str | None,
        Option(
            metavar="PART",
            help="Output: logits (default), probabilities, binary, binary-probability, labels, key:NAME or item:N.",
            rich_help_panel=MODEL,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option(metavar="N", help="Images per pass; default: chosen automatically.", min=1, rich_help_panel=MODEL),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """Convert the options to arguments of ``load_classifier``.

        Raises:
            InputError: A number cannot be parsed.
        """
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "input_size": read_size(self.input_size),
            "mean": _numbers("mean", self.mean),
            "std": _numbers("std", self.std),
        }

    def of_others(self) -> dict[str, Any]:
        """Convert the options to arguments of ``load_classifier`` for further models.

        Only device, precision, batch size and ``pretrained`` are kept; the rest describes the first model.
        """
        weights = self.weights if self.weights == "pretrained" else None
        machine = {name: getattr(self, name) for name in ("device", "precision", "batch_size")}
        return {"weights": weights, **machine}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Options for reading an image and its label."""

    label_by: Annotated[
        str | None,
        Option(
            metavar="WAY",
            help="How labels name classes: index, wnid or name; default: the form that matches all labels.",
            rich_help_panel=DATA,
        ),
    ] = None
    exif: Annotated[
        str,
        Option(
            metavar="WHAT", help="Whether to ignore or apply orientation tags in image files.", rich_help_panel=DATA
        ),
    ] = "ignore"
    max_pixels: Annotated[
        int,
        Option(
            metavar="N",
            help="Maximum size of an image in pixels; larger images count as failed.",
            min=1,
            rich_help_panel=DATA,
        ),
    ] = 2**26

    def decode_options(self) -> DecodeOptions:
        """Convert the options to those of the image decoder."""
        from whywrong.data.decoding import DecodeOptions

        return DecodeOptions(exif=self.exif, max_pixels=self.max_pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions(ImageOptions):
    """Options for reading a data set."""

    manifest: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="CSV or Parquet table with path, label and optionally mask and x_min ... y_max.",
            rich_help_panel=DATA,
        ),
    ] = None
    boxes: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="CSV table with file, x_min, y_min, x_max, y_max in inclusive pixels.",
            rich_help_panel=DATA,
        ),
    ] = None
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow symbolic links that leave the folder.", rich_help_panel=DATA)
    ] = False
    split: Annotated[
        str | None, Option(metavar="NAME", help="Part of a Hugging Face data set (hf:NAME).", rich_help_panel=DATA)
    ] = None

    image_column: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Column of the manifest or Hugging Face data set that holds images or paths.",
            rich_help_panel=DATA,
        ),
    ] = None
    label_column: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Column with the labels, of the same; `none` for images without labels.",
            rich_help_panel=DATA,
        ),
    ] = None

    def source_keywords(self) -> dict[str, Any]:
        """Convert the options to arguments of ``open_source``."""
        names = ("manifest", "boxes", "label_by", "follow_links", "split", "image_column", "label_column")
        return {name: getattr(self, name) for name in names}


def spread(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace each dataclass among a command's parameters with one option per field."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    flat: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name not in groups:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
            continue
        group = groups[parameter.name]
        fields = get_type_hints(group, include_extras=True)
        flat += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=fields[field.name]
            )
            for field in dataclasses.fields(group)
        ]

    @functools.wraps(command)
    def flattened(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
        return command(**values)

    flattened.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    flattened.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return flattened


def given_flags(options: Any, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return the command-line arguments for the non-default options of a group.

    Args:
        options: ``ModelOptions``, ``DataOptions`` or ``ImageOptions``.
        without: Fields to leave out.
    """
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value == field.default or field.name in without:
            continue
        flag = f"--{field.name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    return words


def read_pairs(texts: list[str] | None, form: str = "SETTING=VALUE") -> dict[str, Any]:
    """Parse texts of the form ``setting=value`` to a dictionary.

    ``["small=2", "step_size=1/255"]`` becomes ``{"small": "2", "step_size": 0.0039...}``; the config converts the text.

    Raises:
        InputError: A text is not ``setting=value``, or a setting occurs twice.
    """
    pairs: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name):
            raise InputError(f'--set takes {form}, got "{text}"')
        if name in pairs:
            raise InputError(f"--set {name} is given twice")
        pairs[name] = None if value.lower() == "none" else _fraction(value)
    return pairs


def read_settings(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """Parse texts of the form ``method.setting=value`` to a dictionary per method.

    ``["inverted.overshoot=0.2"]`` becomes ``{"inverted": {"overshoot": "0.2"}}``.

    Raises:
        InputError: A text is not ``method.setting=value``, or a setting occurs twice.
    """
    form = "METHOD.SETTING=VALUE, as in inverted.overshoot=0.2"
    settings: dict[str, dict[str, Any]] = {}
    for name, value in read_pairs(texts, form).items():
        method, dot, key = name.partition(".")
        if not (dot and method and key):
            raise InputError(f'--set takes {form}, got "{name}"')
        settings.setdefault(method, {})[key] = value
    return settings


def choose(option: str, value: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return the value of an option if it is allowed.

    Raises:
        InputError: The value is not allowed; the message lists the allowed values.
    """
    if value not in allowed:
        raise InputError(f'{option} is one of {", ".join(allowed)}, got "{value}"')
    return value


def _fraction(text: str) -> str | float:
    """Parse ``8/255`` as a number, and return any other text unchanged."""
    top, slash, bottom = text.partition("/")
    try:
        return float(top) / float(bottom) if slash else text
    except (ValueError, ZeroDivisionError):
        return text


def read_size(text: str | None) -> tuple[int, ...] | None:
    """Parse an input size to (C, H, W), or None.

    Raises:
        InputError: The text is not a size.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if not (1 <= len(parts) <= 3 and all(part.strip().isdigit() for part in parts)):
        raise InputError(f'--input-size takes 224, 224x192 or 3x224x192, in pixels, got "{text}"')
    sizes = tuple(int(part) for part in parts)
    return (3, sizes[0], sizes[0]) if len(sizes) == 1 else (3, *sizes) if len(sizes) == 2 else sizes


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    if text.strip().lower() == "none":
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f'--{name} takes numbers with commas between, as in 0.5,0.5,0.5, or none; got "{text}"'
        ) from None
