"""Reads a file of labels, stores them as annotations and corrects the posts that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.bundle import BundleError, read_manifest
from models.files.annotation_files import LabelFileError, LabelledText, read_label_file
from models.json_types import JsonObject
from models.registry import Registry
from models.text import content_hash
from pipeline.annotation.relabelling import correct_posts
from pipeline.classify.model_provider import refused
from pipeline.classify.subjects import SubjectMatcher, matcher
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import TOWARD_CLASSES, TOWARD_HEAD
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.domain.post import EPOCH
from pipeline.domain.post_document import PostDocument
from pipeline.domain.times import read_time
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    `older` labels were given before the stored ones of the same person; `refused` names each row that was not used and
    why; `broken` names the places where the file itself is broken.
    """

    imported: int
    older: int
    posts: int
    refused: Sequence[str]
    unknown_columns: Sequence[str]
    broken: Sequence[str]

    def to_json(self) -> JsonObject:
        return {
            "imported": self.imported,
            "older": self.older,
            "refused": len(self.refused),
            "posts_corrected": self.posts,
            "reasons": self.refused,
            "unknown_columns": self.unknown_columns,
        }

    def verify(self, file: Path) -> None:
        """Raises `Fatal` where no label could be used, or where the file is broken."""
        if not self.imported + self.older:
            why = self.refused[0] if self.refused else "it holds no row"
            raise Fatal(f"{file}: no label could be used: {why}", "correct the rows and import it again", EXIT_USAGE)
        if self.broken:
            raise Fatal(
                f"{', '.join(self.broken[:5])}: the file is broken there", "correct it and import it again", EXIT_USAGE
            )


def import_labels(
    settings: Settings, file: Path, head: str, annotator: str, text_field: str | None, encoding: str | None
) -> Imported:
    """`head` and `annotator` belong to rows that name none; raises `Fatal` for a file that cannot be read."""
    known = {**classes_of(settings), TOWARD_HEAD: list(TOWARD_CLASSES)}
    try:
        found = read_label_file(file, head, known, text_field, encoding)
    except LabelFileError as error:
        raise Fatal(str(error), "", EXIT_USAGE) from None
    refusals, subjects = [str(p) for p in found.problems], matcher(settings)
    store = open_store(settings.store)
    labels: list[Annotation] = []
    for row in found.rows:
        bad = [f"{row.place}: {_unknown(h, x, known)}" for h, x in row.labels.items() if x not in known.get(h, ())]
        refusals += bad
        if not bad:
            try:
                labels += _annotations(row, store, annotator, subjects)
            except ValueError as error:
                refusals.append(f"{row.place}: {error}")
    stored_at = {x.id: x.at for x in store.annotations()}
    newest = {x.id: x for x in sorted(labels, key=lambda x: x.at)}
    taken = [x for x in newest.values() if x.id not in stored_at or x.at >= stored_at[x.id]]
    store.put_annotations(taken)
    posts = correct_posts(store, taken, settings.alerts.counting, datetime.now(UTC))
    broken = [p.place for p in found.problems if p.structural]
    return Imported(len(taken), len(labels) - len(taken), posts, refusals, found.unknown, broken)


def classes_of(settings: Settings) -> dict[str, list[str]]:
    """Heads and labels of the model in service; reads its manifest only."""
    folder = Path(settings.model.bundle)
    try:
        if settings.model.registry:
            registry = Registry(settings.model.registry, trusted=settings.model.trusted_keys)
            champion = registry.alias(settings.model.alias)
            folder = registry.fetch(champion) if champion else folder
        return {h.name: h.answers for h in read_manifest(folder).heads}
    except (BundleError, ValueError) as error:
        raise refused(settings.model, error) from None


def _unknown(head: str, label: str, known: Mapping[str, list[str]]) -> str:
    if head not in known:
        return f"head {head!r} is not a head of the model ({', '.join(known)})"
    return f"label {label!r} is not a class of {head!r} ({', '.join(known[head])})"


def _annotations(row: LabelledText, store: Store, annotator: str, subjects: SubjectMatcher) -> list[Annotation]:
    """Raises `ValueError` for a label toward a subject that the row or the post does not name."""
    post = store.post(row.id) if len(row.id) == 64 else None
    now = datetime.now(UTC)
    # An unreadable time makes the annotation older than any other; a time ahead of the clock counts as now.
    at = min(read_time(_number(row.at)) or EPOCH, now) if row.at else now
    subject = _subject(row, post, subjects) if TOWARD_HEAD in row.labels else ""
    shown = {**post.labels, TOWARD_HEAD: _label_toward(post, subject)} if post and not post.corrected else {}
    suggested = {**shown, **row.suggested}
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
            suggested=suggested.get(head, ""),
            model=post.model if post else "",
            subject=subject if head == TOWARD_HEAD else "",
            mention=row.mention if head == TOWARD_HEAD else None,
        )
        for head, label in row.labels.items()
    ]


def _label_toward(post: PostDocument, subject: str) -> str:
    """The model's class toward a subject of an indexed post; empty where no model judged it by itself."""
    toward = post.toward.get(subject)
    return "" if toward is None or toward.whole_text else toward.label


def _subject(row: LabelledText, post: PostDocument | None, subjects: SubjectMatcher) -> str:
    """The subject of a label toward it; words of an indexed post stand for the subject that the settings find there."""
    if not row.subject:
        raise ValueError("a label toward a subject needs its name in the column 'subject'")
    if post is None or row.subject in post.scored.subjects:
        return row.subject
    start, end = row.mention or (0, 0)
    for name, spans in subjects.find(row.full_text).items():
        if name in post.scored.subjects and any(a < end and start < b for a, b in spans):
            return name
    names = ", ".join(post.scored.subjects) or "none"
    raise ValueError(f"subject {row.subject[:40]!r} is not a subject of the post ({names})")


def _number(text: str) -> str | float:
    """The number that a tool wrote as text, or else the text."""
    try:
        return float(text)
    except ValueError:
        return text
