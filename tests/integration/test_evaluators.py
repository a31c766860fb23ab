"""Several alert workers: one evaluates, another goes on when it is killed, and people hear of everything once."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from pipeline.demo.feed import CRISIS, generate
from tests.builders import START, SURGE, scored, surge
from tests.services.process import ServiceProcess
from tests.services.receiver import Receiver, receiving
from tests.system import System, drained, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as got:
        yield got


def evaluates(system: System, number: int) -> bool:
    log = system.folder / f"alert-{number}.log"
    return "this process evaluates alerts" in log.read_text(errors="replace")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_three_evaluators_one_of_them_gone_and_each_message_comes_once(
    system: System, receiver: Receiver, how: signal.Signals
) -> None:
    """Killed, or stopped for as long as it takes another to go on to the end, and then woken up."""
    items = [i for i in generate() if (CRISIS - i.at).days < 9 and b"\xff" not in i.value]
    middle = CRISIS + timedelta(hours=2)
    early, late = ([json.loads(i.value) for i in items if (i.at < middle) is first] for first in (True, False))
    system.env["OPINIONWATCH_ALERTS__WEBHOOKS"] = json.dumps(
        [{"name": "pager", "url": receiver.url, "allow_private": True}]
    )
    system.run("classify")
    workers: list[ServiceProcess] = [system.run("alert", name=f"alert-{number}") for number in range(3)]
    system.ingest(early)
    until(drained(system, len(early)), 240)
    indexed = time.time()
    until(lambda: any("subject:Nova" in key for key in receiver.keys), 60)
    assert receiver.at[-1] - indexed < 60
    holder = next(n for n in range(3) if evaluates(system, n))
    workers[holder].signal(how)
    system.ingest(late)
    until(drained(system, len(items)), 240)

    def over() -> bool:
        alerts = system.cli("alerts", "list", "--json")
        return all(alert["state"] == "resolved" and not alert["pending"] for alert in alerts)

    until(over, 60)
    if how is signal.SIGSTOP:
        workers[holder].signal(signal.SIGCONT)
        time.sleep(10)
    assert sum(evaluates(system, n) for n in range(3)) == 2, "one took over, the third still stands by"
    assert len(receiver.keys) == len(set(receiver.keys)), receiver.keys
    alerts = system.cli("alerts", "list", "--json")
    assert sorted(alert["key"] for alert in alerts) == ["subject:Greenleaf", "subject:Nova"]
    for alert in alerts:
        told = sorted(int(key.split("#")[1].split("-")[0]) for key in receiver.keys if key.startswith(alert["id"]))
        assert told[-1] == alert["sequence"], "and how it ended"
        assert (alert["state"], alert["pending"]) == ("resolved", [])


def test_a_surge_is_told_once_and_in_its_own_lane(system: System, receiver: Receiver) -> None:
    """Eight days stand in the index; the ninth comes through Kafka and the real model, which finds nothing negative."""
    rows = surge()
    cut = SURGE - timedelta(hours=2)
    system.store.index([r for r in rows if r.post.event_time < cut], START, 1)
    office = "{} opens its office number {} in Berlin on Thursday"
    posts = [
        {
            "v": 1,
            "id": f"late-{i}",
            "source": "test",
            "text": office.format("Nova phone" if row.subjects else "A company", i),
            "published_at": row.post.event_time.isoformat(),
        }
        for i, row in enumerate(rows)
        if row.post.event_time >= cut
    ]
    hooks = [{"name": "pager", "url": receiver.url, "allow_private": True}]
    system.env["OPINIONWATCH_ALERTS__WEBHOOKS"] = json.dumps(hooks)
    system.env["OPINIONWATCH_ALERTS__VOLUME__ENABLED"] = "true"
    system.env["OPINIONWATCH_ALERTS__POSTS_PER_VOICE"] = "0"  # the posts are near-copies of each other
    system.run("classify")
    worker = system.run("alert")
    system.ingest(posts)
    until(drained(system, len(posts)), 120)
    until(lambda: receiver.told("resolved"), 60)
    alerts = system.cli("alerts", "list", "--json")
    assert [(a["lane"], a["key"]) for a in alerts] == [("volume", "subject:Nova")]
    assert alerts[0]["observed"] > 2 * alerts[0]["expected"]
    assert alerts[0]["share"] is None
    told = list(receiver.keys)
    worker.kill()
    system.run("alert", name="alert-again")
    until(lambda: "this process evaluates alerts" in (system.folder / "alert-again.log").read_text("utf-8"), 30)
    time.sleep(5)
    assert receiver.keys == told, "a restart says nothing again"
    assert len(set(told)) == len(told)
    assert {key.split("@")[0] for key in told} == {"volume:subject:Nova"}


def test_a_forum_that_turns_sour_is_told_as_that_source(system: System, receiver: Receiver) -> None:
    """Ten days of three sources stand in the index; then one of them complains of everything for two hours."""
    rng, begin = random.Random(3), START + timedelta(days=10)
    sources = ["autoforum", "weibo", "reuters"]
    before = sorted((rng.uniform(0, 10 * 1440), rng.choice(sources), rng.random() < 0.2) for _ in range(9000))
    rows = [
        scored(i, minute=at, text=f"s{i}", source=source, sentiment="negative" if bad else "neutral")
        for i, (at, source, bad) in enumerate(before)
    ]
    for start in range(0, len(rows), 1000):
        system.store.index(rows[start : start + 1000], START, 1)
    sour = [
        "Terrible match, the worst referee I have ever seen, number {}",
        "This phone is awful, it broke on day {} and nobody helps",
        "The government's new plan is a shameful failure, page {}",
        "What a horrible film, {} minutes of my life wasted",
    ]
    calm = "The museum opens room {} on Thursday"
    posts = [
        {
            "v": 1,
            "id": f"now-{i}",
            "source": "autoforum" if i % 2 else sources[i % 3],
            "text": (sour[i // 2 % 4] if i % 2 and at < begin + timedelta(hours=2) else calm).format(i),
            "published_at": at.isoformat(),
        }
        for i, at in enumerate(begin + timedelta(minutes=n) for n in range(240))
    ]
    system.env["OPINIONWATCH_ALERTS__WEBHOOKS"] = json.dumps(
        [{"name": "pager", "url": receiver.url, "allow_private": True}]
    )
    system.env["OPINIONWATCH_ALERTS__SOURCES"] = json.dumps(["autoforum", "weibo"])
    system.env["OPINIONWATCH_ALERTS__POSTS_PER_VOICE"] = "0"  # the posts are near-copies of each other
    system.run("classify")
    system.run("alert")
    system.ingest(posts)
    until(drained(system, len(posts)), 120)
    until(lambda: receiver.told("opened"), 60)
    (alert,) = system.cli("alerts", "list", "--json")
    assert alert["key"] == "source:autoforum"
    shown = system.cli("alerts", "show", alert["id"], "--json")
    assert {post["source"] for post in shown["evidence"]} == {"autoforum"}
    assert shown["spread"]["sources"] == 1, shown["spread"]
    assert '"source"' in shown["query"]
