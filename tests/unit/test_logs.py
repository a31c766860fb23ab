"""Whatever stands in a log event, it is one line of printable characters."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.codec import decode
from pipeline.commands.dead import escaped
from pipeline.errors import Poison
from pipeline.logs import configure
from pipeline.posts import Origin, Record

HOSTILE = [
    "a\nb", "a\r\nERROR forged", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "x\x00y", "\x9b31m", "\x85next", "a\u2028b",
    "a\u2029b", "\u202egnp.exe", "\u2066hidden\u2069", "\u200bzero", "\ufeffbom", "tab\there", "\x7fdelete",
    "\ud800lone", "\U000e0041tag",
]  # fmt: skip


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    configure()
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)


def lines(written: io.StringIO) -> list[str]:
    text = written.getvalue()
    written.seek(0)
    written.truncate()
    return text.split("\n")[:-1]


def test_every_hostile_text_is_one_line(written: io.StringIO) -> None:
    log = logging.getLogger("pipeline.test")
    for text in HOSTILE:
        log.warning("said: %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("caught")
        plain, traceback = lines(written)
        assert plain.isprintable()
        assert traceback.isprintable()
        assert "ValueError" in traceback


@given(st.text(st.characters(), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is(written: io.StringIO, text: str) -> None:
    logging.getLogger("pipeline.test").warning("%s", text)
    (line,) = lines(written)
    assert line.isprintable()


def test_a_poison_never_repeats_the_post_and_a_dead_letter_is_shown_escaped() -> None:
    for text in HOSTILE:
        raw = ('{"v": 9, "source": "s", "id": "1", "text": "canary' + text + '"}').encode("utf-8", "surrogatepass")
        with pytest.raises(Poison) as caught:
            decode(Record(Origin("t", 0, 0), 0, raw))
        assert "canary" not in str(caught.value)
        assert escaped(raw).isprintable()
