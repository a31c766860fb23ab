"""The ledger of the partitions that this process reads, loaded from the store again after each rebalance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from pipeline.classify.retries import Retries
from pipeline.domain.ledger import Ledger, current_progress
from pipeline.store.protocol import ProgressStore


class LedgerCache:
    """Loads the ledger on demand. `horizon()` bounds the event times in it."""

    def __init__(self, store: ProgressStore, retries: Retries, horizon: Callable[[], datetime]) -> None:
        self._store, self._retries, self._horizon = store, retries, horizon
        self._loading = asyncio.Lock()
        self._ledger: Ledger | None = None
        self._rebalances = 0

    def invalidate(self) -> None:
        """Call this when partitions were assigned: another worker may have recorded progress for them meanwhile."""
        self._rebalances += 1
        self._ledger = None

    async def get(self) -> Ledger:
        """Returns the ledger, which is valid until the caller's next await: a rebalance during one invalidates it.

        Only one caller loads at a time, and a ledger loaded before a rebalance is not used after it. Either would
        bring back an outdated ledger, and the records counted in between would be lost from it.
        """
        while self._ledger is None:
            async with self._loading:
                if self._ledger is None:
                    rebalances = self._rebalances
                    rows = await self._retries.run_blocking("progress", self._store.all_progress)
                    if rebalances == self._rebalances:
                        self._ledger = Ledger(current_progress(rows), rows, self._horizon())
        return self._ledger
