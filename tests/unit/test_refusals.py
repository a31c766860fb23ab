"""What the store's server answers is told in its own words, without a post's, and every answer has a class."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.connection_errors import Cause, Kind, cause_of
from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.store.elasticsearch.refusals import TooLargeError, entry_refusal, item, read, refused, unreachable

URL = "http://es:9200"
CANARY = "a post's own words"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "reason", "root_cause", "caused_by", "error", "index"]), inner)
    ),
    max_leaves=20,
)


def error(kind: str, reason: str, **more: Any) -> dict[str, Any]:
    return {"error": {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason, **more}}


def answer(status: int, body: object) -> PipelineError:
    return refused(URL, read(status, body))


SHARDS = (
    "Validation Failed: 1: this action would add [1] shards, but this cluster currently has [40]/[40] maximum normal "
    "shards open; for more information, see https://www.elastic.co/docs;"
)
CLOSED = {
    "error": {
        "root_cause": [{"type": "index_closed_exception", "reason": "closed", "index": "opinion-posts-2026.11"}],
        "type": "index_closed_exception", "reason": "closed", "index": "opinion-posts-2026.11",
    }
}  # fmt: skip
UNAUTHORIZED = (
    "action [indices:data/write/bulk[s]] is unauthorized for user [w] with effective roles [r] on indices "
    "[opinion-posts-2026.11], this action is granted by the index privileges [create_doc,create,index,write,all]"
)
WINDOW = {
    "error": {
        "root_cause": [{"type": "illegal_argument_exception", "reason": "Result window is too large"}],
        "type": "search_phase_execution_exception", "reason": "all shards failed",
        "failed_shards": [{"reason": {"type": "illegal_argument_exception", "reason": "Result window is too large"}}],
    }
}  # fmt: skip
VERSION = error(
    "media_type_header_exception", "Invalid media-type value on headers [Content-Type, Accept]",
    caused_by={"type": "status_exception", "reason": "Accept version must be either version 8 or 7, but found 9."},
)  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, error("validation_exception", SHARDS), Transient, ["[40]/[40]", "max_shards_per_node", "store.period"]),
        (400, CLOSED, Transient, ["index_closed_exception", "POST /opinion-posts-2026.11/_open"]),
        (403, error("cluster_block_exception", "index [x] blocked by: [FORBIDDEN/8/index write (api)];"), Transient,
         ["FORBIDDEN/8/index write", "block"]),
        (404, error("search_context_missing_exception", "No search context found for id [1]"), Transient, ["again"]),
        (503, error("search_phase_execution_exception", "all shards failed"), Transient, ["all shards failed", "red"]),
        (408, "<html><body><h1>408 Request Time-out</h1></body></html>", Transient, ["408 Request Time-out"]),
        (502, "<html><head><title>502 Bad Gateway</title></head></html>", Transient, ["502 Bad Gateway"]),
        (429, error("circuit_breaking_exception", "[parent] Data too large"), Transient, ["Data too large"]),
        (401, error("security_exception", "unable to authenticate user [w]"), Fatal,
         ["unable to authenticate user [w]", "store.password"]),
        (403, error("security_exception", UNAUTHORIZED), Fatal, ["indices:data/write/bulk", "roles.yml"]),
        (403, error("security_exception", "current license is non-compliant for [x]"), Fatal, ["licence"]),
        (403, "<html>Forbidden by policy</html>", Fatal, ["Forbidden by policy", "proxy"]),
        (403, None, Fatal, ["view_index_metadata"]),
        (404, "<html>Not Found</html>", Fatal, ["store.url", "Not Found"]),
        (400, {"error": "no handler found for uri [/no/such] and method [GET]"}, Fatal, ["no handler", "store.url"]),
        (400, "Client sent an HTTP request to an HTTPS server.", Fatal, ["https://"]),
        (301, None, Fatal, ["redirected"]),
        (404, error("index_not_found_exception", "no such index [opinion-state]"), Fatal, ["opinionwatch setup"]),
        (400, VERSION, Fatal, ["version 8 or 7, but found 9", "elasticsearch<9"]),
        (400, error("invalid_alias_name_exception", "an index exists with the same name as the alias"), Fatal,
         ["opinionwatch check"]),
        (400, error("illegal_argument_exception", "analyzer [ik_smart] has not been configured in mappings"), Fatal,
         ["ik_smart", "store.analyzer"]),
        (400, error("illegal_argument_exception", "matching patterns that have the same priority [200]"), Fatal,
         ["priority [200]", "template"]),
        (400, WINDOW, Fatal, ["Result window is too large", "report"]),
        (503, error("unavailable_shards_exception",
                    f"primary shard is not active Timeout: [1s], request: [BulkShardRequest source[{CANARY}]]"),
         Transient, ["primary shard is not active"]),
        (400, error("document_parsing_exception",
                    f"[1:16] failed to parse field [topic] of type [date]. Preview of field's value: '{CANARY}'",
                    caused_by={"type": "illegal_argument_exception", "reason": f"date field [{CANARY}]"}),
         Fatal, ["field topic"]),
    ],
)  # fmt: skip
def test_the_servers_words_stand_beside_the_remedy(
    status: int, body: object, kind: type[Exception], words: list[str]
) -> None:
    got = answer(status, body)
    assert type(got) is kind
    for word in words:
        assert word in str(got)
    assert CANARY not in str(got)
    assert len(str(got)) < 1500


@given(st.integers(100, 999), JSON | st.text())
def test_every_answer_has_a_class_and_only_elasticsearchs_own_refusal_is_ours_to_report(
    status: int, body: object
) -> None:
    got = answer(status, body)
    assert isinstance(got, Transient | Fatal)
    assert str(got).isprintable()
    assert isinstance(got, TooLargeError) == (status == 413)
    if status >= 500 or status in {408, 425, 429}:
        assert isinstance(got, Transient)
    if "report it" in str(got):
        assert read(status, body).type


@pytest.mark.parametrize(
    ("kind", "expected", "word"),
    [
        ("security_exception", Fatal, "privilege"),
        ("index_not_found_exception", Fatal, "opinionwatch setup"),
        ("index_closed_exception", Transient, "_open"),
        ("no_shard_available_action_exception", Transient, "no_shard"),
    ],
)
def test_the_error_of_one_of_many_documents(kind: str, expected: type[Exception], word: str) -> None:
    got = refused(URL, entry_refusal({"type": kind, "reason": "why"}))
    assert type(got) is expected
    assert word in str(got)


@given(st.dictionaries(st.text(max_size=5), JSON))
def test_any_error_of_an_item_is_read(body: dict[str, Any]) -> None:
    assert str(item(400, body)).isprintable()


@pytest.mark.parametrize(
    ("cause", "url", "kind", "words"),
    [
        (Cause(Kind.CERTIFICATE, "certificate has expired"), "https://e:1", Fatal, ["has expired", "store.ca_file"]),
        (Cause(Kind.NOT_TLS, "no TLS"), "https://e:1", Fatal, ["http://"]),
        (Cause(Kind.CLOSED, "closed"), "http://e:1", Transient, ["https://"]),
        (Cause(Kind.NAME, "no address"), "http://e:1", Transient, ["host name"]),
        (Cause(Kind.TIMEOUT, "late"), "http://e:1", Transient, ["store.timeout_s", "30 s"]),
        (Cause(Kind.REFUSED, "refused"), "http://e:1", Transient, ["cannot be reached", "refused"]),
    ],
)
def test_no_answer_names_its_cause(cause: Cause, url: str, kind: type[Exception], words: list[str]) -> None:
    got = unreachable(url, cause, 30.0)
    assert type(got) is kind
    for word in words:
        assert word in str(got)


def test_the_most_telling_cause_is_taken_wherever_it_stands() -> None:
    inner = ssl.SSLCertVerificationError(1, "verify failed")
    inner.verify_message = "unable to get local issuer certificate"
    outer = ConnectionResetError(104, "reset")
    outer.__cause__ = RuntimeError(RuntimeError(inner))
    assert cause_of(outer) == Cause(Kind.CERTIFICATE, "unable to get local issuer certificate")
    loop = RuntimeError()
    loop.__cause__ = loop
    assert cause_of(loop).kind is Kind.OTHER
