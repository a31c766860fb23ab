"""What is sent, and what must be found of it: lost, doubled, dead, and the law of conservation."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from kafka import KafkaProducer
from kafka.errors import KafkaError

from pipeline.domain.post import document_id
from pipeline.kafka import admin, dead_letters
from pipeline.kafka.limits import MAX_VALUE_BYTES
from pipeline.service.status import from_store
from pipeline.settings import KafkaSettings
from tests.system import System

DUPLICATES, POISONS = 0.01, 0.001


@dataclass(frozen=True, slots=True)
class Corpus:
    """Records in order; `ids` of the posts in them, `poisons` records that are none.

    `unsure` are posts that the broker did not confirm: they may be found or not.
    """

    values: list[bytes]
    ids: frozenset[str]
    poisons: int
    unsure: frozenset[str] = frozenset()


def corpus(seed: int, n: int, *, start: int = 0, poisons: float = POISONS) -> Corpus:
    """`n` records with 1 % duplicates and 0.1 % poisons, a function of the seed."""
    rng = random.Random(seed)
    values: list[bytes] = []
    ids: set[str] = set()
    bad = 0
    for i in range(start, start + n):
        roll = rng.random()
        if roll < poisons:
            values.append(rng.choice([b"\xff\xfe", b"{", b"[]", b'{"v": 9}', b'{"source": "s", "id": "x"}']))
            bad += 1
        elif roll < poisons + DUPLICATES and ids:
            values.append(rng.choice([v for v in values[-50:] if v.startswith(b'{"v"') and len(v) > 20] or [_post(i)]))
            ids.add(_id(values[-1]))
        else:
            values.append(_post(i))
            ids.add(_id(values[-1]))
    return Corpus(values, frozenset(ids), bad)


def _post(i: int) -> bytes:
    minute, second = divmod(i, 60)
    at = f"2026-03-0{1 + minute // 1440 % 7}T{minute // 60 % 24:02}:{minute % 60:02}:{second:02}Z"
    words = "bad news" if i % 7 == 0 else "plain words"
    return json.dumps({"v": 1, "id": str(i), "source": "chaos", "text": f"{words} {i}", "published_at": at}).encode()


def _id(value: bytes) -> str:
    post = json.loads(value)
    return document_id(post["source"], post["id"])


@dataclass(frozen=True, slots=True)
class Finding:
    """`lost`, `doubled` and `stray` must be 0; `law`: the books add up, and all that was sent was consumed.

    `books` are those of `opinionwatch status`.
    """

    lost: int
    doubled: int
    dead: int
    stray: int
    law: bool
    books: dict[str, int]

    @property
    def clean(self) -> bool:
        return not self.lost and not self.doubled and not self.stray and self.law


def kafka_of(system: System) -> KafkaSettings:
    """The settings that the system's own command line would read."""
    env = system.env
    return KafkaSettings(
        bootstrap_servers=env["OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS"],
        topics=[system.topic],
        dead_topic=env["OPINIONWATCH_KAFKA__DEAD_TOPIC"],
        progress_topic=env["OPINIONWATCH_KAFKA__PROGRESS_TOPIC"],
        alerts_topic=env["OPINIONWATCH_KAFKA__ALERTS_TOPIC"],
        group=env["OPINIONWATCH_KAFKA__GROUP"],
    )


def produce(system: System, sent: Corpus) -> None:
    largest = max([MAX_VALUE_BYTES, *map(len, sent.values)])
    with admin.producer(kafka_of(system), largest) as send:
        for value in sent.values:
            send(system.topic, value)


def produce_what_is_taken(system: System, posts: Sequence[bytes], within_s: float) -> Corpus:
    """Posts to a broker that may fail: what it confirmed, and what it did not."""
    client = KafkaProducer(
        bootstrap_servers=kafka_of(system).bootstrap_servers, acks="all", delivery_timeout_ms=int(within_s * 1000),
        request_timeout_ms=2000, linger_ms=5, max_block_ms=2000,
    )  # fmt: skip
    waiting = []
    for value in posts:
        try:
            waiting.append((value, client.send(system.topic, value)))
        except KafkaError:
            break
    ends = time.monotonic() + within_s
    while time.monotonic() < ends and not all(future.is_done for _, future in waiting):
        time.sleep(0.1)
    # Whoever closes waits for the rest: from here on nothing more is counted as confirmed.
    taken = [value for value, future in waiting if future.is_done and future.succeeded()]
    with suppress(KafkaError):
        client.close(timeout=0)
    ids = frozenset(map(_id, taken))
    return Corpus(taken, ids, 0, frozenset(_id(value) for value, _ in waiting) - ids)


def lag(system: System) -> int:
    """Records not yet committed."""
    return sum(end - committed for _, _, committed, end in admin.offsets(kafka_of(system)))


def examine(system: System, *sent: Corpus) -> Finding:
    """After the drain: what the index and the dead letters hold against what was sent."""
    system.store.refresh()
    found = list(system.store.ids())
    expected = frozenset().union(*(c.ids for c in sent))
    origins = {x.origin for x in dead_letters.dead_letters(kafka_of(system))}
    books = from_store(system.store)
    parts = books.indexed + books.duplicate + books.dead + books.in_flight
    unsure = frozenset().union(*(c.unsure for c in sent))
    least = sum(len(c.values) for c in sent)
    law = books.consumed == parts and least <= parts <= least + len(unsure)
    law = law and books.indexed == len(set(found))
    return Finding(
        lost=len(expected - set(found)),
        doubled=len(found) - len(set(found)),
        dead=len(origins),
        stray=len(set(found) - expected - unsure),
        law=law,
        books={
            "sent": least,
            "documents": len(found),
            **{k: v for k, v in asdict(books).items() if isinstance(v, int)},
        },
    )
