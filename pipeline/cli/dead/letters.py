"""Dead letters as the commands select and show them."""

from __future__ import annotations

from models.json_types import JsonObject
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.kafka import dead_letters
from pipeline.kafka.dead_letters import Letter
from pipeline.settings import KafkaSettings


def letters(kafka: KafkaSettings, reason: str | None, stage: str | None) -> list[Letter]:
    """The letters that pass the filters, oldest first, each origin once, without those that somebody dropped."""
    kept: dict[str, Letter] = {}
    for letter in dead_letters.dead_letters(kafka):
        if letter.dropped:
            kept.pop(letter.origin, None)
        elif reason in {None, letter.reason} and stage in {None, letter.stage}:
            kept.setdefault(letter.origin or letter.id, letter)
    return list(kept.values())


def chosen_letters(kafka: KafkaSettings, letter_id: str | None, reason: str | None, stage: str | None) -> list[Letter]:
    """The letter with this id, or all letters that pass the filters."""
    return [letter_with(kafka, letter_id)] if letter_id else letters(kafka, reason, stage)


def letter_with(kafka: KafkaSettings, letter_id: str) -> Letter:
    """Raises `Fatal` where no letter has this id."""
    found = next((x for x in dead_letters.dead_letters(kafka) if x.id == letter_id and not x.dropped), None)
    if found is None:
        raise Fatal(f"dead letter {letter_id} does not exist", "take an id from 'opinionwatch dead list'", EXIT_USAGE)
    return found


def letter_json(letter: Letter) -> JsonObject:
    return {
        "id": letter.id,
        "origin": letter.origin,
        "stage": letter.stage,
        "reason": letter.reason,
        "first_seen": letter.first_seen,
        "replayed": letter.replayed,
        "bytes": letter.size,
        "by_reference": bool(letter.sha256),
    }
