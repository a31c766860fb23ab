"""Rows of the fault table about who is told: the alert role beside a classify worker, and receivers that misbehave."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tests.builders import START
from tests.chaos.trial import Trial, Worker
from tests.services.process import free_port
from tests.services.receiver import Receiver, receiving

#: Minutes after START: the posts of a brand turn bad, and are as before.
CRISIS, CALM, END = 360, 540, 960
TOLD_S = 120.0


def posts(rng: random.Random, start: int, end: int) -> list[dict[str, Any]]:
    """One a minute, and three while the crisis lasts."""
    found = []
    for minute in range(start, end):
        crisis = CRISIS <= minute < CALM
        for second in (0, 20, 40) if crisis else (0,):
            bad = rng.random() < (0.95 if crisis else 0.04)
            found.append(
                {
                    "v": 1,
                    "id": f"{minute}-{second}",
                    "source": "chaos",
                    "author": f"a{minute}-{second}",
                    "text": f"Nova phone {'bad' if bad else 'plain'} {minute} {second}",
                    "published_at": (START + timedelta(minutes=minute, seconds=second)).isoformat(),
                }
            )
    return found


def hooks(t: Trial, receivers: Sequence[Receiver]) -> None:
    found = [{"name": f"hook{i}", "url": r.url, "allow_private": True} for i, r in enumerate(receivers)]
    only = [{"keys": ["subject:Nova"]}, {"keys": ["*"], "watch": False}]
    # The posts are near-copies of each other.
    t.settings(ALERTS__WEBHOOKS=json.dumps(found), ALERTS__RULES=json.dumps(only), ALERTS__POSTS_PER_VOICE="0")


def alert_role(t: Trial, **faults: Any) -> Worker:
    arguments = ["run", "alert", "--metrics-port", str(free_port())]
    return t.process("tests.chaos.worker", arguments, faults)


def wait_for(t: Trial, what: str, within_s: float, holds: Any) -> None:
    ends = time.monotonic() + within_s
    while not holds():
        t.require(time.monotonic() < ends, f"{what} within {within_s:.0f} s: {t.logs()[-1500:]}")
        time.sleep(0.3)


def alerts(t: Trial) -> list[dict[str, Any]]:
    return list(t.system.cli("alerts", "list", "--json"))


def a_channel_is_down_beside_a_healthy_one(t: Trial, rng: random.Random) -> None:
    with receiving() as healthy, receiving() as down:
        down.status = rng.choice([500, 503, 429])
        hooks(t, [healthy, down])
        t.worker()
        alert_role(t)
        t.send_posts(posts(rng, 0, CRISIS + 120), rejected=set())
        wait_for(t, "the healthy channel is told", TOLD_S, lambda: healthy.told("opened"))
        t.send_posts(posts(rng, CRISIS + 120, END), rejected=set())
        wait_for(t, "the healthy channel hears of the end", TOLD_S, lambda: healthy.told("resolved"))
        time.sleep(t.outage_s)
        t.require(len(set(healthy.keys)) == len(healthy.keys), f"each message once: {healthy.keys}")
        t.require(down.keys == [] and down.turned_away > 1, "the other was tried again and again")
        t.note("tries", down.turned_away)
        down.status = 204
        t.cured()
        wait_for(t, "the other one hears how it stands", TOLD_S, lambda: bool(down.keys))
        time.sleep(3)
        t.require([k.rpartition("-")[2] for k in down.keys] == ["resolved"], f"and of nothing else: {down.keys}")
        t.require(all(a["pending"] == [] for a in alerts(t)), "nothing is left")


def killed_after_telling_with_late_posts(t: Trial, rng: random.Random) -> None:
    with receiving() as hook:
        hooks(t, [hook])
        t.worker()
        everything = posts(rng, 0, CRISIS + 150)
        late = [p for p in everything if p["text"].split()[2] == "bad" and rng.random() < 0.4]
        alert = alert_role(t, kill_after_told=1)
        t.send_posts([p for p in everything if p not in late], rejected=set())
        t.expect_exit(alert, -9, TOLD_S)
        t.require(len(hook.keys) == 1, "told, and killed before that was written down")
        t.send_posts(late, rejected=set())
        t.drain()
        t.cured()
        alert_role(t)
        wait_for(t, "the same message again", TOLD_S, lambda: len(hook.keys) > 1)
        t.require(set(hook.keys) == {hook.keys[0]}, f"under the same key: {hook.keys}")
        t.send_posts(posts(rng, CRISIS + 150, END), rejected=set())
        wait_for(t, "the end is told", TOLD_S, lambda: hook.told("resolved"))
        t.require(len({k.split("#")[0] for k in hook.keys}) == 1, f"one episode: {hook.keys}")
        t.require([a["state"] for a in alerts(t)] == ["resolved"], "and none of it stays open")


def every_channel_refuses_and_comes_back(t: Trial, rng: random.Random) -> None:
    with receiving() as one, receiving() as other:
        one.status, other.status = rng.choice([401, 403, 404]), rng.choice([404, 410])
        hooks(t, [one, other])
        t.worker()
        again = rng.random() < 0.5
        alert = alert_role(t, refused_s=3600 if again else 5)
        t.send_posts(posts(rng, 0, CRISIS + 120), rejected=set())
        wait_for(t, "both refuse", TOLD_S, lambda: bool(one.turned_away and other.turned_away))
        wait_for(t, "the alert says so", 10, lambda: any(a["unnotified"] for a in alerts(t)))
        (found,) = [a for a in alerts(t) if a["unnotified"]]
        t.require(found["first_notified_at"] is None, "nobody was told")
        t.require({n["state"] for n in found["notifications"] if n["channel"] != "log"} == {"refused"}, "by either")
        t.require(f"status {one.status}" in found["unnotified"], f"why: {found['unnotified']}")
        one.status = other.status = 204
        t.cured()
        if again:
            t.require(alert.stop() == 0, "SIGTERM ends with 0")
            alert_role(t)
        wait_for(t, "both are told", TOLD_S, lambda: bool(one.keys and other.keys))
        t.require(len(one.keys) == len(other.keys) == 1, f"once each: {one.keys} {other.keys}")
        wait_for(t, "the alert says so", 10, lambda: not any(a["unnotified"] for a in alerts(t)))
