"""The versions of post documents: a write with a higher version replaces one with a lower version (docs/adr/0004)."""

from __future__ import annotations

from enum import IntEnum


class DocumentVersion(IntEnum):
    """The lowest version that each kind of writer uses.

    The stream always writes `STREAMED`. Every relabelling run takes the version after that of the previous run; older
    releases wrote the number of the model plus one, which stays below `RELABELLED`. A correction by a person adds the
    wall-clock time in milliseconds to `CORRECTED`, so that it outranks every model and the newest correction wins.
    """

    STREAMED = 1
    RELABELLED = 1_000
    CORRECTED = 1_000_000_000
