"""A tiny BERT on a made-up language, so that every test really trains."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from training.config import Hyperparameters, TrainingConfig
from training.data.examples import Example
from training.network.encoder import Classifier
from training.process_group import ProcessGroup
from training.progress import Progress
from training.run import Reporter, Run

GOOD, BAD = ["good", "fine", "great", "好", "棒"], ["bad", "awful", "broken", "坏", "糟"]
PLAIN = ["phone", "the", "it", "was", "hotel", "screen", "手机", "酒店", "service", "today", "again", "new"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN, *map(str, range(400))]
RECIPE = """
[train]
max_tokens = 32
batch_tokens = 512
epochs = 4.0
encoder_lr = 2e-3
head_lr = 1e-2
dropout = 0.0
track = []
"""
HEADS = {"sentiment": ["negative", "positive"]}


def sentence(rng: random.Random, good: bool) -> str:
    words = rng.sample(PLAIN, rng.randint(2, 8)) + [str(rng.randrange(400)) for _ in range(4)]
    words += rng.sample(GOOD if good else BAD, 2)
    rng.shuffle(words)
    return " ".join(words)


def toy_rows(n: int, seed: int = 0, wrong: float = 0.0) -> list[dict[str, Any]]:
    """`n` texts in two classes; a share of the labels is wrong."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        good = i % 2 == 0
        label = good if rng.random() >= wrong else not good
        rows.append({"text": sentence(rng, good), "label": HEADS["sentiment"][int(label)]})
    return rows


def toy_examples(n: int, seed: int = 0) -> list[Example]:
    return [Example(r["text"], "toy", {"sentiment": (int(r["label"] == "positive"),)}) for r in toy_rows(n, seed)]


def toy_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def toy_encoder() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


@pytest.fixture
def model() -> Classifier:
    return Classifier(toy_encoder(), HEADS, 0.0)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as Hugging Face writes it."""
    folder = tmp_path_factory.mktemp("base")
    toy_encoder().save_pretrained(folder)
    toy_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def settings(**changes: Any) -> Hyperparameters:
    plain = {
        "max_tokens": 32,
        "batch_tokens": 512,
        "epochs": 4.0,
        "encoder_lr": 2e-3,
        "head_lr": 1e-2,
        "track": [],
    }
    return Hyperparameters(**{**plain, "dropout": 0.0, **changes})


def run_in(work: Path, settings: Hyperparameters, progress: Callable[[Progress], None] = lambda _: None) -> Run:
    """A run of one process with these settings that reports only its progress."""
    return Run(TrainingConfig(train=settings), work, Reporter(progress=progress), ProcessGroup())


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    return path
