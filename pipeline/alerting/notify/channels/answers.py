"""The meaning of a receiver's answer: taken, busy (try again) or refused. Pure; it handles any bytes.

An answer is a success if the vendor documents it as one, whatever the HTTP status. Sources, as of 2026: docs.slack.dev
(incoming webhooks), open.dingtalk.com (custom robot, global error codes), open.feishu.cn (custom bot, generic error
codes), developer.work.weixin.qq.com (group robot, global error codes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from models.text import clean
from pipeline.domain.errors import Fatal, Transient

#: Characters that are kept of a receiver's own words.
MAX_WORDS = 200
#: Seconds to wait for a receiver that is busy and does not say for how long.
BUSY_S = 15.0
_BUSY_STATUS = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is the body, not `complete` if the connection broke off; `wait_s` is what Retry-After asks for."""

    status: int
    text: str
    wait_s: float | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Vendor:
    """How a vendor answers in JSON: the fields of its code and of its words, and the codes that mean "try again".

    A code that may also mean something else counts as busy if its words contain one of `busy_words`.
    """

    code: str
    words: str
    busy: frozenset[int]
    remedy: str
    busy_words: tuple[str, ...] = ()


DINGTALK = Vendor(
    "errcode",
    "errmsg",
    # system busy; sent too fast (robot); over the limit of the webhook, of the calling server
    frozenset({-1, 130101, 410100, 90030, 90018}),
    "check the URL, the secret, the keywords and the IP list of the robot",
    ("too fast", "over limit", "limit exceed", "限流", "系统繁忙"),
)
FEISHU = Vendor(
    "code",
    "msg",
    # over the rate limit of the system, of the chat, of the operation, of the API; 9499 says so only in its words
    frozenset({11232, 11233, 230020, 99991400}),
    "check the URL, the secret, the keywords and the IP list of the bot",
    ("too many request", "frequency limit", "rate limit"),
)
WECOM = Vendor(
    "errcode",
    "errmsg",
    # system busy; over the limit of calls, of their frequency, of concurrent ones; a conflict that passes
    frozenset({-1, 45009, 45011, 45033, 6000}),
    "check the key in the URL; the robot may have been removed from its group",
    ("system busy", "freq out of limit"),
)


def judge(name: str, answer: Answer) -> None:
    """Judges a receiver without codes of its own; raises `Transient` or `Fatal`.

    A web page instead of an answer comes from a log-in or a proxy, so that nobody has the message.
    """
    _judge_status(name, answer, "check the URL and the receiver; redirects are refused")
    if answer.text.lstrip("\ufeff \t\r\n")[:15].lower().startswith(("<!doctype html", "<html")):
        remedy = "check the URL, which may lead to a log-in page"
        raise Fatal(f"channel {name}: answered {answer.status} with a web page", remedy)


def judge_slack(name: str, answer: Answer) -> None:
    """Judges Slack, which answers `ok` or one word that says why not; raises `Transient` or `Fatal`."""
    remedy = "check the URL; the webhook or its channel may have been removed"
    if 200 <= answer.status < 300 and answer.text.strip().strip('"') == "ok":
        return
    if "rate_limited" in answer.text[:MAX_WORDS] or "ratelimited" in answer.text[:MAX_WORDS]:
        raise Transient(f"channel {name}: rate_limited", _wait(answer, BUSY_S))
    _judge_status(name, answer, remedy)
    _judge_end(name, answer)
    raise Fatal(f"channel {name}: answered {answer.status} without ok{_said(answer.text)}", remedy)


def judge_vendor(name: str, answer: Answer, vendor: Vendor) -> None:
    """Judges a vendor by the code in the body, whatever the status; raises `Transient` or `Fatal`."""
    try:
        body = json.loads(answer.text)
    except (ValueError, RecursionError):
        body = None
    code = body.get(vendor.code, body.get("StatusCode")) if isinstance(body, dict) else None
    if not isinstance(code, int) or isinstance(code, bool):
        _judge_status(name, answer, vendor.remedy)
        _judge_end(name, answer)
        said = _said(answer.text)
        raise Fatal(f"channel {name}: answered {answer.status} without {vendor.code}{said}", vendor.remedy)
    words = quoted(str(body.get(vendor.words, body.get("StatusMessage", ""))))
    said = f"{vendor.code} {code}{f', {words}' if words else ''}"
    if code in vendor.busy or (code != 0 and any(word in words.lower() for word in vendor.busy_words)):
        raise Transient(f"channel {name}: busy ({said})", _wait(answer, BUSY_S))
    if code == 0:
        # A gateway may answer for the vendor: with an error status, nobody has the message.
        _judge_status(name, answer, vendor.remedy)
        return
    raise Fatal(f"channel {name}: refused ({said})", vendor.remedy)


def quoted(text: str) -> str:
    """A receiver's own words in one line of at most `MAX_WORDS` printable characters.

    >>> quoted("sign\\x1b[2J not\\r\\nmatch")
    'sign not match'
    """
    kept = (c if c.isprintable() else " " if c.isspace() else "" for c in clean(text[: 8 * MAX_WORDS]))
    line = " ".join("".join(kept).split())
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 1]}…"


def _judge_status(name: str, answer: Answer, remedy: str) -> None:
    status, said = answer.status, _said(answer.text)
    if status in _BUSY_STATUS or status >= 500:
        raise Transient(f"channel {name}: status {status}{said}", _wait(answer, 1.0))
    if not 200 <= status < 300:
        raise Fatal(f"channel {name}: status {status}{said}", remedy)


def _judge_end(name: str, answer: Answer) -> None:
    """Raises `Transient` for an answer that broke off before it said yes or no."""
    if not answer.complete:
        raise Transient(f"channel {name}: the answer broke off{_said(answer.text)}", _wait(answer, 1.0))


def _wait(answer: Answer, usual_s: float) -> float:
    return usual_s if answer.wait_s is None else max(answer.wait_s, 0.05)


def _said(text: str) -> str:
    words = quoted(text)
    return f", {words}" if words else ""
