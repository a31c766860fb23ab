"""A bilingual WordPiece vocabulary: MiniLM's own pieces for Latin script, words and characters for Han.

Han words stand in the vocabulary twice, as a start and as a continuation piece, under the same id: greedy
longest-match segmentation then works inside a run of Han without a row per form. Runs are cut after 16
characters, so that the quadratic longest match cannot be driven by a hostile text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import jieba
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from training.config import VocabularyConfig

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_PREFIX = "##"


@dataclass(frozen=True)
class Vocabulary:
    """`pieces[i]` is the piece of embedding row i; `tokenizer_json` is the whole `tokenizer.json`.

    `Tokenizer.save` keeps one piece per id and would drop every shared form: write `tokenizer_json` instead.
    """

    pieces: list[str]
    tokenizer_json: str

    @property
    def tokenizer(self) -> Tokenizer:
        """A fresh tokenizer from the definition."""
        return Tokenizer.from_str(self.tokenizer_json)


def build_vocabulary(base: Tokenizer, texts: Iterable[str], sizes: VocabularyConfig) -> Vocabulary:
    """Chooses pieces by frequency in `texts`; `base` is the WordPiece tokenizer of the pretrained encoder."""
    normalizer = text_normalizer()
    latin: Counter[str] = Counter()
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for text in texts:
        text = normalizer.normalize_str(text)
        for run in _HAN.findall(text):
            characters.update(run)
            words.update(w for w in jieba.cut(run, HMM=False) if len(w) > 1)
        rest = _HAN.sub(" ", text)
        latin.update(base.encode(rest, add_special_tokens=False).tokens)
        others.update(c for c in rest if ord(c) > 0x2000)
    known = base.get_vocab()
    single = [p for p in known if len(p.removeprefix(_PREFIX)) == 1 and p.isascii()]
    kept = list(dict.fromkeys([*single, *(p for p, _ in latin.most_common(sizes.latin_pieces))]))
    kept = [p for p in kept if p not in SPECIALS and not _HAN.match(p.removeprefix(_PREFIX))]
    han = [c for c, n in characters.most_common(sizes.han_characters) if n >= 2]
    han += [w for w, n in words.most_common(sizes.han_words) if n >= 4]
    kept_set = set(kept)
    symbols = [c for c, n in others.most_common(sizes.others) if n >= 5 and c not in kept_set]
    pieces = [*SPECIALS, *kept[: sizes.latin_pieces], *han, *symbols]
    return Vocabulary(pieces, definition_of(share_han_forms({piece: i for i, piece in enumerate(pieces)})))


def share_han_forms(vocab: dict[str, int]) -> dict[str, int]:
    """Adds the other form ("X" for "##X" and the reverse) of every Han or symbol piece, under the same id.

    >>> share_han_forms({"手": 1, "##机": 2, "a": 3})
    {'手': 1, '##机': 2, 'a': 3, '##手': 1, '机': 2}
    """
    whole = dict(vocab)
    for piece, index in vocab.items():
        bare = piece.removeprefix(_PREFIX)
        if _HAN.match(bare) or ord(bare[0]) > 0x2000:
            whole.setdefault(bare, index)
            whole.setdefault(_PREFIX + bare, index)
    return whole


def text_normalizer() -> normalizers.Normalizer:
    """NFKC, lower case, no accents; URLs and names of people become one word each."""
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"https?://[A-Za-z0-9./?=&_%#~+-]+"), "http"),
            normalizers.Replace(Regex(r"@[A-Za-z0-9_]{1,30}"), "@user"),
            normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True),
        ]
    )


def definition_of(vocab: dict[str, int]) -> str:
    """The `tokenizer.json` of a vocabulary in which several pieces may share an id."""
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = text_normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Split(Regex(r"\p{Han}{1,16}|[^\s\w\p{P}]"), "isolated"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    tokenizer_json = json.loads(tokenizer.to_str())
    tokenizer_json["model"]["vocab"] = vocab
    return json.dumps(tokenizer_json, ensure_ascii=False)
