"""An HTTP proxy in front of the store that answers bulk requests as its script says; everything else goes through."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession, web

from tests.services.process import free_port

#: Names of what may happen to a bulk request.
ACTIONS = (
    "pass", "429", "429_items", "503", "apply_then_503", "apply_then_drop", "drop", "too_few", "truncated", "slow",
)  # fmt: skip


class Proxy:
    """`script(number of the bulk)` names an action; `largest` bytes of a bulk, above it 413."""

    def __init__(self, target: str, script: Callable[[int], str], largest: int = 1 << 30) -> None:
        self._target, self._script, self._largest = target, script, largest
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.done: Counter[str] = Counter()
        #: Writes of each document that the store took.
        self.writes: Counter[str] = Counter()
        self._bulks = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._session.close())

    async def _start(self) -> None:
        self._session = ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        action = "pass"
        posts = b'"opinion-posts-' in body[:200]
        if request.path.endswith("/_bulk") and posts:
            self._bulks += 1
            action = self._script(self._bulks)
            if len(body) > self._largest:
                action = "413"
        self.done[action] += 1
        return await self._act(action, request, body)

    async def _act(self, action: str, request: web.Request, body: bytes) -> web.StreamResponse:
        if action == "slow":
            await asyncio.sleep(2)
        if action in {"429", "503", "413"}:
            return self._error(int(action))
        if action == "drop":
            return self._cut(request)
        if action == "429_items":
            return await self._some_items(request, body)
        status, headers, answer = await self._forward(request, body)
        if action == "apply_then_503":
            return self._error(503)
        if action == "apply_then_drop":
            return self._cut(request)
        if action == "truncated":
            answer = answer[: len(answer) // 2]
        if action == "too_few":
            value = json.loads(answer)
            value["items"] = value["items"][:-1]
            answer = json.dumps(value).encode()
        return web.Response(status=status, headers=headers, body=answer)

    async def _some_items(self, request: web.Request, body: bytes) -> web.Response:
        """Every other item is refused with 429, the rest is written."""
        lines = body.rstrip(b"\n").split(b"\n")
        pairs = [lines[i : i + 2] for i in range(0, len(lines), 2)]
        kept = b"".join(b"\n".join(p) + b"\n" for p in pairs[::2])
        status, headers, answer = await self._forward(request, kept)
        value = json.loads(answer)
        refused = {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}}
        taken = iter(value["items"])
        value["items"] = [next(taken) if i % 2 == 0 else refused for i in range(len(pairs))]
        value["errors"] = True
        return web.Response(status=status, headers=headers, body=json.dumps(value).encode())

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length"}}
        headers["Accept-Encoding"] = "identity"
        url = f"{self._target}{request.path_qs}"
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            kept = {k: v for k, v in answer.headers.items() if k.lower() in {"content-type", "x-elastic-product"}}
            content = await answer.read()
        if request.path.endswith("/_bulk"):
            for item in json.loads(content).get("items", ()):
                result = next(iter(item.values()))
                if result.get("result") in {"created", "updated"} and result["_index"].startswith("opinion-posts"):
                    self.writes[result["_id"]] += 1
        return answer.status, kept, content

    @staticmethod
    def _error(status: int) -> web.Response:
        body: dict[str, Any] = {"error": {"type": "on_purpose", "reason": "a fault"}, "status": status}
        return web.json_response(body, status=status, headers={"X-Elastic-Product": "Elasticsearch"})

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        """The connection ends without an answer."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
