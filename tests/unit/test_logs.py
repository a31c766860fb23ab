"""Whatever stands in a log event, it is one line of printable characters."""

from __future__ import annotations

import io
import itertools
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.classify.codec import decode
from pipeline.cli.dead.show import escaped
from pipeline.domain.errors import Poison
from pipeline.domain.post import Origin, Record
from pipeline.service.logs import Repeats, configure

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
    logging.getLogger("pipeline.test").info("%s", text)
    (line,) = lines(written)
    assert line.isprintable()


def limit_repeats(now: list[float]) -> Repeats:
    """In place of the filter that `configure` made; goes by the time given."""
    handler = next(h for h in logging.getLogger().handlers if any(isinstance(f, Repeats) for f in h.filters))
    handler.filters[:] = [found := Repeats(lambda: now[0])]
    return found


def flood(now: list[float], written: io.StringIO) -> Callable[..., list[str]]:
    limit_repeats(now)

    def say(name: str, template: str, *arguments: object) -> list[str]:
        logging.getLogger(name).error(template, *arguments)
        return lines(written)

    return say


def test_what_repeats_itself_is_written_once_a_minute_with_a_count(written: io.StringIO) -> None:
    now = [100.0]
    say = flood(now, written)
    for name in ("aiokafka.conn", "pipeline.classify.flow"):
        found = []
        for second in range(181):
            now[0] = 1000.0 + second
            for attempt in range(90):
                found += say(name, "node %s at port %d cannot be reached", "kafka", attempt)
        assert len(found) == 4, name
        assert "more like it" not in found[0]
        assert all("(5399 more like it" in line for line in found[1:])


def test_messages_that_differ_are_all_written_but_a_library_counts_by_its_template(written: io.StringIO) -> None:
    say = flood([100.0], written)
    assert say("pipeline.classify.flow", "index: %s", "store a cannot be reached")
    assert say("pipeline.classify.flow", "index: %s", "store a refuses writes")
    assert say("aiokafka", "failed: %s", "one word")
    assert not say("aiokafka", "failed: %s", "another word")
    assert say("aiokafka", "failed fetch: %s", "one word")


def test_what_a_filter_remembers_is_bounded_and_nothing_new_is_left_out(written: io.StringIO) -> None:
    repeats = limit_repeats([100.0])
    words = ["".join(letters) for letters in itertools.product("abcdefghijk", repeat=3)]
    log = logging.getLogger("pipeline.classify.flow")
    for word in words:
        log.error("odd %s", word)
    assert len(lines(written)) == len(words)
    assert len(repeats._seen) <= 500


def test_a_poison_never_repeats_the_post_and_a_dead_letter_is_shown_escaped() -> None:
    for text in HOSTILE:
        raw = ('{"v": 9, "source": "s", "id": "1", "text": "canary' + text + '"}').encode("utf-8", "surrogatepass")
        with pytest.raises(Poison) as caught:
            decode(Record(Origin("t", 0, 0), 0, raw))
        assert "canary" not in str(caught.value)
        assert escaped(raw).isprintable()
