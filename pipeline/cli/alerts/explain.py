"""Gathers everything that `alerts why` shows about a key at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.source_outage import SOURCE_OUTAGES
from pipeline.alerting.counting.table import scopes_of
from pipeline.alerting.evaluation.calibration import extent
from pipeline.alerting.evaluation.factory import key_overrides, make_replay
from pipeline.alerting.evaluation.negative_lane import KeyVerdict
from pipeline.alerting.evaluation.overrides import least_authors
from pipeline.alerting.evaluation.state import evaluated_to
from pipeline.alerting.evaluation.why import Explanation, Surroundings, near
from pipeline.alerting.notify.status import notification_status, operators
from pipeline.domain.alert import NEGATIVE, Alert
from pipeline.domain.counting import BUCKET_S, Scope, bucket_start
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.settings import AlertSettings, Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import CountingStore, MonitoringStore, StateStore

#: Days before the requested time that the answer shows.
DAYS = 7


def explain(settings: Settings, key: str, at: str | None) -> Explanation:
    """Evaluates the key again at a time and says why it alerts or not.

    Raises `Fatal` where the index holds no posts, or none of the key, or where `at` is outside of the index.
    """
    store = open_store(settings.store)
    now = datetime.now(UTC)
    store.refresh()
    bounds = extent(store, now)
    if bounds is None:
        raise Fatal("the index holds no posts", "run the classify role first", EXIT_UNAVAILABLE)
    replay = make_replay(store, settings.alerts)
    moment = _moment(at, bounds, store)
    alerts = [alert for alert in store.alerts() if alert.lane == NEGATIVE]
    seen, known = replay.observe(key, moment, alerts)
    if seen is None:
        raise _unknown(key, moment, known, settings.subjects)
    return Explanation(seen, _surroundings(store, settings.alerts, seen, alerts, now))


def _unknown(key: str, at: datetime, known: Sequence[str], subjects: Collection[str]) -> Fatal:
    if key.removeprefix("subject:") in subjects and key.startswith("subject:"):
        remedy = "no post named this subject by then: check its keywords in [subjects], or ask for a later time"
    elif found := near(key, known):
        remedy = f"did you mean {', '.join(found)}?"
    else:
        remedy = f"give a key such as {', '.join(sorted(known, key=len)[:3]) or 'subject:NAME'}"
    return Fatal(
        f"no post of key {key!r} was counted in the four weeks before {at:%d %b %H:%M} UTC", remedy, EXIT_USAGE
    )


def _moment(text: str | None, bounds: tuple[datetime, datetime], store: StateStore) -> datetime:
    """The end of the bucket to explain."""
    newest = datetime.fromtimestamp(bucket_start(bounds[1].timestamp()) + BUCKET_S, UTC)
    if text is None:
        cursor = evaluated_to(store)
        return newest if cursor is None else max(newest, cursor)
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Fatal(f"--at {text!r} is not a time", "write e.g. 2026-11-27T20:15Z", EXIT_USAGE) from None
    if not bounds[0] <= at <= newest + timedelta(days=1):
        raise Fatal(
            f"--at {at:%Y-%m-%d %H:%M} UTC lies outside the index",
            f"the index holds {bounds[0]:%Y-%m-%d %H:%M} to {bounds[1]:%Y-%m-%d %H:%M} UTC",
            EXIT_USAGE,
        )
    return at


def _surroundings(
    store: MonitoringStore, settings: AlertSettings, seen: KeyVerdict, alerts: list[Alert], now: datetime
) -> Surroundings:
    at = seen.observation.at
    mine = [alert for alert in alerts if alert.key == seen.key and alert.started_at <= at]
    alert = max(mine, key=lambda alert: alert.started_at) if mine else None
    least = least_authors(settings.min_authors, key_overrides(settings), seen.key)
    begin = at - timedelta(seconds=seen.observation.window_s)
    evidence = EvidenceReader(store, settings.counting)
    wrote = evidence.distinct_authors(seen.scope, NEGATIVE, begin, at) if least > 1 and seen.observation.posts else 0
    lag = {f"{topic}/{partition}": p.lag for (topic, partition), p in store.load_progress().items() if p.lag}
    return Surroundings(
        alert=alert,
        notified=notification_status(alert, operators(store, [alert])[alert.id], now) if alert else "",
        lag=lag,
        outage=[outage.source for outage in outages.sources] if (outages := store.state(SOURCE_OUTAGES)) else [],
        authors=(wrote, least) if least > 1 else None,
        days=_days(store, settings, seen.scope, at),
        evaluated_to=evaluated_to(store),
    )


def _days(store: CountingStore, settings: AlertSettings, scope: Scope, at: datetime) -> Mapping[str, tuple[int, int]]:
    """Posts and negatives of the key per day (UTC)."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    start = (at - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    for since, _, cells in CountCache(store, settings.counting, keep=False).days(start, at):
        mine = [cell for cell in cells if scope in scopes_of(cell)]
        found[f"{since:%Y-%m-%d}"] = sum(c.posts for c in mine), sum(c.negatives for c in mine)
    return found
