"""Texts to token ids, through the bundle's `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

#: Longer texts are cut before tokenising: no encoder reads further, and a hostile post must not cost seconds.
CHARACTERS_PER_TOKEN = 12


class BundleTokenizer:
    """Truncates at `max_tokens` (special tokens counted); thread-safe for reads."""

    def __init__(self, definition: str, max_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._cut = max_tokens * CHARACTERS_PER_TOKEN

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, in order, each of length 2..max_tokens."""
        encodings = self._tokenizer.encode_batch([text[: self._cut] for text in texts])
        return [encoding.ids for encoding in encodings]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """Share of the tokens of `texts` that the vocabulary does not know, in [0, 1]."""
        unknown = next((i for t in ("[UNK]", "<unk>") if (i := self._tokenizer.token_to_id(t)) is not None), None)
        ids = [i for row in self.encode(texts) for i in row[1:-1]]
        return sum(i == unknown for i in ids) / len(ids) if ids else 0.0
