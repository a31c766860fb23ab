"""Turns texts into token ids with the bundle's `tokenizer.json`, and ranges of characters into ranges of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from models.aligned_text import Span
from models.mentions import MAX_MENTIONS, Mentions, Place, Targets
from models.token_spans import token_span
from models.truncation import LongTexts, pieces, reach

#: `encode` cuts longer texts before tokenising: no encoder reads further, and a hostile post must not cost seconds.
CHARACTERS_PER_TOKEN = 12
#: Additional rows that a text gets at most for subjects that are mentioned only where the model does not read.
MAX_TARGET_WINDOWS = 4


class BundleTokenizer:
    """Makes rows of at most `max_tokens` tokens, including special tokens; several threads may call it."""

    def __init__(self, definition: str, max_tokens: int, long_texts: LongTexts = "head") -> None:
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.no_padding()
        self.max_tokens, self._how = max_tokens, long_texts
        self.vocabulary = self._tokenizer.get_vocab_size()
        self._cut = max_tokens * CHARACTERS_PER_TOKEN * reach(long_texts)
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[list[list[int]]]:
        """One or several rows of token ids per text, in the order of the texts, each of length 2..max_tokens."""
        encodings = self._tokenizer.encode_batch_fast([text[: self._cut] for text in texts])
        return [pieces(encoding.ids, self.max_tokens, self._how) for encoding in encodings]

    def encode_mentions(
        self, texts: Sequence[str], mentions: Sequence[Mentions]
    ) -> list[tuple[list[list[int]], Targets]]:
        """The rows of each text as `encode` returns them, and where its mentions are.

        A subject that is mentioned only beyond these rows gets a window of the text with its first mention in the
        middle; it shares a window that holds one of its mentions already.
        """
        encodings = self._tokenizer.encode_batch([text[: self._cut] for text in texts])
        return [self._placed(text, e, wanted) for text, e, wanted in zip(texts, encodings, mentions, strict=True)]

    def unknown_share(self, texts: Sequence[str]) -> float:
        """The share in [0, 1] of the tokens of `texts` that the vocabulary lacks."""
        unknown = next((i for t in ("[UNK]", "<unk>") if (i := self._tokenizer.token_to_id(t)) is not None), None)
        ids = [i for rows in self.encode(texts) for row in rows for i in row[1:-1]]
        return sum(i == unknown for i in ids) / len(ids) if ids else 0.0

    def _placed(self, text: str, encoding: Encoding, mentions: Mentions) -> tuple[list[list[int]], Targets]:
        ids, offsets = encoding.ids, encoding.offsets
        chosen = pieces(range(len(ids)), self.max_tokens, self._how)
        rows = [_Row.of([offsets[i] for i in piece]) for piece in chosen]
        places = {subject: _places(rows, spans[:MAX_MENTIONS]) for subject, spans in mentions.items()}
        windows: list[list[int]] = []
        unread = [subject for subject, found in places.items() if not found and mentions[subject]]
        attempts = MAX_TARGET_WINDOWS
        for subject in unread:
            if places[subject] or not attempts:
                continue
            attempts -= 1
            if (window := self._window(text, mentions[subject][0])) is None:
                continue
            made, characters = window
            readable = _Row.of(characters)
            row = len(chosen) + len(windows)
            windows.append(made)
            for other in unread:
                if not places[other]:
                    found = _places([readable], mentions[other][:MAX_MENTIONS])
                    places[other] = [place._replace(row=row) for place in found]
        return [[ids[i] for i in piece] for piece in chosen], Targets(places, windows)

    def _window(self, text: str, mention: Span) -> tuple[list[int], list[Span]] | None:
        """A row with the mention in the middle, and the characters of its tokens; None if it has no token."""
        around = self.max_tokens * CHARACTERS_PER_TOKEN // 2
        first = max(0, mention[0] - around)
        encoding = self._tokenizer.encode(text[first : min(mention[1], mention[0] + around) + around])
        ids = encoding.ids
        offsets = [(a + first, b + first) if a < b else (0, 0) for a, b in encoding.offsets]
        if (found := token_span(offsets, *mention)) is None:
            return None
        room, inner = self.max_tokens - 2, len(ids) - 2
        start = max(1, min(sum(found) // 2 - room // 2, 1 + inner - room))
        inside = slice(start, min(start + room, 1 + inner))
        return [ids[0], *ids[inside], ids[-1]], [(0, 0), *offsets[inside], (0, 0)]


class _Row(NamedTuple):
    """The characters of the tokens of a row, which all are within `first` to `last`."""

    offsets: Sequence[Span]
    first: int
    last: int

    @classmethod
    def of(cls, offsets: Sequence[Span]) -> _Row:
        real = [span for span in offsets if span[0] < span[1]]
        return cls(offsets, min((start for start, _ in real), default=0), max((end for _, end in real), default=0))


def _places(rows: Sequence[_Row], spans: Sequence[Span]) -> list[Place]:
    """The place of each span in the first row that holds one of its tokens."""
    found: list[Place] = []
    for start, end in spans:
        for number, row in enumerate(rows):
            if start < row.last and end > row.first and (tokens := token_span(row.offsets, start, end)) is not None:
                found.append(Place(number, *tokens))
                break
    return found
