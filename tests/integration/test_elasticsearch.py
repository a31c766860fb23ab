"""What a real Elasticsearch refuses is told in its words, and what a person there can end is waited for."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.builders import an_alert, json_key, scored, with_labels
from tests.system import System

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
NOW = datetime.now(UTC)
TODAY = NOW.strftime("opinion-posts-%Y.%m")


def ask(url: str, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.fixture
def url(empty_elasticsearch: str) -> Iterator[str]:
    yield empty_elasticsearch
    limit = {"persistent": {"cluster.max_shards_per_node": None}}
    ask(empty_elasticsearch, "PUT", "_cluster/settings", limit)


@pytest.fixture
def store(url: str) -> Iterator[ElasticsearchStore]:
    made = ElasticsearchStore(url)
    made.setup()
    yield made
    made.close()


def at(number: int, when: datetime) -> ScoredPost:
    made = scored(number, text=f"post {number}")
    return made._replace(post=made.post._replace(event_time=when))


@pytest.mark.parametrize("period", ["hour", "day", "month"])
def test_a_feed_that_reaches_back_to_2000_meets_no_limit_of_shards(url: str, period: str) -> None:
    store = ElasticsearchStore(url, period=period)
    store.setup()
    ask(url, "PUT", "_cluster/settings", {"persistent": {"cluster.max_shards_per_node": 40}})
    years = [at(y, datetime(y, 1 + y % 12, 3, tzinfo=UTC)) for y in range(2000, NOW.year)]
    assert store.index([*years, at(1, NOW)], NOW, 1) == [Outcome.INDEXED] * (len(years) + 1)
    again = ElasticsearchStore(url, period=period)
    assert set(again.index([*years, at(1, NOW)], NOW, 1)) == {Outcome.REDELIVERED}
    store.refresh()
    assert store.post_count() == len(years) + 1
    found = list(store.documents(datetime(2003, 1, 1, tzinfo=UTC), datetime(2005, 1, 1, tzinfo=UTC)))
    assert len(found) == 2
    assert store.replace([with_labels(d, topic="sports") for d in found], 2) == 2
    assert "from before" in store.check()


def test_days_of_the_past_are_marked_in_one_request(store: ElasticsearchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []
    perform = store.connection._es.transport.perform_request
    monkeypatch.setattr(
        store.connection._es.transport, "perform_request",
        lambda method, path, **more: (requests.append(path), perform(method, path, **more))[1],
    )  # fmt: skip
    days = [datetime(2015, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(512)]
    store.index([at(i, day) for i, day in enumerate(days)], NOW, 1)
    assert len(requests) < 30
    assert store.state(json_key("changed-2015-06-01"))


def test_a_limit_of_shards_is_waited_for_and_raising_it_is_enough(url: str, store: ElasticsearchStore) -> None:
    shards = ask(url, "GET", "_cluster/stats")["indices"]["shards"]["total"]
    ask(url, "PUT", "_cluster/settings", {"persistent": {"cluster.max_shards_per_node": shards}})
    old = at(1, datetime(2011, 5, 5, tzinfo=UTC))
    with pytest.raises(Transient, match=r"maximum normal shards open.*max_shards_per_node"):
        store.index([old], NOW, 1)
    ask(url, "PUT", "_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}})
    assert store.index([old], NOW, 1) == [Outcome.INDEXED]


def test_a_closed_index_is_named_and_opening_it_is_enough(url: str, store: ElasticsearchStore) -> None:
    store.index([at(1, NOW)], NOW, 1)
    ask(url, "POST", "opinion-posts/_close")
    for use in (lambda: store.index([at(2, NOW)], NOW, 1), store.check, lambda: list(store.ids())):
        with pytest.raises(Transient, match=f"(?s){TODAY}.*_open"):
            use()
    ask(url, "POST", f"{TODAY}/_open")
    assert store.index([at(2, NOW)], NOW, 1) == [Outcome.INDEXED]


def test_an_alert_of_a_closed_index_is_not_taken_for_missing(url: str, store: ElasticsearchStore) -> None:
    store.put_alert(an_alert(started_at=NOW.isoformat()))
    ask(url, "POST", "opinion-alerts/_close")
    for use in (lambda: store.alert("a"), store.alerts, lambda: store.alerts(limit=20_000)):
        with pytest.raises(Transient, match="opinion-alerts/_open"):
            use()
    ask(url, "POST", "opinion-alerts/_open")
    assert store.alert("a")


def test_old_indices_may_be_closed_on_purpose(url: str, store: ElasticsearchStore) -> None:
    store.index([at(1, NOW), at(2, datetime(2011, 5, 5, tzinfo=UTC))], NOW, 1)
    ask(url, "POST", "opinion-posts-2011/_close")
    store.refresh()
    assert "closed and not searched: opinion-posts-2011" in store.check()
    assert store.post_count() == 1


def test_a_block_is_told_in_the_servers_words(url: str, store: ElasticsearchStore) -> None:
    store.index([at(1, NOW)], NOW, 1)
    ask(url, "PUT", f"{TODAY}/_settings", {"index.blocks.read_only": True})
    with pytest.raises(Transient, match="index read-only"):
        store.index([at(2, NOW)], NOW, 1)
    with pytest.raises(Transient, match="blocked.*read_only"):
        store.check()
    ask(url, "PUT", f"{TODAY}/_settings", {"index.blocks.read_only": False})


def test_an_index_in_the_place_of_the_alias_is_named_with_the_way_out(url: str) -> None:
    ask(url, "PUT", "opinion-posts")
    store = ElasticsearchStore(url)
    for use in (store.setup, store.check, lambda: store.index([at(1, NOW)], NOW, 1)):
        with pytest.raises(Fatal, match=r"opinion-posts is an index.*DELETE /opinion-posts.*opinionwatch setup"):
            use()
    ask(url, "DELETE", "opinion-posts")
    store.setup()
    store.check()


def test_a_template_that_takes_the_place_of_ours_is_named(url: str, store: ElasticsearchStore) -> None:
    ask(url, "PUT", "_index_template/everything", {"index_patterns": ["opinion-*"], "priority": 500, "template": {}})
    try:
        for use in (ElasticsearchStore(url).setup, ElasticsearchStore(url).check):
            with pytest.raises(Fatal, match="template everything .priority 500.*opinion-*"):
                use()
    finally:
        ask(url, "DELETE", "_index_template/everything")
    store.check()


def test_a_period_or_date_that_would_misplace_posts_is_refused(url: str, store: ElasticsearchStore) -> None:
    store.index([at(1, NOW), at(2, datetime(2011, 5, 5, tzinfo=UTC))], NOW, 1)
    with pytest.raises(Fatal, match="store.period.*setup fixed it"):
        ElasticsearchStore(url, period="day").check()
    with pytest.raises(Fatal, match=f"{TODAY}.*other indices"):
        ElasticsearchStore(url, period="day").setup()
    for date in (NOW.date() + timedelta(days=40), datetime(2011, 2, 1, tzinfo=UTC).date()):
        with pytest.raises(Fatal, match="other indices"):
            ElasticsearchStore(url, backfill_before=date).setup()
    moved = NOW.date().replace(day=1)
    with pytest.raises(Fatal, match="backfill_before"):
        ElasticsearchStore(url, backfill_before=moved).check()
    assert ElasticsearchStore(url, backfill_before=moved).setup() == [
        f"one index per year for posts from before {moved}"
    ]
    ElasticsearchStore(url, backfill_before=moved).check()
    late = [at(3, datetime(2012, 5, 5, tzinfo=UTC)), at(4, datetime.combine(moved, NOW.timetz()) - timedelta(days=20))]
    with pytest.raises(Transient, match="setup has moved"):
        store.index(late, NOW, 1)
    assert store.index(late, NOW, 1) == [Outcome.INDEXED] * 2
    names = sorted(ask(url, "GET", "opinion-posts/_alias"))
    assert TODAY in names
    assert all(len(name) == len("opinion-posts-2012") for name in names if name != TODAY)


def test_more_alerts_than_one_answer_holds_are_listed(system: System) -> None:
    url = system.env["OPINIONWATCH_STORE__URL"]
    lines = []
    for number in range(12_000):
        started = (NOW - timedelta(minutes=number)).isoformat()
        document = {"key": "k", "severity": "warning", "state": "resolved", "started_at": started}
        lines += [{"index": {"_id": f"a{number}"}}, document]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    request = urllib.request.Request(
        f"{url}/opinion-alerts/_bulk?refresh=true", body, {"Content-Type": "application/x-ndjson"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=60).close()
    found = system.store.alerts(limit=11_000)
    assert [alert.id for alert in found] == [f"a{i}" for i in range(11_000)]


def test_more_alerts_may_be_asked_for_than_a_window_holds(system: System) -> None:
    system.store.put_alert(an_alert(state="resolved", started_at=NOW.isoformat()))
    assert [a["id"] for a in system.cli("alerts", "list", "--limit", "20000", "--json")] == ["a"]


def test_a_state_that_cannot_be_read_is_not_taken_for_missing(url: str, store: ElasticsearchStore) -> None:
    store.put_state(json_key("operator-x"), {"acknowledged_by": "ann"})
    ask(url, "POST", "opinion-state/_close")
    for read in (lambda: store.state(json_key("operator-x")), lambda: store.states([json_key("operator-x")])):
        with pytest.raises(Transient, match="opinion-state"):
            read()
    ask(url, "POST", "opinion-state/_open")
    assert store.states([json_key("operator-x"), json_key("none")]) == {
        json_key("operator-x"): {"acknowledged_by": "ann"}
    }
