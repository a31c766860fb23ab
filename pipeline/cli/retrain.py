"""`opinionwatch retrain`: the scheduled job. Idempotent, locked, and safe to kill at any point."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Annotated, Any

import typer

from models.bundle import load_bundle, read_manifest
from models.folders import private_folder
from models.registry import CHALLENGER, CHAMPION, Registry
from models.signing import public_of, sign
from pipeline.annotation.relabelling import relabel_last
from pipeline.annotation.retraining_rows import alert_rates, labels_known, write_rows
from pipeline.cli.common import AsJson, Config, err, out, posts_bar, print_json, settings_of
from pipeline.cli.models import refusing as registry_refusing
from pipeline.cli.models import registry_of
from pipeline.cli.training import refusing, training
from pipeline.domain.errors import Fatal
from pipeline.domain.states import LAST_TRAINING, LastTraining
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

_BY = "retrain"


def retrain(
    min_new_labels: Annotated[
        int | None, typer.Option("--min-new-labels", min=1, help="Below it, nothing is done (training.min_new_labels).")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Fine-tunes the champion on the labels, lets the gate judge the result, and promotes it where it is better.

    For cron, a systemd timer or a CronJob: with nothing new it says so and exits 0; two never train at once; after a
    crash the next run goes on; the champion serves all the while.

    Example: opinionwatch retrain --min-new-labels 200
    """
    settings = settings_of(config, training__min_new_labels=min_new_labels)
    registry, store = registry_refusing(lambda: _trusting(settings)), open_store(settings.store)
    try:
        work = private_folder(Path(settings.training.work).resolve())
    except OSError as error:
        raise Fatal(f"training.work: {error}", "give a folder that belongs to this user") from None
    with _locked(work) as free:
        done = _run(settings, registry, store, work) if free else {"outcome": "locked", "reason": "another one runs"}
    if as_json:
        print_json(done)
        return
    out.print(f"{done['outcome']}: {done['reason']}", markup=False)
    if done["outcome"] == "refused":
        out.print(
            "Labels that are wrong: see 'opinionwatch labels stats', take them back with 'opinionwatch labels drop'."
        )


def _trusting(settings: Settings) -> Registry:
    """The registry, which hands out only what may serve: a signature of ours must not stand on what nobody signed.

    Without `model.trusted_keys`, the key that signs new bundles must have signed the champion, too.
    """
    key, trusted = settings.training.signing_key, list(settings.model.trusted_keys)
    own = [public_of(Path(key))] if key and not trusted else []
    return registry_of(settings, [*trusted, *own])


def _run(settings: Settings, registry: Registry, store: Store, work: Path) -> dict[str, Any]:
    champion = registry_refusing(lambda: registry.alias(CHAMPION))
    if champion is None:
        raise Fatal("the registry has no champion", "register and promote one: 'opinionwatch models register BUNDLE'")
    begun = work / "run.json"
    if begun.exists():
        run = json.loads(begun.read_text("utf-8"))
        err.print(f"going on with the run of {run['at']}", markup=False)
    else:
        labels = list(store.annotations())
        fresh = len(labels) - labels_known(store, len(labels))
        if fresh < settings.training.min_new_labels:
            wanted = settings.training.min_new_labels
            return {"outcome": "nothing new", "reason": f"{fresh} new labels, {wanted} wanted", "new_labels": fresh}
        run = _begin(settings, registry, store, work, champion, len(labels), fresh)
    done = _train_and_judge(settings, registry, store, work, run)
    store.put_state(LAST_TRAINING, LastTraining(run["labels"], datetime.fromisoformat(run["at"]), done["outcome"]))
    begun.unlink()
    return done


def _begin(
    settings: Settings, registry: Registry, store: Store, work: Path, champion: str, labels: int, fresh: int
) -> dict[str, Any]:
    """Freezes the data of the run, so that one that was killed goes on with the same."""
    manifest = registry_refusing(lambda: registry.verify(champion)).manifest
    heads = {h.name: h.labels for h in manifest.heads}
    counts = write_rows(store, work / "rows.jsonl", heads, settings.training.rehearsal)
    at = datetime.now(UTC)
    run = {
        "at": at.isoformat(timespec="seconds"),
        "champion": champion,
        "version": f"{at:%Y%m%d.%H%M%S}",
        "labels": labels,
        "new_labels": fresh,
        "rows": dict(counts),
    }
    (work / "run.json").write_text(json.dumps(run), "utf-8")
    return run


def _train_and_judge(
    settings: Settings, registry: Registry, store: Store, work: Path, run: dict[str, Any]
) -> dict[str, Any]:
    command, gate = training("train"), training("evaluation.gate")
    champion = registry_refusing(lambda: registry.checkout(run["champion"]))
    name, target = read_manifest(champion).name, work / "bundle"
    request = training("request").Request(
        out=target,
        base=str(champion),
        version=run["version"],
        config=Path(settings.training.recipe) if settings.training.recipe else training("config").RETRAIN_RECIPE,
        data=(work / "rows.jsonl", *map(Path, settings.training.data)),
        name=name,
        for_gpu=settings.training.for_gpu,
    )
    report = refusing(lambda: command.train(request, lambda line: err.print(line, markup=False)))
    if settings.training.signing_key:
        registry_refusing(lambda: sign(target, Path(settings.training.signing_key)))
    entry = registry_refusing(lambda: registry.register(target, by=_BY))
    registry.point(CHALLENGER, entry.id, by=_BY, reason=f"trained on {run['new_labels']} new labels")
    challenger = load_bundle(target, settings.model.device)
    rates = alert_rates(store, challenger, settings.alerts)
    policy = gate.Policy(worse_by=settings.training.worse_by, class_falls_by=settings.training.class_falls_by)
    golden = [Path(p) for p in settings.training.golden]
    compare = training("evaluation.comparison").compare
    verdict = refusing(lambda: compare(champion, target, work / "rows.jsonl", golden, policy, rates))
    path = work / f"verdict-{entry.id}.json"
    path.write_text(json.dumps(verdict, ensure_ascii=False, indent=1), "utf-8")
    done = {
        "reason": verdict["reason"],
        "champion": run["champion"],
        "challenger": entry.id,
        "new_labels": run["new_labels"],
        "rows": run["rows"],
        "minutes": report["minutes"],
        "accuracy": verdict["accuracy"],
        "checks": verdict["checks"],
        "verdict": str(path),
    }
    if not verdict["promoted"]:
        return {"outcome": "refused", **done}
    if settings.training.promote == "by_hand":
        done["reason"] = f"{verdict['reason']}; promote it with 'opinionwatch models promote {entry.id}'"
        return {"outcome": "passed", **done}
    if settings.training.relabel_days:
        days = settings.training.relabel_days
        with posts_bar() as tell:
            read, written = relabel_last(store, challenger, settings.alerts.counting, days, tell)
        done["relabelled"] = written
        err.print(f"{written} of {read} posts of the last {days:g} days carry the labels of {entry.id}", markup=False)
    registry.point(CHAMPION, entry.id, by=_BY, reason=verdict["reason"])
    return {"outcome": "promoted", **done}


@contextmanager
def _locked(work: Path) -> Iterator[bool]:
    with (work / ".lock").open("w") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
