"""Settings of an HTTP endpoint, read from a TOML file.

Secrets are never part of a file: a header that carries one names an environment variable.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from whywrong.core.errors import InputError

LARGEST_FILE = 1 << 20  # bytes
_SECRET = re.compile(r"auth|key|token|secret|cookie|password|sig", re.IGNORECASE)
_FROM_ENVIRONMENT = re.compile(r"((?:Bearer|Basic|Token|Key) )?env:([A-Za-z_][A-Za-z0-9_]*)")

Form = Literal["plain", "torchserve", "kserve", "hugging-face"]
Answers = Literal["probabilities", "logits", "labels", "top"]


class EndpointSettings(BaseModel):
    """Settings of an endpoint.

    Attributes:
        url: Address that images are posted to.
        form: Shape of requests and answers, see :mod:`whywrong.models.endpoints.forms`.
        answers: What comes back for an image: ``probabilities`` or ``logits`` of all classes, the best class
            (``labels``), or probabilities of the best few classes by name (``top``).
        classes: Class names in the order of the scores.
        input_size: (C, H, W) of the images that are sent.
        resize: Shorter side before the centre crop, in pixels.
        mean, std: Normalisation per channel, only for ``kserve``, which gets numbers instead of image files.
        image: File format of the images that are sent, ``png`` or ``jpeg``.
        quality: JPEG quality, 1 to 100.
        images_key, answers_key: Names in the JSON of the form ``plain``.
        input_name, output_name: Names of the tensors of the form ``kserve``; an empty output name takes the first one.
        batch: Images per call; the forms ``torchserve`` and ``hugging-face`` take one.
        concurrency: Calls at the same time.
        per_second: Most calls per second; 0 sets no limit.
        timeout: Seconds for a whole call, including its answer.
        retries: Further attempts after a call that failed for a reason that may pass.
        longest_wait: Longest pause before another attempt, in seconds.
        most_queries: Budget: images that may be sent in total, over all runs with the same ledger; None sets none.
        ledger: File of the ledger; default beside the settings.
        ask_again: Number of images after which the first one is sent again, to notice a changed model; 0 never.
        headers: Further headers. One that carries a secret is written as ``env:NAME`` or ``Bearer env:NAME``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    url: str
    form: Form = "plain"
    answers: Answers = "probabilities"
    classes: list[str] | None = None
    input_size: Annotated[list[int], Field(min_length=3, max_length=3)] | None = None
    resize: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    image: Literal["png", "jpeg"] = "png"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    images_key: str = "images"
    answers_key: str = ""
    input_name: str = "input"
    output_name: str = ""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    per_second: Annotated[float, Field(ge=0)] = 0.0
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    longest_wait: Annotated[float, Field(ge=0, le=3600)] = 60.0
    most_queries: Annotated[int, Field(ge=0)] | None = None
    ledger: str = ""
    ask_again: Annotated[int, Field(ge=0)] = 1_000
    headers: dict[str, str] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with https:// or http:// and name a host")
        if parts.username or parts.password or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
            raise ValueError("must hold no password, key or token; send it in a header, as env:NAME")
        return url

    @field_validator("headers")
    @classmethod
    def _from_the_environment(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or re.search(r"[\r\n]", value):
                raise ValueError(f'"{name[:40]}" is no header')
            if _SECRET.search(name) and not _FROM_ENVIRONMENT.fullmatch(value):
                raise ValueError(
                    f'"{name}" carries a secret: write it as env:NAME, the name of an environment variable'
                )
        return headers

    @property
    def images_per_call(self) -> int:
        """Number of images in one call."""
        return 1 if self.form in ("torchserve", "hugging-face") else self.batch

    def secret_headers(self) -> dict[str, str]:
        """Return the headers with the values of the environment variables that they name.

        Raises:
            InputError: A variable is not set; the message names it.
        """
        found = {}
        for name, value in self.headers.items():
            match = _FROM_ENVIRONMENT.fullmatch(value)
            if match is None:
                found[name] = value
                continue
            prefix, variable = match[1] or "", match[2]
            if not os.environ.get(variable):
                raise InputError(f'the header "{name}" of the endpoint needs the environment variable {variable}')
            found[name] = prefix + os.environ[variable]
        return found

    def public(self) -> dict[str, Any]:
        """Return what determines the answers, without secrets, as plain values."""
        names = ("url", "form", "answers", "input_size", "image", "quality", "input_name", "output_name", "answers_key")
        kept = {"keeps": "scores"} if self.answers == "top" else {}  # ledgers once kept the best class alone
        return {name: getattr(self, name) for name in names} | kept


def read_settings(path: Path) -> EndpointSettings:
    """Read the settings of an endpoint from a TOML file.

    Raises:
        InputError: The file cannot be read, is no TOML, or a setting is invalid; the message names it.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: more than 1 MiB is no description of an endpoint")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{path}: the endpoint cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    return check_settings(values, str(path))


def check_settings(values: dict[str, Any], where: str) -> EndpointSettings:
    """Check the settings of an endpoint.

    Args:
        values: Settings by name.
        where: Their origin, for messages.

    Raises:
        InputError: Names the first invalid setting.
    """
    try:
        return EndpointSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "the file"
        known = ", ".join(EndpointSettings.model_fields)
        advice = f"; the settings are {known}" if first["type"] == "extra_forbidden" else ""
        raise InputError(f'{where}: "{name}": {first["msg"].removeprefix("Value error, ")}{advice}') from None
