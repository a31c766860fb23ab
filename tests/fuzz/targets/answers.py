"""What a notification channel's receiver answers: status and Retry-After on the first line as JSON, then the body."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from pipeline.alerting.notify.changes import failed
from pipeline.alerting.notify.channels.answers import DINGTALK, FEISHU, WECOM, Answer, judge, judge_slack, judge_vendor
from pipeline.alerting.notify.channels.http import MAX_ANSWER_BYTES, MAX_WAIT_S, waited_s
from pipeline.alerting.notify.status import by_channel, notification_status
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import DeliveryState
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.operator_state import OperatorState

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_CODES = st.one_of(
    st.sampled_from([0, -1, 9499, 11232, 19021, 45009, 93000, 130101, 310000]),
    st.integers(), st.floats(), st.text(max_size=8), st.none(), st.booleans(), st.lists(st.integers(), max_size=2),
)  # fmt: skip
_BODIES = st.one_of(
    st.binary(max_size=300),
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.dictionaries(
        st.sampled_from(["errcode", "errmsg", "code", "msg", "StatusCode", "StatusMessage"]),
        st.one_of(_CODES, st.text()),
    ).map(lambda body: json.dumps(body).encode()),
    st.sampled_from([b"ok", b'"ok"', b"<html>", b"[" * 50_000, b"\x1b[2J" * 9000, b"\xff\xfe", b"1" * 60_000]),
)
_WAITS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["60", "-1", "1e9", "9" * 500, "\u0666\u0660", "Thu, 01 Jan 2026 00:01:00 GMT", "Mon, 99 Foo 1 1:1:1"]
    ),
)
INPUTS = st.builds(
    lambda status, wait, body: json.dumps({"status": status, "wait": wait}).encode() + b"\n" + body,
    st.integers(0, 999), _WAITS, _BODIES,
)  # fmt: skip


def run(data: bytes) -> None:
    """Taken, busy or refused, and never anything else; what is kept of it is one short line."""
    head, _, body = data.partition(b"\n")
    said: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        said = parsed if isinstance(parsed := json.loads(head), dict) else {}
    status = said.get("status")
    wait = waited_s(str(said.get("wait", "")), NOW)
    assert wait is None or 0 <= wait <= MAX_WAIT_S
    text = body[:MAX_ANSWER_BYTES].decode("utf-8", "replace")
    answer = Answer(status if isinstance(status, int) else 200, text, wait)
    verdicts: list[Callable[[], None]] = [
        lambda: judge("c", answer),
        lambda: judge_slack("c", answer),
        *(lambda v=v: judge_vendor("c", answer, v) for v in (DINGTALK, FEISHU, WECOM)),
    ]
    for verdict in verdicts:
        try:
            verdict()
        except Transient as error:
            assert error.retry_after_s > 0
            _stands(str(error), DeliveryState.RETRYING)
        except Fatal as error:
            _stands(str(error), DeliveryState.REFUSED)
        else:
            assert 200 <= answer.status < 300


def _stands(detail: str, state: DeliveryState) -> None:
    alert = failed(Alert(id="a", key="k", started_at=NOW, updated_at=NOW), "c", state, detail, None, NOW)
    for line in (notification_status(alert, OperatorState(), NOW), *by_channel(alert)):
        assert line.isprintable()
        assert len(line) < 800
