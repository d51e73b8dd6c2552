"""Single calls to an endpoint, with a deadline, repeated attempts, a rate limit, and a limit for the answer."""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from whywrong.core.errors import EnvironmentFailure, ModelError
from whywrong.models.endpoints.forms import Body
from whywrong.models.endpoints.ledger import Ledger
from whywrong.models.endpoints.settings import EndpointSettings

LARGEST_ANSWER = 1 << 20  # bytes, or more for many scores
BYTES_A_SCORE = 40
FIRST_PAUSE = 0.5  # seconds, doubled with each attempt
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
HINTS = {
    401: "it asks for credentials: name the environment variable that holds them under [headers]",
    403: "the credentials are not accepted",
    404: "nothing is at this address; check the path and the name of the model",
    405: "it takes no POST at this address",
    413: "the images are too large for it; lower batch, or send jpeg",
    415: "it does not take this kind of request; check the form",
}


class _Failed(Exception):
    """Raised if an attempt failed for a reason that may pass."""

    def __init__(self, reason: str, *, sent: bool = True, status: int | None = None, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.sent, self.status, self.wait = reason, sent, status, wait


class Caller:
    """Sends requests to an endpoint and writes each of them to the ledger before.

    Args:
        settings: Of the endpoint.
        ledger: Its ledger.
        transport: Transport of the HTTP client, for tests; default the network.

    Raises:
        InputError: The environment variable of a secret is not set.
    """

    def __init__(self, settings: EndpointSettings, ledger: Ledger, transport: Any = None) -> None:
        import httpx2

        self._settings, self._ledger = settings, ledger
        headers = settings.secret_headers()
        self._secrets = [value for name, value in headers.items() if value != settings.headers[name]]
        self._http = httpx2
        self._client = httpx2.Client(
            headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
            timeout=settings.timeout,
            follow_redirects=False,
            transport=transport,
            limits=httpx2.Limits(max_connections=settings.concurrency),
        )
        self._pace = _Pace(settings.per_second)
        self._random = random.Random()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, body: Body, images: int, purpose: str = "ask") -> tuple[int, bytes]:
        """Send a request until it is answered or no attempt is left.

        Args:
            body: The request.
            images: Number of its images.
            purpose: As for :meth:`Ledger.begin`.

        Returns:
            Number of the call in the ledger, and the content of the answer.

        Raises:
            BudgetUsedUp: The budget of queries is used up.
            EnvironmentFailure: The endpoint cannot be reached, refuses the requests, or asks to wait too long.
            ModelError: It refuses this request, as one with an image that it cannot read.
        """
        for attempt in range(self._settings.retries + 1):
            self._pace.wait()
            number = self._ledger.begin(images, purpose if attempt == 0 else "again")
            try:
                content = self._attempt(body)
            except _Failed as failed:
                self._ledger.end(
                    number, "failed" if failed.sent else "not sent", failed.status, self._safe(failed.reason)
                )
                if attempt == self._settings.retries:
                    raise EnvironmentFailure(
                        f"{self._settings.url} {self._safe(failed.reason)}, {attempt + 1} times; finished work is "
                        "kept, run the same command again later"
                    ) from None
                time.sleep(self._pause(attempt, failed.wait))
            except (EnvironmentFailure, ModelError) as error:
                self._ledger.end(number, "failed", None, self._safe(str(error)))
                raise
            except BaseException:
                self._ledger.end(number, "failed", None, "interrupted")
                raise
            else:
                self._ledger.end(number, "answered", 200)
                return number, content
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, asked: float) -> float:
        longest = self._settings.longest_wait
        if asked > longest:
            raise EnvironmentFailure(
                f"{self._settings.url} asks to wait {asked:,.0f} seconds, more than longest_wait ({longest:g}); "
                "finished work is kept, run the same command again later"
            )
        jittered = FIRST_PAUSE * 2**attempt * self._random.uniform(0.5, 1.5)
        return max(asked, min(jittered, longest))

    def _attempt(self, body: Body) -> bytes:
        http, settings = self._http, self._settings
        deadline = time.monotonic() + settings.timeout
        try:
            with self._client.stream(
                "POST", settings.url, content=body.content, headers={"Content-Type": body.kind}
            ) as response:
                self._check(response.status_code, response.headers)
                return self._read(response, deadline)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            raise _Failed(f"cannot be reached ({_kind(error)})", sent=False) from None
        except http.TimeoutException:
            raise _Failed(f"gave no answer within {settings.timeout:g} s") from None
        except http.HTTPError as error:
            raise _Failed(f"broke off ({_kind(error)})") from None

    def _read(self, response: Any, deadline: float) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise EnvironmentFailure(f"{self._settings.url} compresses its answers although it was asked not to")
        most = max(LARGEST_ANSWER, BYTES_A_SCORE * self._settings.images_per_call * len(self._settings.classes or ()))
        parts, size = [], 0
        for part in response.iter_raw():
            size += len(part)
            parts.append(part)
            if size > most:
                raise EnvironmentFailure(
                    f"{self._settings.url} answers with more than {most:,} bytes, which is no answer"
                )
            if time.monotonic() > deadline:
                raise _Failed(f"gave no whole answer within {self._settings.timeout:g} s", status=response.status_code)
        return b"".join(parts)

    def _check(self, status: int, headers: Mapping[str, str]) -> None:
        url = self._settings.url
        if status == 200:
            return
        if status in PASSING:
            raise _Failed(f"answered with status {status}", status=status, wait=retry_after(headers.get("retry-after")))
        if 300 <= status < 400:
            raise EnvironmentFailure(f"{url} redirects to another address, which is not followed; give the final one")
        if status in (400, 422):
            raise ModelError(
                f"{url} refused the request (status {status}); check the form and the format of the images"
            )
        raise EnvironmentFailure(f"{url} refused the request (status {status}): {HINTS.get(status, 'see its log')}")

    def _safe(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Pace:
    """Spaces out calls to keep a rate."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        time.sleep(start - now)


def retry_after(value: str | None) -> float:
    """Read the header Retry-After, in seconds.

    Returns 0 if it is missing or not valid.

    Args:
        value: Whole seconds or a date.
    """
    if not value:
        return 0.0
    if value.strip().isdigit():
        return float(min(int(value.strip()[:12]), 10**9))
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _kind(error: Exception) -> str:
    text = " ".join(str(error).split())[:100]
    return text or type(error).__name__
