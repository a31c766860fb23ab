"""One epoch by our loop beside transformers' Trainer with its defaults: same weights, rows and threads, in turns."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.utils.data import Dataset
from transformers import BertForSequenceClassification, Trainer, TrainingArguments

from benchmarks.training import HEADS, ROOT, split
from models.engine import usable_cores
from training.config import Hyperparameters, TrainingConfig
from training.data.examples import Example
from training.data.tensors import encode, pad
from training.loop.finetune import fine_tune
from training.network.from_bundle import from_bundle
from training.run import Run

MAX_TOKENS = 64


class Rows(Dataset[Any]):
    """Token ids and the label of each row."""

    def __init__(self, ids: list[list[int]], examples: list[Example]) -> None:
        self._rows = [
            {"input_ids": i, "label": e.targets["informative"][0]} for i, e in zip(ids, examples, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    input_ids, mask = pad([r["input_ids"] for r in rows])
    return {"input_ids": input_ids, "attention_mask": mask, "labels": torch.tensor([r["label"] for r in rows])}


def ours(train: list[Example]) -> float:
    model, tokenizer_json = from_bundle(ROOT / "models" / "starter", HEADS, 0.1)
    settings = Hyperparameters(max_tokens=MAX_TOKENS, batch_tokens=2048, epochs=1.0, track=[])
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        run = Run(TrainingConfig(train=settings), Path(work))
        fine_tune(model, Tokenizer.from_str(tokenizer_json), train, run)
    return len(train) / (time.monotonic() - started)


def theirs(train: list[Example]) -> float:
    model, tokenizer_json = from_bundle(ROOT / "models" / "starter", HEADS, 0.1)
    network = BertForSequenceClassification(model.encoder.config)
    network.bert.load_state_dict(model.encoder.state_dict(), strict=False)
    ids = encode(Tokenizer.from_str(tokenizer_json), [e.text for e in train], MAX_TOKENS)
    with tempfile.TemporaryDirectory() as work:
        options = TrainingArguments(work, num_train_epochs=1, report_to=[], save_strategy="no", disable_tqdm=True)
        trainer = Trainer(network, options, train_dataset=Rows(ids, train), data_collator=collate)
        started = time.monotonic()
        trainer.train()
        return len(train) / (time.monotonic() - started)


def compare(n: int, repeat: int = 2) -> str:
    torch.set_num_threads(usable_cores())
    train = split(n, None, 0.0, 1)[0]
    runs = [(ours(train), theirs(train)) for _ in range(repeat)]
    lines = [f"ours {a:.1f} rows/s, Trainer {b:.1f} rows/s, ratio {a / b:.2f}" for a, b in runs]
    return "\n".join(["\none epoch against transformers' Trainer with its defaults", *lines])
