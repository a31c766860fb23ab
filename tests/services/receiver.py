"""A webhook's receiver that remembers what came, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """Idempotency keys of the notifications, in the order in which they came, and when (seconds since the epoch).

    It answers with `status`; what it does not take so is only counted, in `turned_away`.
    """

    url: str = ""
    status: int = 204
    turned_away: int = 0
    keys: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def told(self, transition: str) -> bool:
        return any(key.endswith(transition) for key in self.keys)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that takes everything until its `status` is set."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if got.status < 300:
                got.keys.append(self.headers["Idempotency-Key"])
                got.at.append(time.time())
            else:
                got.turned_away += 1
            self.send_response(got.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield got
    finally:
        server.shutdown()
        server.server_close()
