"""`setup` brings a store of 0.10.0 up to date; today's code then reads everything in it and goes on from there."""

from __future__ import annotations

import asyncio
import gzip
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.alerting.clock import Clock
from pipeline.alerting.evaluation.factory import make_evaluator
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.worker.alert_worker import AlertWorker
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.metrics import Metrics
from pipeline.settings import AlertSettings, StoreSettings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store
from tests.builders import START, scored
from tests.compat.conftest import Opinionwatch, holds

END = START + timedelta(days=4)
COUNTED = NegativeDefinition(sources=("weibo",))
SETTINGS = AlertSettings.model_validate({"sources": ["weibo"], "calibrate_every_days": 0, "volume": {"enabled": True}})
NOVA, ORION, SURGE = (
    "subject:Nova@20260302T1750Z",
    "subject:Orion@20260302T0705Z",
    "volume:subject:Orion@20260302T1410Z",
)
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)


class Receiver:
    """Implements `Channel`."""

    name = "oncall"

    def __init__(self) -> None:
        self.got: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        self.got.append(notice)

    async def check(self) -> None:
        """It can always be reached."""


def restore(url: str, files: Path) -> None:
    """Puts the templates, indices and documents of 0.10.0 into an Elasticsearch."""

    def put(path: str, body: Any, method: str = "PUT", kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    installed = json.loads((files / "elasticsearch.json").read_text("utf-8"))
    for name, template in installed["templates"].items():
        put(f"_index_template/{name}", {k: v for k, v in template.items() if not k.endswith("_date_millis")})
    for name, index in installed["indices"].items():
        put(name, index)
    lines: list[str] = []
    for line in gzip.decompress((files / "elasticsearch.ndjson.gz").read_bytes()).decode().splitlines():
        hit = json.loads(line)
        place = {"_index": hit["_index"], "_id": hit["_id"], "version": hit["_version"], "version_type": "external"}
        lines += [json.dumps({"index": place}), json.dumps(hit["_source"])]
    body = "".join(f"{line}\n" for line in lines).encode()
    assert not put("_bulk?refresh=true", body, "POST", "application/x-ndjson")["errors"]


@pytest.fixture(
    params=["sqlite", pytest.param("elasticsearch", marks=[pytest.mark.services, pytest.mark.timeout(300)])]
)
def url(request: pytest.FixtureRequest, files: Path, tmp_path: Path, opinionwatch: Opinionwatch) -> str:
    """The URL of a store that 0.10.0 filled and that today's `setup` brought up to date."""
    if request.param == "sqlite":
        path = tmp_path / "old.sqlite"
        path.write_bytes(gzip.decompress((files / "store.db.gz").read_bytes()))
        found = f"sqlite:///{path}"
    else:
        found = str(request.getfixturevalue("empty_elasticsearch"))
        restore(found, files)
    opinionwatch("setup", STORE__URL=found)
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = open_store(StoreSettings(url=url))
    yield made
    made.close()


def go_on(store: Store, now: datetime) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Runs the alert role over calm posts; returns the records of `opinion.alerts` and the keys of the messages."""
    receiver, published = Receiver(), list[Mapping[str, Any]]()

    async def publish(_: str, alert: Mapping[str, Any]) -> None:
        published.append(alert)

    reached = START + timedelta(minutes=1900)
    calm = [scored(2000 + i, minute=1110 + 10 * i, text=f"calm {i}", subjects=["Nova"]) for i in range(79)]
    store.index(calm, reached, 1)
    told = [
        replace(p, next_offset=p.next_offset + 79, end_offset=p.end_offset + 79, event_time=reached)
        for p in store.load_progress().values()
    ]
    store.save_progress(told)
    worker = AlertWorker(
        store=store,
        evaluator=make_evaluator(store, SETTINGS),
        settings=SETTINGS,
        channels=[receiver],
        publish=publish,
        holds=lambda: True,
        metrics=Metrics(CollectorRegistry()),
        clock=Clock(now=lambda: now, sleep=lambda _: asyncio.sleep(0)),
    )
    worker.on_progress(told)
    asyncio.run(worker.tick())
    return published, [notice.key for notice in receiver.got]


def test_setup_is_enough_and_finds_nothing_to_do_twice(store: Store, opinionwatch: Opinionwatch) -> None:
    assert "212 posts" in store.check()
    assert opinionwatch("setup") == "nothing to create: everything exists\n"


def test_posts_and_counts_read_as_0_10_0_read_them(store: Store, facts: dict[str, Any]) -> None:
    assert store.post_count() == facts["posts"]
    assert [at.isoformat() for at in store.bounds() or ()] == facts["bounds"]
    assert sorted(list(astuple(cell))[:6] for cell in store.counts(START, END, COUNTED)) == facts["counts"]
    hours = store.source_hours(START, END)
    assert {s: {str(h): n for h, n in found.items()} for s, found in hours.items()} == facts["source_hours"]
    documents = {d.id: {"_id": d.id, **d.to_json()} for d in store.documents(START, END)}
    assert documents.keys() == facts["documents"].keys()
    assert [key for key, old in facts["documents"].items() if not holds(documents[key], old)] == []
    assert sum(d["corrected"] is True for d in documents.values()) == 3


def test_search_and_evidence_find_the_same_posts(store: Store, facts: dict[str, Any]) -> None:
    for text, found in facts["search"].items():
        assert sorted(d.id for d in store.search(text, 100)) == found
    evidence = store.evidence(Scope(subject="Nova"), START, END, COUNTED, 20)
    assert [found.document.id for found in evidence] == facts["evidence"]


def test_a_redelivered_post_is_known(store: Store, facts: dict[str, Any]) -> None:
    again = scored(0, minute=0, text="Nova phone number 0", author="user0", subjects=["Nova"], source="weibo")
    assert [outcome.value for outcome in store.index([again], END, 1)] == ["redelivered"]


def test_progress_is_where_it_was(store: Store, facts: dict[str, Any]) -> None:
    assert holds([p.to_json() for _, p in sorted(store.load_progress().items())], facts["progress"])


def test_annotations_and_their_statistics_stay(
    store: Store, files: Path, old_registry: Path, facts: dict[str, Any], opinionwatch: Opinionwatch
) -> None:
    assert holds([a.to_json() for a in store.annotations()], facts["labels"])
    stats = opinionwatch("labels", "stats", "--json")
    assert (stats["labels"], stats["texts"]) == (6, 4)
    given = str(files / "annotations.jsonl")
    assert opinionwatch("labels", "import", given, "--json", MODEL__REGISTRY=str(old_registry))["refused"] == 0
    assert holds([a.to_json() for a in store.annotations()], facts["labels"]), "the import changed nothing"


def test_status_counts_the_records_of_0_10_0(url: str, opinionwatch: Opinionwatch) -> None:
    said = opinionwatch("status", "--json")
    assert {name: said[name] for name in ("consumed", "indexed", "duplicate", "dead", "open_alerts", "model")} == {
        "consumed": 242, "indexed": 218, "duplicate": 18, "dead": 6, "open_alerts": 2, "model": "dummy 1",
    }  # fmt: skip


def test_a_retraining_counts_the_annotations_since_the_last_one(
    url: str, old_registry: Path, opinionwatch: Opinionwatch
) -> None:
    where = {"MODEL__REGISTRY": str(old_registry), "TRAINING__MIN_NEW_LABELS": "4"}
    said = opinionwatch("retrain", "--json", **where)
    assert (said["outcome"], said["new_labels"]) == ("nothing new", 3)


def test_relabelling_overwrites_what_0_10_0_labelled_but_no_correction(
    store: Store, old_registry: Path, opinionwatch: Opinionwatch
) -> None:
    said = opinionwatch("models", "relabel", "--days", "7", "--json", MODEL__REGISTRY=str(old_registry))
    assert (said["posts"], said["relabelled"]) == (212, 209)
    store.refresh()
    models = Counter((d.corrected, d.scored.model_name) for d in store.documents(START, END))
    assert models == {(False, "toy"): 209, (True, "dummy"): 3}


def test_old_annotations_can_be_taken_back(
    store: Store, old_registry: Path, facts: dict[str, Any], opinionwatch: Opinionwatch
) -> None:
    dropped = opinionwatch(
        "labels", "drop", "--annotator", "ann", "--yes", "--json", MODEL__REGISTRY=str(old_registry)
    )  # fmt: skip
    assert (dropped["dropped"], dropped["posts"]) == (4, 2)
    assert [a.annotator for a in store.annotations()] == ["bob", "bob"]
    store.refresh()
    # Bob's two posts stay corrected; the post that only Ann had corrected has the model's labels again.
    assert sum(d.corrected for d in store.documents(START, END)) == 2


def test_alerts_are_listed_with_what_people_said_of_them(
    store: Store, facts: dict[str, Any], opinionwatch: Opinionwatch
) -> None:
    listed = {a["id"]: a for a in opinionwatch("alerts", "list", "--json")}
    assert listed.keys() == facts["alerts"].keys() == {NOVA, ORION, SURGE}
    assert [key for key, old in facts["alerts"].items() if not holds(listed[key], old)] == []
    assert {a["id"] for a in opinionwatch("alerts", "list", "--open", "--json")} == {NOVA, SURGE}
    assert listed[ORION]["operator"]["acknowledged_by"] == "ann"
    assert listed[NOVA]["operator"]["snooze_reason"] == "press office is on it"
    assert opinionwatch("alerts", "show", NOVA, "--json")["evidence"] == facts["alerts"][NOVA]["evidence"]


def test_the_evaluator_resumes_with_its_episodes_and_thresholds(store: Store, facts: dict[str, Any]) -> None:
    evaluator = make_evaluator(store, SETTINGS)
    evaluator.resume()
    assert evaluator.cursor == datetime.fromtimestamp(facts["states"]["evaluator"]["cursor"], UTC)
    then = facts["states"]["evaluator"]["episodes"]
    assert {NOVA, SURGE} < evaluator.followed()
    assert len(evaluator.followed()) == len(then) + 1
    calibration = evaluator.calibration
    assert calibration is not None
    assert {n: t.fire for n, t in calibration.thresholds.items()} == {"under 10/h": 4.25, "10 to 50/h": 4.75}


def test_the_alert_role_goes_on_with_the_same_episodes(store: Store, facts: dict[str, Any]) -> None:
    """0.10.0 saw no escalation: it scored Nova's crisis lower than the rule has since 0.11.0."""
    published, sent = go_on(store, LONG_AFTER)
    told = [f"{alert['id']}#{alert['sequence']}-{alert['transition']}" for alert in published]
    assert told == [f"{NOVA}#1-escalated", f"{SURGE}#2-resolved", f"{NOVA}#2-reminder", f"{NOVA}#3-resolved"]
    assert {line.partition("#")[0] for line in facts["later"]} == {NOVA, SURGE}
    assert sent == [f"{SURGE}#2-resolved", f"{NOVA}#3-resolved"]
    assert store.alerts(open_only=True) == []


def test_a_snooze_of_0_10_0_holds_until_its_end(store: Store, opinionwatch: Opinionwatch) -> None:
    until = datetime.fromisoformat(opinionwatch("alerts", "show", NOVA, "--json")["operator"]["snoozed_until"])
    _, sent = go_on(store, until - timedelta(minutes=1))
    assert sent == [f"{SURGE}#2-resolved"]
    _, sent = go_on(store, until + timedelta(minutes=1))
    assert sent == [f"{NOVA}#3-resolved"]


def test_records_of_alerts_have_the_fields_that_0_10_0_wrote(store: Store, files: Path) -> None:
    """0.11.0 dropped only `pending` and `held`: the store keeps `notifications` in their place."""
    records = json.loads((files / "records.json").read_text("utf-8"))["opinion.alerts"]
    (kinds,) = {tuple(sorted(json.loads(record["value"]))) for record in records}
    published, _ = go_on(store, LONG_AFTER)
    for alert in published:
        assert set(kinds) - alert.keys() == {"pending", "held"}
