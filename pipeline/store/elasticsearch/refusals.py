"""Reads the refusals of Elasticsearch or a proxy in front of it, and finds a remedy. Pure.

Every status and every type of error gives an exception. A problem that may pass, or that a person can solve at the
server, is `Transient`: the worker waits and reports it. A problem of opinionwatch or its settings is `Fatal`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from models.json_types import Json, JsonObject
from pipeline.domain.connection_errors import Cause, Kind, printable
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal, PipelineError, Transient

SETUP = "run 'opinionwatch setup' with a user that may create templates and indices"
ROLES = "see the roles in deploy/elasticsearch/roles.yml"
#: Errors about one document; their text may quote the post.
DOCUMENT_ERRORS = frozenset(
    {"document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception"}
)
#: Errors of the index or the cluster that pass or that a person can solve, whatever their status.
TRANSIENT_ERRORS = frozenset(
    {
        "cluster_block_exception",
        "es_rejected_execution_exception",
        "unavailable_shards_exception",
        "index_closed_exception",
        "circuit_breaking_exception",
        "no_shard_available_action_exception",
        "process_cluster_event_timeout_exception",
        "master_not_discovered_exception",
        "search_context_missing_exception",
        "version_conflict_engine_exception",
    }
)
#: The statuses of errors that come without one.
_STATUS = {"index_not_found_exception": 404, "security_exception": 403}
#: How deeply nested reasons are read, and how many of them are shown.
_MAX_DEPTH, _MAX_REASONS = 4, 4
_SHARDS = re.compile(r"maximum (normal|search|frozen)? ?shards|this (action|cluster currently).{0,80}shards", re.I)
_FIELD = re.compile(r"(?:field|dynamic introduction of) \[([\w.@-]{1,100})\]")
_INDEX = re.compile(r"\bopinion-[a-z]+[\w.-]*")
#: A value of a document may follow.
_QUOTED = re.compile(r"(Preview of field's value|The prefix of the first immense term is|For input string|"
                     r"Could not convert|request: \[|source\[).*", re.S)  # fmt: skip
_TAGS = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.S | re.I)


class TooLargeError(Transient):
    """The request is larger than the server, or a proxy in front of it, accepts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error in an answer: `type` is Elasticsearch's (empty if something else answered), `words` are its reasons."""

    status: int
    type: str
    words: str
    index: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.status), self.type, self.words)))


def read(status: int, body: object) -> Refusal:
    """Reads the refusal in any body: an error object, a string, a page of HTML, or nothing."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return item(status, error)
    if isinstance(error, str):
        return Refusal(status, "", printable(error))
    text = body if isinstance(body, str) else ""
    return Refusal(status, "", printable(_TAGS.sub(" ", text[:4000]), 160))


def item(status: int, error: JsonObject) -> Refusal:
    """Reads the refusal in the error of one item of a bulk response."""
    kind = printable(str(error.get("type") or ""), 80)
    found = list(_reasons(error, 0))
    index = next((name for each in found if isinstance(name := each.get("index"), str)), "")
    if kind in DOCUMENT_ERRORS or any(str(x.get("type")) in DOCUMENT_ERRORS for x in found):
        fields = _FIELD.findall(str(error.get("reason")))
        return Refusal(status, kind, f"field {fields[0]}" if fields else "", printable(index, 100))
    words: list[str] = []
    for each in found:
        reason = printable(_QUOTED.sub("", str(each.get("reason") or "")).strip(" ,.;:"))
        if reason and not any(reason in known for known in words):
            words.append(reason)
    said = "; ".join(words[:_MAX_REASONS])
    named = _INDEX.search(said)
    return Refusal(status, kind, said, printable(index, 100) or (named.group().rstrip(".") if named else ""))


def entry_refusal(error: JsonObject) -> Refusal:
    """Reads the refusal in an entry without a status, as a request for many documents has them."""
    return item(_STATUS.get(str(error.get("type")), 400), error)


def refused(url: str, refusal: Refusal) -> PipelineError:
    """The exception for a request that the server refused."""
    message = f"store {url} answered {refusal}"
    status, kind, words = refusal.status, refusal.type, refusal.words.lower()
    if status == 413:
        return TooLargeError(
            message, 5.0, "raise http.max_content_length in Elasticsearch, or the limit of the proxy in front of it"
        )
    if kind == "validation_exception" and _SHARDS.search(words):
        return Transient(
            message, 5.0, "raise cluster.max_shards_per_node, add a node, or delete unused indices and run "
            "'opinionwatch setup' to move store.backfill_before forward; a longer store.period needs fewer indices",
        )  # fmt: skip
    if kind == "index_closed_exception":
        index = refusal.index or "the index"
        return Transient(message, 5.0, f"open it (POST /{index}/_open) or delete it")
    if kind == "cluster_block_exception":
        return Transient(message, 1.0, "remove the block from the index, or free disk space if Elasticsearch has set "
                         "read_only_allow_delete")  # fmt: skip
    if kind == "search_context_missing_exception":
        return Transient(message, 1.0, "run the command again: the search took too long, or a node restarted")
    if kind == "search_phase_execution_exception" and status >= 500:
        return Transient(message, 1.0, "find the red index with GET _cluster/health?level=indices")
    if kind in TRANSIENT_ERRORS or status in {408, 409, 425, 429} or status >= 500:
        return Transient(message, 1.0)
    return _lasting_error(message, refusal, words)


def _lasting_error(message: str, refusal: Refusal, words: str) -> Fatal:
    status, kind = refusal.status, refusal.type
    if kind == "media_type_header_exception" or "compatible-with" in words:
        return Fatal(message, "install the client of the server's major version; for version 8 run "
                     "pip install 'elasticsearch<9'")  # fmt: skip
    if "license" in words and status == 403:
        return Fatal(message, "renew the licence of the cluster, which does not allow this, or start the basic licence")
    if status == 401:
        return Fatal(message, "set the user in store.url (https://user@host:9200) and the password in store.password")
    if status == 403:
        return _forbidden(message, refusal)
    if not kind:
        return _not_elasticsearch(message, status, words)
    if kind == "invalid_alias_name_exception" or "same name as the alias" in words or "as an alias" in words:
        return Fatal(
            message, "run 'opinionwatch check': an index has the name of an alias, and check gives the commands"
        )
    if "analyzer [" in words or "tokenizer [" in words:
        return Fatal(message, "install the plugin of the analyser on every node, or set store.analyzer to 'standard'")
    if "same priority" in words:
        return Fatal(message, "delete that index template or give it another priority, then run 'opinionwatch setup'")
    if kind == "too_many_buckets_exception" or "search.max_buckets" in words:
        return Fatal(message, "raise search.max_buckets in the cluster's settings", EXIT_UNAVAILABLE)
    if status == 404:
        return Fatal(message, SETUP)
    return Fatal(message, "Elasticsearch does not accept this request: report it to opinionwatch with this message",
                 EXIT_UNAVAILABLE)  # fmt: skip


def _forbidden(message: str, refusal: Refusal) -> Fatal:
    """Elasticsearch names the missing privilege, except in the answer to a HEAD request, which has no body."""
    if refusal.type:
        return Fatal(message, f"give the user in store.url the privilege that the message names ({ROLES})")
    if refusal.words:
        return Fatal(message, "ask the operator of the proxy in front of Elasticsearch, which refuses the request")
    return Fatal(message, f"give the user in store.url view_index_metadata on opinion-* ({ROLES})")


def _not_elasticsearch(message: str, status: int, words: str) -> Fatal:
    """The exception for an answer without an error object of Elasticsearch: a proxy or another service sent it."""
    if "https" in words or "tls" in words or "ssl" in words:
        return Fatal(message, "write https:// in store.url: that port speaks TLS")
    if 300 <= status < 400:
        return Fatal(message, "set store.url to the address of Elasticsearch, to which this one is redirected")
    return Fatal(message, "correct host, port and path in store.url: something other than Elasticsearch answers there")


def unreachable(url: str, cause: Cause, timeout_s: float) -> PipelineError:
    """The exception for a request that was not answered."""
    message = f"store {url} cannot be reached: {cause.words}"
    if cause.kind is Kind.CERTIFICATE:
        return Fatal(message, "set store.ca_file to the authority that signed the certificate of the server, and "
                     "store.url to a host name in that certificate")  # fmt: skip
    if cause.kind is Kind.NOT_TLS:
        return Fatal(message, "write http:// in store.url, or use the port of Elasticsearch that speaks TLS")
    if cause.kind is Kind.TIMEOUT:
        return Transient(f"store {url} did not answer within {timeout_s:g} s (store.timeout_s)",
                         remedy="start Elasticsearch, or check its load and the network")  # fmt: skip
    if cause.kind is Kind.NAME:
        return Transient(message, remedy="correct the host name in store.url, or the name resolution of this machine")
    if cause.kind is Kind.CLOSED and url.startswith("http:"):
        return Transient(message, remedy="if that port speaks TLS, write https:// in store.url; otherwise read the "
                         "log of the server")  # fmt: skip
    return Transient(message, remedy="start Elasticsearch, or correct store.url")


def _reasons(error: JsonObject, depth: int) -> Iterator[JsonObject]:
    """The error and the errors inside it: root causes, `caused_by`, failed shards."""
    yield error
    if depth >= _MAX_DEPTH:
        return
    below = [*_listed(error.get("root_cause")), error.get("caused_by")]
    below += [s.get("reason") for s in _listed(error.get("failed_shards")) if isinstance(s, dict)]
    for each in below:
        if isinstance(each, dict):
            yield from _reasons(each, depth + 1)


def _listed(value: Json) -> list[Json]:
    return value[:3] if isinstance(value, list) else []
