"""Where training starts: a bundle, or an encoder of the BERT family from a folder or the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer, BertModel
from transformers.utils import logging

from models.bundle import BundleError
from training.config import TrainingConfig, TrainingConfigError, VocabularyConfig
from training.data.examples import Example, read_rows, row_text
from training.data.vocabulary import build_vocabulary
from training.network.embeddings import initial_rows
from training.network.encoder import Classifier, build_classifier
from training.network.from_bundle import restore_bundle
from training.network.pruning import keep_layers, shrunk


def starting_point(
    base: str,
    config: TrainingConfig,
    heads: dict[str, list[str]],
    examples: Sequence[Example],
    work: Path,
    data: Path | None,
    say: Callable[[str], None],
) -> tuple[Classifier, str]:
    """The network to train and its `tokenizer.json`. `base` is a folder or a name on the hub.

    Raises `TrainingConfigError` where it is neither a bundle nor a model that transformers can open.
    """
    torch.manual_seed(config.train.seed)
    folder = Path(base)
    try:
        if (folder / "manifest.json").exists():
            model, definition = restore_bundle(folder, heads, config.train.dropout)
            if config.shrink is not None and config.shrink.layers:
                keep_layers(model.encoder, config.shrink.layers)
            return model, definition
    except BundleError as error:
        raise TrainingConfigError(f"--base {base}: {error}") from None
    if folder.exists() and not (folder / "config.json").exists():
        raise TrainingConfigError(
            f"--base {base}: neither a bundle (manifest.json) nor a model folder (config.json, weights, tokenizer.json)"
        )
    encoder, definition = _opened(base)
    if config.shrink is not None:
        if not isinstance(encoder, BertModel):
            raise TrainingConfigError(f"[shrink] needs a BERT base; {base} is a {type(encoder).__name__}")
        texts = _texts(config, examples, data)
        encoder, definition, covered = shrunk(encoder, definition, config.shrink, texts)
        kept = encoder.config
        say(f"{kept.num_hidden_layers} layers, {kept.vocab_size} pieces for {covered:.1%} of the tokens")
        return Classifier(encoder, heads, config.train.dropout), definition
    if config.vocabulary is None:
        return Classifier(encoder, heads, config.train.dropout), definition
    if not isinstance(encoder, BertModel):
        raise TrainingConfigError(f"[vocabulary] needs a BERT base; {base} is a {type(encoder).__name__}")
    return _with_vocabulary(encoder, definition, config, heads, examples, work, data, say)


def _opened(base: str) -> tuple[Any, str]:
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        encoder = AutoModel.from_pretrained(base, attn_implementation="sdpa", dtype=torch.float32)
        local = Path(base) / "tokenizer.json"
        if local.exists():
            definition = local.read_text("utf-8")
        else:
            definition = AutoTokenizer.from_pretrained(base, use_fast=True).backend_tokenizer.to_str()
    except Exception as error:  # the hub client raises its own kinds; any of them means that there is no base
        first = str(error).strip().split("\n")[0][:200]
        raise TrainingConfigError(f"--base {base}: transformers cannot open it: {first}") from None
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder, definition


def _texts(config: TrainingConfig, examples: Sequence[Example], data: Path | None) -> list[str]:
    texts = list(dict.fromkeys(e.text for e in examples))
    return texts + [row_text(row) for name in config.unlabelled if data for row in read_rows(data / name)]


def _with_vocabulary(
    encoder: BertModel,
    definition: str,
    config: TrainingConfig,
    heads: dict[str, list[str]],
    examples: Sequence[Example],
    work: Path,
    data: Path | None,
    say: Callable[[str], None],
) -> tuple[Classifier, str]:
    pieces, rows_file, tokenizer_file = work / "pieces.json", work / "rows.npy", work / "tokenizer.json"
    if not rows_file.exists():
        base_tokenizer = Tokenizer.from_str(definition)
        base_tokenizer.no_truncation()
        base_tokenizer.no_padding()
        texts = _texts(config, examples, data)
        vocabulary = build_vocabulary(base_tokenizer, texts, config.vocabulary or VocabularyConfig())
        say(f"{len(vocabulary.pieces)} pieces; word2vec over {len(texts)} texts")
        base_rows = encoder.embeddings.word_embeddings.weight.detach().numpy()
        rows = initial_rows(vocabulary, base_tokenizer, base_rows, texts, seed=config.train.seed)
        pieces.write_text(json.dumps(vocabulary.pieces, ensure_ascii=False))
        tokenizer_file.write_text(vocabulary.definition, "utf-8")
        np.save(rows_file, rows)
    model = build_classifier(encoder, torch.from_numpy(np.load(rows_file)), heads, config.train.dropout)
    return model, tokenizer_file.read_text("utf-8")
