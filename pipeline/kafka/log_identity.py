"""Asks for the identity of a topic's log, which aiokafka does not: topic ids are in metadata version 10 (KIP-516)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

__all__ = ["KafkaError", "NoOffsetForPartitionError", "OffsetOutOfRangeError", "log_identities"]


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


_NONE = uuid.UUID(int=0)


class _MetadataResponse_v10(Response):  # type: ignore[misc]  # noqa: N801
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # noqa: N801
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[MetadataRequest_v5 | _MetadataRequest_v10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is _MetadataRequest_v10:
            return _MetadataRequest_v10([(_NONE, topic, {}) for topic in self._topics], False, False, False, {})
        return request_struct_class(list(self._topics), False)


async def log_identities(client: Any, topics: Sequence[str]) -> dict[str, str]:
    """Returns `CLUSTER/TOPIC_ID` of each topic that exists; `client` is aiokafka's. Raises `KafkaError`.

    Brokers before 2.8 have no topic ids, and that part is empty then. If the brokers do not name their cluster either,
    the identity is "".
    """
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known yet")
    try:
        answer = await client.send(node, _MetadataRequest(topics))
    except NotImplementedError:  # a broker before 1.0
        return dict.fromkeys(topics, "")
    cluster = answer.cluster_id or ""
    found = {}
    for error_code, topic, *rest in answer.topics:
        if error_code == 0:
            topic_id = rest[0] if isinstance(rest[0], uuid.UUID) and rest[0] != _NONE else ""
            found[topic] = f"{cluster}/{topic_id}" if cluster or topic_id else ""
    return found
