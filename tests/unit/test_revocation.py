"""What is settled is committed before its partition goes to another worker."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.test_strict import TP, Rig, record


def test_what_is_settled_is_committed_before_the_partitions_are_revoked() -> None:
    async def scenario() -> list[Any]:
        rig = Rig([record(i) for i in range(4)])
        await rig.fetch()
        rig.consumer.mark_durable(rig.delivered[0])
        events: list[Any] = []

        async def commit(*_: Any, **__: Any) -> bool:
            events.append(("commit", rig.consumer._new_offset(TP)))
            return True

        async def revoked(partitions: Any) -> None:
            events.append(("revoked", set(partitions)))

        rig.consumer.commit = commit
        rig.consumer._on_partitions_revoked = revoked
        await rig.consumer.on_partitions_revoked({TP})
        return events

    assert asyncio.run(scenario()) == [("commit", 3), ("revoked", {TP})]


def test_a_commit_that_fails_does_not_keep_a_partition() -> None:
    async def scenario() -> list[Any]:
        rig = Rig([record(i) for i in range(4)])
        events: list[Any] = []

        async def commit(*_: Any, **__: Any) -> bool:
            raise TimeoutError

        async def revoked(partitions: Any) -> None:
            events.append(set(partitions))

        rig.consumer.commit = commit
        rig.consumer._on_partitions_revoked = revoked
        await rig.consumer.on_partitions_revoked({TP})
        return events

    assert asyncio.run(scenario()) == [{TP}]
