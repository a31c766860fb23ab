"""The webhook against a receiver that checks signatures, answers badly, redirects and lies in a private network."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.webhook import WebhookChannel
from pipeline.domain.errors import Fatal, Transient
from tests.builders import an_alert

NOTICE = Notice(
    "subject:Nova@20260315T0930Z#0-opened", "opened", an_alert(key="subject:Nova", evidence=[{"text": "诺瓦手机"}])
)
SECRET = "a secret of the test"  # noqa: S105


def deliver(answer: Callable[[web.Request], Awaitable[web.Response]], **options: object) -> None:
    """Sends the notice to a receiver that answers with `answer`."""

    async def both() -> None:
        app = web.Application()
        app.router.add_post("/hook", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        settings = {"allow_private": True, "timeout_s": 1.0, **options}
        try:
            await WebhookChannel("hook", f"http://localhost:{port}/hook", **settings).send(NOTICE)  # type: ignore[arg-type]
        finally:
            await runner.cleanup()

    asyncio.run(both())


def test_the_receiver_can_check_signature_and_idempotency_key() -> None:
    seen: list[dict[str, object]] = []

    async def receiver(request: web.Request) -> web.Response:
        body = await request.read()
        stamp, digest = (p.split("=")[1] for p in request.headers["X-Opinionwatch-Signature"].split(","))
        expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(digest, expected)
        assert request.headers["Idempotency-Key"] == NOTICE.key
        seen.append(json.loads(body))
        return web.Response(status=204)

    deliver(receiver, secret=SECRET)
    assert seen[0]["transition"] == "opened"
    assert seen[0]["alert"] == NOTICE.alert.to_json_with_id()


@pytest.mark.parametrize(
    ("status", "error"), [(500, Transient), (429, Transient), (302, Fatal), (401, Fatal), (404, Fatal)]
)
def test_each_status_is_tried_again_or_refused(status: int, error: type[Exception]) -> None:
    calls = 0

    async def receiver(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=status, headers={"Location": "http://localhost:1/elsewhere"})

    with pytest.raises(error):
        deliver(receiver)
    assert calls == 1, "a redirect is not followed"


def test_a_receiver_that_hangs_is_tried_again() -> None:
    async def receiver(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    with pytest.raises(Transient):
        deliver(receiver, timeout_s=0.3)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"])  # noqa: S104
def test_our_own_network_is_refused(host: str) -> None:
    channel = WebhookChannel("hook", f"https://{host}:9/x", timeout_s=2.0)
    with pytest.raises(Fatal, match="public"):
        asyncio.run(channel.send(NOTICE))


def test_plain_http_is_refused_unless_allowed() -> None:
    with pytest.raises(Fatal, match="https"):
        WebhookChannel("hook", "http://hooks.example/x")
