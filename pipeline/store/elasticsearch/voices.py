"""Queries for the posts of loud voices, and what their answers say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.counting import NegativeDefinition, bucket_start
from pipeline.domain.toward_keywords import read_bin
from pipeline.domain.voices import Negativity, VoicePost
from pipeline.store.elasticsearch.stored import Hit

#: The loudest voices of each kind that are examined.
_MOST_VOICES = 10_000
#: The field of the voices of each kind.
_KINDS = ("author", "families")


def aggregations(rule: NegativeDefinition, most: int, *, one_index: bool) -> JsonObject:
    """The voices with more than `most` posts, and how many of those their largest topic, subject and source have.

    A voice with more than `most` posts of one key has more than that in all. Nearly all voices have fewer, and the
    shard drops them before it looks at their keys (breadth first). If the range lies in several indices, the shard only
    drops those with a single post, so that a voice with one post in each index is not found.
    """
    largest: JsonObject = {
        "topic": {"terms": {"field": "topic", "size": 1}},
        "subject": {"terms": {"field": "subjects", "size": 1}},
        **(
            {"source": {"terms": {"field": "source", "size": 1, "include": list(rule.sources)}}} if rule.sources else {}
        ),
    }
    return {
        field: {
            "terms": {
                "field": field,
                "size": _MOST_VOICES,
                "min_doc_count": most + 1,
                "shard_min_doc_count": most + 1 if one_index else 2,
                "collect_mode": "breadth_first",
                "exclude": [""],
            },
            "aggs": largest,
        }
        for field in _KINDS
    }


def loud(answer: JsonObject, most: int) -> dict[str, list[str]]:
    """The voices of each kind that have more than `most` posts of one key; nothing where no voice has."""
    kinds = JsonReader(answer)
    found = {
        kind: [JsonReader(voice).text("key") for voice in _buckets(kinds, kind) if _of_largest_key(voice) > most]
        for kind in _KINDS
    }
    return {kind: voices for kind, voices in found.items() if voices}


def posts_of(voices: Mapping[str, Sequence[str]]) -> JsonObject:
    """Posts with at least one of these voices."""
    should = [{"terms": {field: list(values)}} for field, values in voices.items()]
    return {"bool": {"should": should, "minimum_should_match": 1}}


def fields(rule: NegativeDefinition) -> list[str]:
    """The fields that `voice_post` reads."""
    return ["author", "families", "topic", "source", "subjects", "toward_bins", "negative_score", f"labels.{rule.head}"]


def voice_post(hit: Hit, rule: NegativeDefinition) -> VoicePost:
    """A hit that was sorted by its time, with the values of `fields`."""
    values = JsonReader(hit.fields)
    topic, source, author, label = (
        next(iter(values.texts(field)), "") for field in ("topic", "source", "author", f"labels.{rule.head}")
    )
    # The index keeps single precision.
    score = round(next(iter(values.numbers("negative_score")), 0.0), 4)
    whole = Negativity(not rule.negative or rule.holds({rule.head: label}, score), score)
    toward = dict.fromkeys(values.texts("subjects"), whole)
    if rule.counts_toward:
        for found in map(read_bin, values.texts("toward_bins")):
            toward[found.subject] = Negativity(rule.holds_toward(found.label, found.score), found.score)
    at_ms, *_ = JsonReader({"sort": hit.sort}).numbers("sort")
    return VoicePost(hit.id, bucket_start(at_ms / 1000), topic, source, author, values.texts("families"), whole, toward)


def _of_largest_key(voice: JsonObject) -> int:
    """The posts of the largest topic, subject or source of a voice."""
    fields = JsonReader(voice)
    keys = (key for name in ("topic", "subject", "source") for key in _buckets(fields, name))
    return max((JsonReader(key).whole("doc_count") for key in keys), default=0)


def _buckets(aggregations: JsonReader, name: str) -> list[JsonObject]:
    return JsonReader(aggregations.object(name)).objects("buckets")
