"""An endpoint as a callable from images to scores or classes."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import uuid
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.models.containment import OUR_THREADS
from whywrong.models.endpoints.calls import Caller
from whywrong.models.endpoints.forms import read_answer, write_body
from whywrong.models.endpoints.ledger import Ledger
from whywrong.models.endpoints.settings import EndpointSettings

TOLERANCE = 1e-4  # difference of a score of the same image that counts as another model


class EndpointModel:
    """Callable that maps images (B, C, H, W) to the answers of an endpoint.

    Images are sent with 8 bits a channel, as PNG or JPEG, or as numbers to ``kserve``. An image that was answered
    before, in this or an earlier run, is not sent again.

    Args:
        settings: Of the endpoint.
        ledger: File of the ledger.
        transport: Transport of the HTTP client, for tests; default the network.

    Raises:
        InputError: The environment variable of a secret is not set, or the file is no ledger.
        EnvironmentFailure: The ledger cannot be opened.
    """

    def __init__(self, settings: EndpointSettings, ledger: Path, transport: Any = None) -> None:
        self.settings = settings
        public = json.dumps(settings.public(), sort_keys=True)
        self.ledger = Ledger(ledger, hashlib.sha256(public.encode()).hexdigest(), settings.most_queries)
        self._caller = Caller(settings, self.ledger, transport)
        self._lock = threading.Lock()
        self._since_check = 0

    def close(self) -> None:
        """Close connections and ledger."""
        self._caller.close()
        self.ledger.close()

    def __call__(self, x: Tensor) -> Tensor:
        """Return scores (B, K) float64, 0 for classes that are not listed, or classes (B,) int64.

        Raises:
            BudgetUsedUp, EnvironmentFailure, ModelError: As :meth:`Caller.call` and :func:`read_answer`.
        """
        pixels = x.detach().cpu().numpy().astype(np.float32)
        contents = [self._content(one) for one in pixels]
        digests = [hashlib.sha256(content).digest() for content in contents]
        found = self.ledger.known(dict.fromkeys(digests))
        missing = [row for row, digest in enumerate(digests) if digest not in found]
        rows = list({digests[row]: row for row in reversed(missing)}.values())[::-1]  # equal images are sent once
        size = self.settings.images_per_call
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        failures: list[Exception] = []

        def ask(group: Sequence[int]) -> dict[bytes, np.ndarray]:
            if failures:  # nothing more is sent after a failure
                raise failures[0]
            try:
                return self._ask(group, contents, digests, pixels)
            except Exception as error:
                failures.append(error)
                raise

        if groups:
            with ThreadPoolExecutor(self.settings.concurrency, f"{OUR_THREADS}endpoint") as pool:
                for answers in pool.map(ask, groups):
                    found |= answers
        stacked = np.stack([found[digest] for digest in digests])
        if self.settings.answers == "labels":
            return torch.from_numpy(stacked[:, 0].astype(np.int64))
        return torch.from_numpy(stacked)

    def _ask(
        self, rows: Sequence[int], contents: Sequence[bytes], digests: Sequence[bytes], pixels: np.ndarray
    ) -> dict[bytes, np.ndarray]:
        self._check_model(len(rows))
        request = uuid.uuid4().hex
        body = write_body(self.settings, [contents[row] for row in rows], pixels[list(rows)], request)
        call, content = self._caller.call(body, len(rows))
        scores = read_answer(self.settings, content, len(rows), body.id)
        answers = {digests[row]: np.atleast_1d(one) for row, one in zip(rows, scores, strict=True)}
        self.ledger.keep(call, answers)
        self.ledger.keep_first(digests[rows[0]], contents[rows[0]])
        return answers

    def _check_model(self, images: int) -> None:
        """Send the first image again from time to time, and warn if its answer differs."""
        with self._lock:
            self._since_check += images
            due = 0 < self.settings.ask_again <= self._since_check
            self._since_check = 0 if due else self._since_check
        first = self.ledger.first() if due else None
        if first is None:
            return
        digest, content = first
        request = uuid.uuid4().hex
        body = write_body(self.settings, [content], self._pixels(content), request)
        call, answer = self._caller.call(body, 1, "check")
        now = np.atleast_1d(read_answer(self.settings, answer, 1, body.id)[0])
        before = self.ledger.known([digest])[digest]
        if now.shape != before.shape or np.abs(now - before).max() > TOLERANCE:
            self.ledger.changed(call, "another answer to the first image")
            warnings.warn(
                f"{self.settings.url} answers the first image of this ledger differently than before: the model behind "
                "it has changed or is not deterministic, and its answers do not belong together. Name a new ledger to "
                "begin again",
                stacklevel=2,
            )

    def _content(self, pixels: np.ndarray) -> bytes:
        """Return the content that is sent for one image (C, H, W)."""
        if self.settings.form == "kserve":
            return np.ascontiguousarray(pixels, "<f4").tobytes()
        grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        picture = Image.fromarray(grey[0] if len(grey) == 1 else grey.transpose(1, 2, 0))
        file = io.BytesIO()
        if self.settings.image == "png":
            picture.save(file, "PNG", compress_level=1)
        else:
            picture.save(file, "JPEG", quality=self.settings.quality, subsampling=0)
        return file.getvalue()

    def _pixels(self, content: bytes) -> np.ndarray:
        """Return the pixels (1, C, H, W) of a content that was sent as numbers; otherwise they are not needed."""
        if self.settings.form != "kserve":
            return np.zeros((1, 0, 0, 0), np.float32)
        shape = self.settings.input_size or [1, 1, -1]
        return np.frombuffer(content, "<f4").reshape(1, *shape)
