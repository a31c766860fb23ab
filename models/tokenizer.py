"""Turns texts into token ids with the bundle's `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from models.truncation import LongTexts, pieces, reach

#: `encode` cuts longer texts before tokenising: no encoder reads further, and a hostile post must not cost seconds.
CHARACTERS_PER_TOKEN = 12


class BundleTokenizer:
    """Makes rows of at most `max_tokens` tokens, including special tokens; several threads may call it."""

    def __init__(self, definition: str, max_tokens: int, long_texts: LongTexts = "head") -> None:
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.no_padding()
        self.max_tokens, self._how = max_tokens, long_texts
        self.vocabulary = self._tokenizer.get_vocab_size()
        self._cut = max_tokens * CHARACTERS_PER_TOKEN * reach(long_texts)
        if long_texts == "head":
            self._tokenizer.enable_truncation(max_tokens)
        else:
            self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """One or several rows of token ids per text, in the order of the texts, each of length 2..max_tokens."""
        encodings = self._tokenizer.encode_batch([text[: self._cut] for text in texts])
        return [pieces(encoding.ids, self.max_tokens, self._how) for encoding in encodings]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share in [0, 1] of the tokens of `texts` that the vocabulary lacks."""
        unknown = next((i for t in ("[UNK]", "<unk>") if (i := self._tokenizer.token_to_id(t)) is not None), None)
        ids = [i for rows in self.encode(texts) for row in rows for i in row[1:-1]]
        return sum(i == unknown for i in ids) / len(ids) if ids else 0.0
