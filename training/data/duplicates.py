"""Near-duplicates: MinHash over character shingles with locality-sensitive hashing (Broder 1997)."""

from __future__ import annotations

from collections.abc import Sequence

from datasketch import MinHash, MinHashLSH

from models.text import normalise

SHINGLE = 5
LIKENESS = 0.85
PERMUTATIONS = 64
#: Short texts differ by a word and mean another thing: only exact duplicates are merged there.
MIN_CHARACTERS = 40


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """Indexes to keep: of texts whose shingles agree to about 85 % (Jaccard) the first one."""
    index = MinHashLSH(threshold=LIKENESS, num_perm=PERMUTATIONS)
    keep = []
    for number, text in enumerate(texts):
        plain = normalise(text)
        if len(plain) >= MIN_CHARACTERS:
            shingles = {plain[i : i + SHINGLE].encode() for i in range(len(plain) - SHINGLE + 1)}
            sketch = MinHash(num_perm=PERMUTATIONS)
            sketch.update_batch(shingles)
            if index.query(sketch):
                continue
            index.insert(number, sketch)
        keep.append(number)
    return keep
