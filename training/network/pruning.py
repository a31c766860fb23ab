"""Prunes a large multilingual encoder to some of its layers and to the vocabulary pieces that the texts use.

Two languages use a sixth of the 250,000 pieces that a hundred languages share; pruning drops the embedding rows of the
other pieces (Abdaoui et al. 2020, "Load what you need"). Training then continues on the remaining layers (Sajjad et al.
2023, "On the effect of dropping layers of pre-trained transformer models").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedModel

from training.config import PruningConfig, TrainingConfigError
from training.data.vocabulary import text_normalizer

_SPACE = "▁"
_HAN = re.compile(r"[㐀-鿿]")


def pruned(
    encoder: BertModel, tokenizer_json: str, sizes: PruningConfig, texts: Iterable[str]
) -> tuple[BertModel, str, float]:
    """The smaller encoder, its `tokenizer.json`, and the share of the tokens of `texts` that kept their pieces.

    Raises `TrainingConfigError` where the tokenizer is not a Unigram tokenizer, or a layer does not exist.
    """
    whole = json.loads(tokenizer_json)
    if whole["model"]["type"] != "Unigram":
        raise TrainingConfigError(f"[pruning] needs a base with a Unigram tokenizer, not {whole['model']['type']}")
    vocabulary = [(piece, score) for piece, score in whole["model"]["vocab"]]
    counts = _counts(_definition(whole, vocabulary), texts)
    kept = _kept(vocabulary, counts, sizes.pieces)
    covered = sum(counts[i] for i in kept) / max(1, counts.total())
    small = _with_pieces(encoder, kept)
    keep_layers(small, sizes.layers)
    return small, _definition(whole, [vocabulary[i] for i in kept]), covered


def keep_layers(encoder: PreTrainedModel, layers: Sequence[int]) -> None:
    """Keeps these layers, numbered from 0, in this order (empty: all); raises where one does not exist."""
    there = encoder.config.num_hidden_layers
    if layers and max(layers) >= there:
        raise TrainingConfigError(f"[pruning] layers: the base has {there}, numbered from 0")
    if layers:
        body: Any = encoder.get_submodule("encoder")
        body.layer = torch.nn.ModuleList(body.layer[i] for i in layers)
        encoder.config.num_hidden_layers = len(layers)


def _definition(whole: dict[str, Any], vocabulary: Sequence[tuple[str, float]]) -> str:
    """The tokenizer JSON with our normaliser, which removes spaces before Han: each would cost a token."""
    tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.normalizer = normalizers.Sequence(
        [
            text_normalizer(),
            normalizers.Strip(),
            normalizers.Replace(Regex(r"\s+(?=\p{Han})"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(Regex(r"^(?=[^\p{Han}])"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never")
    made = json.loads(tokenizer.to_str())
    made["model"]["vocab"] = list(vocabulary)
    made["added_tokens"] = []
    names = [piece for piece, _ in vocabulary]
    made["model"]["unk_id"] = names.index("<unk>")
    for token in made["post_processor"]["special_tokens"].values():
        token["ids"] = [names.index(token["id"])]
    return json.dumps(made, ensure_ascii=False)


def _counts(tokenizer_json: str, texts: Iterable[str]) -> Counter[int]:
    tokenizer, counts = Tokenizer.from_str(tokenizer_json), Counter[int]()
    rest = iter(texts)
    while batch := list(islice(rest, 5000)):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            counts.update(encoding.ids)
    return counts


def _kept(vocabulary: Sequence[tuple[str, float]], counts: Counter[int], size: int) -> list[int]:
    """Ascending ids: specials and ASCII, then used pieces by frequency, Han characters by score, the rest by rank."""
    names = [piece for piece, _ in vocabulary]
    always = [i for i, p in enumerate(names) if p in ("<s>", "<pad>", "</s>", "<unk>") or (len(p) == 1 and p.isascii())]
    room = size * 9 // 10
    used = [i for i, _ in counts.most_common()]
    han = sorted((i for i, p in enumerate(names) if _HAN.fullmatch(p)), key=lambda i: -vocabulary[i][1])
    return sorted(list(dict.fromkeys([*always, *used[:room], *han, *used[room:], *range(len(names))]))[:size])


def _with_pieces(encoder: BertModel, kept: Sequence[int]) -> BertModel:
    changes = {"vocab_size": len(kept), "pad_token_id": 0}
    small = BertModel(BertConfig(**{**encoder.config.to_dict(), **changes}), add_pooling_layer=False)  # type: ignore[no-untyped-call]
    state = {name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler.")}
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][torch.tensor(kept)]
    small.load_state_dict(state)
    return small
