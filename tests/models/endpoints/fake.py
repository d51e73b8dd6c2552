"""A model server on loopback, which counts what reaches it and misbehaves on request."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Answer = tuple[int, dict[str, str], bytes]


class Fake:
    """Classifies an image by its mean red, green and blue; ``fault`` may answer instead, given the call's number."""

    def __init__(self) -> None:
        self.images, self.calls = 0, 0
        self.seen: list[dict[str, str]] = []
        self.fault: Callable[[int, bytes], Answer | str | None] = lambda call, body: None
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, body: bytes, kind: str) -> Answer:
        if kind.startswith("image/"):
            scores = dict(zip("abc", self.scores([body])[0], strict=True))
            return 200, {}, json.dumps(scores).encode()
        asked = json.loads(body)
        if "inputs" in asked and isinstance(asked["inputs"], list):
            tensor = asked["inputs"][0]
            pixels = np.array(tensor["data"]).reshape(tensor["shape"])
            scores = soft(pixels.mean((2, 3)))
            out = {"name": "output", "shape": list(scores.shape), "datatype": "FP32", "data": scores.ravel().tolist()}
            return 200, {}, json.dumps({"id": asked["id"], "outputs": [out]}).encode()
        if "inputs" in asked:
            scores = self.scores([base64.b64decode(asked["inputs"])])[0]
            rows = [{"label": name, "score": score} for name, score in zip("abc", scores, strict=True)]
            return 200, {}, json.dumps(sorted(rows, key=lambda row: -row["score"])).encode()
        files = [base64.b64decode(one) for one in asked["images"]]
        return 200, {}, json.dumps({"id": asked["id"], "scores": self.scores(files)}).encode()

    def scores(self, files: list[bytes]) -> list[list[float]]:
        pixels = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) / 255 for file in files]
        return soft(np.stack([one.mean((0, 1)) for one in pixels])).tolist()


def soft(means: np.ndarray) -> np.ndarray:
    powers = np.exp(10 * means)
    return powers / powers.sum(1, keepdims=True)


def images_of(body: bytes, kind: str) -> int:
    if kind.startswith("image/"):
        return 1
    asked: dict[str, Any] = json.loads(body)
    if "images" in asked:
        return len(asked["images"])
    return asked["inputs"][0]["shape"][0] if isinstance(asked["inputs"], list) else 1


@contextmanager
def serving() -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = self.headers["Content-Type"]
            with fake.lock:
                fake.calls += 1
                call = fake.calls
                fake.images += images_of(body, kind)
                fake.seen.append(dict(self.headers))
            found = fake.fault(call, body)
            if found == "drop":  # in the middle of the answer
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"{")
                self.close_connection = True
                return
            status, headers, content = found if isinstance(found, tuple) else fake.answer(body, kind)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/predict"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
