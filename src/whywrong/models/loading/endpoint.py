"""Load a classifier behind an HTTP endpoint, described by a TOML file or an address."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from whywrong.core.class_names import read_class_names
from whywrong.core.errors import InputError
from whywrong.models.endpoints.model import EndpointModel
from whywrong.models.endpoints.settings import EndpointSettings, check_settings, read_settings
from whywrong.models.loading.loaded import Loaded, ModelRequest

OUTPUTS = {"probabilities": "probabilities", "logits": "logits", "labels": "labels", "top": "top"}


def load_endpoint(request: ModelRequest) -> Loaded:
    """Load the classifier behind an endpoint, without sending anything.

    Args:
        request: Its name is a TOML file with the fields of
            :class:`whywrong.models.endpoints.settings.EndpointSettings`, or an address, which is asked in the form
            ``plain`` for probabilities.

    Raises:
        InputError: A setting is invalid, the variable of a secret is not set, or weights were given.
        EnvironmentFailure: The ledger cannot be opened.
    """
    if request.weights is not None:
        raise InputError("an endpoint has its own weights; leave weights out")
    settings, name, ledger = _settings(request.name)
    if settings.form != "kserve" and (settings.mean or settings.std or request.given.get("mean")):
        raise InputError(f'{name}: mean and std are for form = "kserve"; this form sends image files')
    model = EndpointModel(settings, ledger)
    says: dict[str, Any] = {"resize": settings.resize, "mean": settings.mean, "std": settings.std}
    if settings.input_size is not None:
        says["input_size"] = tuple(settings.input_size)
    return Loaded(
        model=model,
        name=name,
        says=says,
        classes=None if settings.classes is None else read_class_names(settings.classes, f"classes of {name}"),
        ask="set input_size = [3, 224, 224] in the file, or give --input-size 224",
        sources=(json.dumps(settings.public(), sort_keys=True).encode(),),
        output=OUTPUTS[settings.answers],
        notes=_notes(settings, ledger),
    )


def _settings(name: str) -> tuple[EndpointSettings, str, Path]:
    if name.lower().endswith(".toml"):
        path = Path(os.path.abspath(name))
        if not path.is_file():
            raise InputError(f"no description of an endpoint at {path}")
        settings = read_settings(path)
        ledger = path.parent / settings.ledger if settings.ledger else path.with_suffix(".ledger.sqlite")
        return settings, str(path), ledger
    url = name if "://" in name else f"https:{name}"
    return check_settings({"url": url}, url), url, Path("endpoint.ledger.sqlite").absolute()


def _notes(settings: EndpointSettings, ledger: Path) -> tuple[str, ...]:
    notes = [f"every image sent to the endpoint is counted in {ledger}, which also keeps its answers"]
    if settings.answers == "top":
        notes.append(
            "the endpoint lists its best classes only; methods that need the scores of all classes are refused"
        )
    if settings.form != "kserve":
        notes.append(f"images are sent as {settings.image.upper()} with 8 bits a channel; answers are for these")
    return tuple(notes)
