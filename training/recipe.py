"""From a configuration to trained weights: vocabulary, embeddings, fine-tuning. Each step is kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from training.config import TrainingConfig, TrainingConfigError
from training.data import Example, load_training, read_rows, row_text
from training.embeddings import initial_rows
from training.loop import Progress, fine_tune
from training.network import Classifier, build_classifier
from training.restore import restore_bundle
from training.vocabulary import build_vocabulary


def train_recipe(
    config: TrainingConfig, data: Path, base: Path, work: Path, say: Callable[[str], None]
) -> tuple[Classifier, str]:
    """Trains in `work` (resumable).

    `base` is a local directory of a BERT encoder in Hugging Face layout, which gets a vocabulary made from the
    data, or a bundle, whose vocabulary and weights are kept.
    """
    from_bundle = (base / "manifest.json").exists()
    if not from_bundle and not ((base / "config.json").exists() and (base / "tokenizer.json").exists()):
        raise TrainingConfigError(f"--base {base}: neither a bundle nor a model folder with config and tokenizer")
    work.mkdir(parents=True, exist_ok=True)
    examples = load_training(config, data)
    say(f"{len(examples)} training rows")
    torch.manual_seed(config.train.seed)
    model, definition = (
        restore_bundle(base, config.heads, config.train.dropout)
        if from_bundle
        else _fresh(config, data, base, work, examples, say)
    )
    weights = work / "weights.pt"
    if not weights.exists():
        tokenizer = Tokenizer.from_str(definition)
        fine_tune(model, tokenizer, examples, config.train, work / "checkpoint.pt", lambda p: say(_line(p)))
        torch.save(model.state_dict(), weights)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval(), definition


def _fresh(
    config: TrainingConfig, data: Path, base: Path, work: Path, examples: list[Example], say: Callable[[str], None]
) -> tuple[Classifier, str]:
    encoder = BertModel.from_pretrained(base, attn_implementation="sdpa")
    pieces, rows_file, tokenizer_file = work / "pieces.json", work / "rows.npy", work / "tokenizer.json"
    if not rows_file.exists():
        base_tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        base_tokenizer.no_truncation()
        base_tokenizer.no_padding()
        texts = list(dict.fromkeys(e.text for e in examples))
        texts += [row_text(row) for name in config.unlabelled for row in read_rows(data / name)]
        vocabulary = build_vocabulary(base_tokenizer, texts, config.vocabulary)
        say(f"{len(vocabulary.pieces)} pieces; word2vec over {len(texts)} texts")
        base_rows = encoder.embeddings.word_embeddings.weight.detach().numpy()
        rows = initial_rows(vocabulary, base_tokenizer, base_rows, texts, seed=config.train.seed)
        pieces.write_text(json.dumps(vocabulary.pieces, ensure_ascii=False))
        tokenizer_file.write_text(vocabulary.definition, "utf-8")
        np.save(rows_file, rows)
    model = build_classifier(encoder, torch.from_numpy(np.load(rows_file)), config.heads, config.train.dropout)
    return model, tokenizer_file.read_text("utf-8")


def _line(p: Progress) -> str:
    return f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.rows_per_s:.0f} rows/s  {p.minutes_left:.1f} min left"
