"""`opinionwatch labels import|export|queue|stats|drop`."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from models.bundle import BundleError, read_manifest
from models.engine import OnnxEngine
from models.files.annotation_files import LabelFileError, LabelledText, read_label_file
from models.registry import CHALLENGER, Registry
from models.text import content_hash
from pipeline.annotation.queue import Candidate, candidates, frequencies, in_turns, new_words
from pipeline.annotation.relabelling import correct_posts, retract
from pipeline.annotation.retraining_rows import labels_known
from pipeline.annotation.statistics import exported, summary
from pipeline.classify.model_provider import open_classifier, refused
from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.cli.out_file import written
from pipeline.domain.annotation import Annotation
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.domain.post import EPOCH
from pipeline.domain.times import read_time
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

app = typer.Typer(
    help="Labels that people give: the queue, the import, what they disagree about.", no_args_is_help=True
)
HeadName = Annotated[str | None, typer.Option("--head", help="Head of labels that name none (default: alerts.head).")]
_SHOWN = 20
#: Texts that the challenger gets at once.
_AT_ONCE = 512


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, CSV, or an export of Label Studio, doccano, Argilla or Prodigy; - reads stdin."),
    ],
    head: HeadName = None,
    annotator: Annotated[str | None, typer.Option("--annotator", help="Of rows that name none.")] = None,
    text_field: Annotated[str | None, typer.Option("--text-field", help="The field that is the text.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="In place of what the content says.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Takes labels into the store and corrects the posts they belong to; a second import changes nothing.

    An annotation that is older than the one the store has of the same person changes nothing either.

    Example: opinionwatch labels import corrections.jsonl --head sentiment
    """
    settings = settings_of(config)
    known = classes_of(settings)
    try:
        found = read_label_file(file, head or settings.alerts.head, known, text_field, encoding)
    except LabelFileError as error:
        raise Fatal(str(error), "", EXIT_USAGE) from None
    refused = [str(p) for p in found.problems]
    store = open_store(settings.store)
    labels: list[Annotation] = []
    for row in found.rows:
        bad = [f"{row.place}: {_unknown(h, x, known)}" for h, x in row.labels.items() if x not in known.get(h, ())]
        refused += bad
        if not bad:
            labels += _labels(row, store, annotator or getpass.getuser())
    there = {x.id: x.at for x in store.annotations()}
    newest = {x.id: x for x in sorted(labels, key=lambda x: x.at)}
    taken = [x for x in newest.values() if x.id not in there or x.at >= there[x.id]]
    older = len(labels) - len(taken)
    store.put_annotations(taken)
    posts = correct_posts(store, taken, settings.alerts.counting, datetime.now(UTC))
    if as_json:
        counts = {"imported": len(taken), "older": older, "refused": len(refused), "posts_corrected": posts}
        print_json({**counts, "reasons": refused, "unknown_columns": found.unknown})
    else:
        for line in refused[:_SHOWN]:
            err.print(line, markup=False)
        if found.unknown:
            err.print(f"not used, no heads of the model: {', '.join(found.unknown)}", markup=False)
        out.print(
            f"imported {len(taken)} labels, {older} older than the store's, refused {len(refused)} rows, "
            f"corrected {posts} posts"
        )
    if not labels:
        why = refused[0] if refused else "it holds no row"
        raise Fatal(f"{file}: no label could be used: {why}", "see the reasons above", EXIT_USAGE)
    if broken := [p.place for p in found.problems if p.structural]:
        raise Fatal(f"{', '.join(broken[:5])}: the file is broken there", "correct it and import it again", EXIT_USAGE)


@app.command()
def export(
    out_file: Annotated[Path | None, typer.Option("--out", help="Where to write (default: standard output).")] = None,
    config: Config = None,
) -> None:
    """All labels as JSONL, one text a line, as 'labels import' and 'train --data' read it.

    Example: opinionwatch labels export --out labels.jsonl
    """
    store = open_store(settings_of(config).store)
    with ExitStack() as stack:
        target = stack.enter_context(written(out_file)) if out_file else sys.stdout
        for row in exported(store):
            target.write(json.dumps(row, ensure_ascii=False) + "\n")


@app.command()
def queue(
    limit: Annotated[int, typer.Option("--limit", min=1)] = 50,
    days: Annotated[
        float, typer.Option("--days", min=0.01, max=36_500, help="Of event time, up to the newest post.")
    ] = 7.0,
    head: HeadName = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Posts to label next, topics in turn: where the model is unsure or the challenger differs, new words, alerts.

    Example: opinionwatch labels queue --limit 100 --json > to-label.json
    """
    settings = settings_of(config)
    chosen = _to_label(settings, open_store(settings.store), timedelta(days=days), head or settings.alerts.head, limit)
    if as_json:
        print_json([_queued(c) for c in chosen])
        return
    for c in chosen:
        post = c.document.post
        text = " ".join((post.title or post.text).split())[:80]
        labels = ", ".join(c.document.labels.values())
        out.print(f"{post.id[:12]}  {c.worth:.2f}  {labels}  {text}", markup=False)
        out.print(f"{'':14}{'; '.join(c.why)}", markup=False, style="dim")
    if not chosen:
        out.print("nothing to label: no post in that time that has no label yet")


@app.command()
def drop(
    annotator: Annotated[str | None, typer.Option("--annotator", help="Only labels of this person.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only labels given from then on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only labels given before then (ISO 8601).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Takes labels back for good, e.g. an import that the gate refused: their posts are as the model has them again.

    Example: opinionwatch labels drop --annotator ann --since 2026-11-20 --dry-run
    """
    if annotator is None and since is None and until is None:
        raise Fatal("labels drop: all labels?", "say which: --annotator, --since or --until", EXIT_USAGE)
    settings = settings_of(config)
    store = open_store(settings.store)
    start, end = _time("--since", since), _time("--until", until)
    there = list(store.annotations())
    chosen = [
        x
        for x in there
        if annotator in (None, x.annotator) and (start is None or x.at >= start) and (end is None or x.at < end)
    ]
    said = summary(chosen)
    if not as_json:
        for head, row in said["heads"].items():
            counts = _listed(row["classes"])
            people = ", ".join(f"{n} by {who}" for who, n in row["annotators"].items())
            out.print(f"  {head}: {counts}; {people}", markup=False)
    dropped = posts = 0
    if chosen and not dry_run:
        if not yes and not typer.confirm(f"drop {len(chosen)} of {len(there)} labels?", err=True):
            raise typer.Exit(1)
        classifier = open_classifier(settings.model)
        dropped, posts = retract(store, classifier, chosen, settings.alerts.counting, datetime.now(UTC))
        labels_known(store, len(there) - dropped)
    if as_json:
        print_json({"chosen": len(chosen), "dropped": dropped, "posts": posts, "dry_run": dry_run, **said})
    else:
        out.print(
            f"would drop {len(chosen)} labels" if dry_run else f"dropped {dropped} labels, put back {posts} posts"
        )


@app.command()
def stats(as_json: AsJson = False, config: Config = None) -> None:
    """How many labels there are, by whom, how often the model was right, and how far annotators agree.

    Example: opinionwatch labels stats
    """
    found = summary(list(open_store(settings_of(config).store).annotations()))
    if as_json:
        print_json(found)
        return
    out.print(f"{found['labels']} labels on {found['texts']} texts")
    for head, row in found["heads"].items():
        counts = _listed(row["classes"])
        right = f"; the model was right in {row['model_right']:.0%}" if row["model_right"] is not None else ""
        out.print(f"  {head}: {counts}{right}", markup=False)
    for pair in found["agreement"]:
        out.print(
            f"  {pair['head']}: {pair['annotators'][0]} and {pair['annotators'][1]} agree with kappa "
            f"{pair['kappa']:.2f} on {pair['texts']} texts",
            markup=False,
        )


def classes_of(settings: Settings) -> dict[str, list[str]]:
    """Heads and classes of the model in service, from its manifest alone."""
    folder = Path(settings.model.bundle)
    try:
        if settings.model.registry:
            registry = Registry(settings.model.registry, trusted=settings.model.trusted_keys)
            champion = registry.alias(settings.model.alias)
            folder = registry.fetch(champion) if champion else folder
        return {h.name: h.labels for h in read_manifest(folder).heads}
    except (BundleError, ValueError) as error:
        raise refused(settings.model, error) from None


def _listed(classes: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {label}" for label, n in classes.items())


def _time(option: str, given: str | None) -> datetime | None:
    """In UTC where no zone is given."""
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise Fatal(
            f"{option}: {given!r} is no time", "write it as 2026-11-20 or 2026-11-20T08:00:00Z", EXIT_USAGE
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _unknown(head: str, label: str, known: Mapping[str, list[str]]) -> str:
    if head not in known:
        return f"head {head!r} is none of the model's ({', '.join(known)})"
    return f"label {label!r} is no class of {head!r} ({', '.join(known[head])})"


def _labels(row: LabelledText, store: Store, annotator: str) -> list[Annotation]:
    post = store.post(row.id) if len(row.id) == 64 else None
    now = datetime.now(UTC)
    # A time that cannot be read makes an annotation older than any other, one ahead of the clock as new as this import.
    at = min(read_time(_number(row.at)) or EPOCH, now) if row.at else now
    said = {**(post.labels if post and not post.corrected else {}), **row.suggested}
    model = post.model if post else ""
    return [
        Annotation(
            post=row.id if post else content_hash(row.full_text),
            head=head,
            label=label,
            annotator=row.annotator or annotator,
            at=at,
            text=row.full_text,
            source=row.source or (post.post.source if post else ""),
            lang=row.lang or (post.post.lang if post else ""),
            suggested=said.get(head, ""),
            model=model,
        )
        for head, label in row.labels.items()
    ]


def _number(text: str) -> str | float:
    """What a tool wrote as a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _to_label(settings: Settings, store: Store, time: timedelta, head: str, limit: int) -> list[Candidate]:
    bounds = store.bounds()
    if bounds is None:
        return []
    end = bounds[1] + timedelta(seconds=1)
    start = end - time
    found = candidates(
        store.documents(start, end),
        labelled=frozenset(x.post for x in store.annotations()),
        evidence=frozenset(post.id for alert in store.alerts(limit=100) for post in alert.evidence),
        new=new_words(frequencies(store.documents(start, end)), frequencies(store.documents(start - time, start))),
        head=head,
        per_topic=limit,
    )
    challenger = _challenger(settings)
    if challenger is not None and head in challenger.heads:
        found = _judged(found, challenger, head)
    return in_turns(found, limit)


def _challenger(settings: Settings) -> OnnxEngine | None:
    """The model that waits for its promotion; None where there is none, it is the champion, or it cannot be opened."""
    if not settings.model.registry:
        return None
    try:
        registry = Registry(settings.model.registry, trusted=settings.model.trusted_keys)
        waiting = registry.alias(CHALLENGER)
        if waiting is None or waiting == registry.alias(settings.model.alias):
            return None
        return open_classifier(settings.model.model_copy(update={"alias": CHALLENGER}))
    except (Fatal, ValueError) as error:
        err.print(f"the challenger is not asked: {error}", markup=False)
        return None


def _judged(found: list[Candidate], challenger: OnnxEngine, head: str) -> list[Candidate]:
    said: list[str] = []
    for at in range(0, len(found), _AT_ONCE):
        texts = [c.document.post.full_text for c in found[at : at + _AT_ONCE]]
        said += [p.label(head) for p in challenger.predict(texts)]
    return [
        replace(c, challenger=label) if label != c.document.labels.get(head) else c
        for c, label in zip(found, said, strict=True)
    ]


def _queued(candidate: Candidate) -> dict[str, Any]:
    body = candidate.document.to_json()
    return {
        "post": candidate.document.id,
        **{name: body[name] for name in ("title", "text", "url", "source", "lang")},
        "worth": round(candidate.worth, 4),
        "why": candidate.why,
        "suggested": body["labels"],
        "model": body["model"],
    }
