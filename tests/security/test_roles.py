"""Each role of deploy/elasticsearch/roles.yml does its work and is refused what it must not do, on a real server."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.factory import make_evaluator
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal
from pipeline.domain.post import Outcome
from pipeline.domain.progress import Progress
from pipeline.service.status import from_store
from pipeline.settings import AlertSettings
from pipeline.store.elasticsearch.store import ElasticsearchStore
from pipeline.store.protocol import Store
from tests.builders import START, an_alert, json_key, scored
from tests.services.elasticsearch import ElasticsearchServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
ROLES = Path(__file__).resolve().parents[2] / "deploy" / "elasticsearch" / "roles.yml"
NAMES = ("setup", "classify", "alert", "console", "training")
END = START + timedelta(days=1)


class Secured:
    """A server with security on; `store(role)` is a store of that role's user."""

    def __init__(self, folder: Path) -> None:
        self.password = secrets.token_hex(16)
        users = {f"u-{n}": (self.password, f"opinionwatch_{n}") for n in NAMES}
        self.server = ElasticsearchServer(folder, users=users, roles_file=ROLES)
        self.server.start()
        self._open: list[ElasticsearchStore] = []

    def store(self, role: str, password: str | None = None) -> ElasticsearchStore:
        made = ElasticsearchStore(self.server.url, username=f"u-{role}", password=password or self.password)
        self._open.append(made)
        return made

    def request(self, role: str, method: str, path: str, body: Any = None) -> int:
        """The status that a raw request of that role gets."""
        data = None if body is None else json.dumps(body).encode()
        token = b64encode(f"u-{role}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        try:
            made = urllib.request.Request(f"{self.server.url}/{path}", data, headers, method=method)
            with urllib.request.urlopen(made, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def close(self) -> None:
        for store in self._open:
            store.close()
        self.server.process.kill()


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    folder = Path(tempfile.mkdtemp(prefix="opinionwatch-secured-"))
    made = Secured(folder)
    made.store("setup").setup()
    made.store("classify").index([scored(1, sentiment="negative")], START, 1)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


def evaluate(store: Store) -> None:
    evaluator: Evaluator = make_evaluator(store, AlertSettings())
    evaluator.resume()
    for _ in evaluator.advance(END):
        pass
    evaluator.save()


def test_each_role_does_its_work(secured: Secured) -> None:
    classify, alert = secured.store("classify"), secured.store("alert")
    assert "posts" in classify.check()
    earlier = [scored(i, minute=i - 60 * 24 * 200) for i in range(10, 15)]
    assert classify.index(earlier, START, 1) == [Outcome.INDEXED] * 5, "the index of a new period is made"
    assert classify.index(earlier, START, 1) == [Outcome.REDELIVERED] * 5
    classify.save_progress([Progress("t", 0, 5, 5, START, 5)])
    assert classify.load_progress()
    classify.put_state(json_key("model"), {"name": "starter"})
    alert.check()
    evaluate(alert)
    alert.put_alert(an_alert())
    assert alert.alerts(open_only=True)
    console = secured.store("console")
    console.check()
    assert from_store(console).open_alerts == 1
    assert console.search("post", 5)
    training = secured.store("training")
    training.put_annotations([Annotation("p", "sentiment", "negative", "ann", START, "text")])
    found = list(training.documents(START, END))
    assert training.replace(found[:1], 7) == 1
    (label,) = training.annotations()
    assert training.drop_annotations([label]) == 1


REFUSED: dict[str, Callable[[Secured], Any]] = {
    "classify writes alerts": lambda s: s.store("classify").put_alert(an_alert("x")),
    "classify writes labels": lambda s: s.store("classify").put_annotations(
        [Annotation("p", "h", "x", "a", START, "t")]
    ),
    "classify makes templates": lambda s: s.store("classify").setup(),
    "alert drops labels": lambda s: s.store("alert").drop_annotations([Annotation("p", "h", "x", "a", START, "t")]),
    "alert writes posts": lambda s: s.store("alert").index([scored(2)], START, 1),
    "alert writes labels": lambda s: s.store("alert").put_annotations([Annotation("p", "h", "x", "a", START, "t")]),
    "console writes posts": lambda s: s.store("console").index([scored(2)], START, 1),
    "console writes alerts": lambda s: s.store("console").put_alert(an_alert("x")),
    "console writes state": lambda s: s.store("console").put_state(json_key("evaluator"), {}),
    "training writes alerts": lambda s: s.store("training").put_alert(an_alert("x")),
    "a wrong password": lambda s: s.store("console", "wrong").counts(START, END, NegativeDefinition()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_each_role_is_refused_what_it_must_not_do(secured: Secured, what: str) -> None:
    with pytest.raises(Fatal, match=r"40[13]|refuses writes") as refused:
        REFUSED[what](secured)
    assert secured.password not in str(refused.value)


@pytest.mark.parametrize("role", ["classify", "alert", "console", "training"])
def test_nobody_deletes_and_nobody_rules(secured: Secured, role: str) -> None:
    assert secured.request(role, "DELETE", "opinion-posts-2026.03") == 403
    assert secured.request(role, "POST", "opinion-posts/_delete_by_query", {"query": {"match_all": {}}}) in {403, 400}
    assert secured.request(role, "PUT", "_security/user/mallory", {"password": "longenough", "roles": []}) == 403
    assert (
        secured.request(role, "PUT", "_cluster/settings", {"persistent": {"action.auto_create_index": "true"}}) == 403
    )
    assert secured.request(role, "PUT", "other-index") == 403
