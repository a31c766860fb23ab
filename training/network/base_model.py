"""The base of a training: a bundle, or an encoder of the BERT family from a folder or the hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from training.network.from_bundle import from_bundle
from training.network.pruning import keep_layers, pruned
from training.run import Run


def base_model(
    base: str, run: Run, heads: dict[str, list[str]], examples: Sequence[Example], data: Path | None
) -> tuple[Classifier, str]:
    """The network to train and its `tokenizer.json`; `base` is a folder or a name on the hub.

    `data` is the folder of the recipe's files. Raises `TrainingConfigError` where `base` is neither a bundle nor a
    model that transformers can open.
    """
    config = run.config
    torch.manual_seed(config.train.seed)
    folder = Path(base)
    try:
        if (folder / "manifest.json").exists():
            model, tokenizer_json = from_bundle(folder, heads, config.train.dropout)
            if config.pruning is not None and config.pruning.layers:
                keep_layers(model.encoder, config.pruning.layers)
            return model, tokenizer_json
    except BundleError as error:
        raise TrainingConfigError(f"--base {base}: {error}") from None
    if folder.exists() and not (folder / "config.json").exists():
        raise TrainingConfigError(
            f"--base {base}: neither a bundle (manifest.json) nor a model folder (config.json, weights, tokenizer.json)"
        )
    encoder, tokenizer_json = _opened(base)
    if config.pruning is not None:
        if not isinstance(encoder, BertModel):
            raise TrainingConfigError(f"[pruning] needs a BERT base; {base} is a {type(encoder).__name__}")
        texts = _texts(config, examples, data)
        encoder, tokenizer_json, covered = pruned(encoder, tokenizer_json, config.pruning, texts)
        kept = encoder.config
        run.log(f"{kept.num_hidden_layers} layers, {kept.vocab_size} pieces for {covered:.1%} of the tokens")
        return Classifier(encoder, heads, config.train.dropout), tokenizer_json
    if config.vocabulary is None:
        return Classifier(encoder, heads, config.train.dropout), tokenizer_json
    if not isinstance(encoder, BertModel):
        raise TrainingConfigError(f"[vocabulary] needs a BERT base; {base} is a {type(encoder).__name__}")
    return _with_vocabulary(encoder, tokenizer_json, run, heads, _texts(config, examples, data))


def _opened(base: str) -> tuple[Any, str]:
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        encoder = AutoModel.from_pretrained(base, attn_implementation="sdpa", dtype=torch.float32)
        local = Path(base) / "tokenizer.json"
        if local.exists():
            tokenizer_json = local.read_text("utf-8")
        else:
            tokenizer_json = AutoTokenizer.from_pretrained(base, use_fast=True).backend_tokenizer.to_str()
    except Exception as error:  # the hub client raises its own kinds; any of them means that there is no base
        first = str(error).strip().split("\n")[0][:200]
        raise TrainingConfigError(f"--base {base}: transformers cannot open it: {first}") from None
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder, tokenizer_json


def _texts(config: TrainingConfig, examples: Sequence[Example], data: Path | None) -> list[str]:
    texts = list(dict.fromkeys(e.text for e in examples))
    return texts + [row_text(row) for name in config.unlabelled if data for row in read_rows(data / name)]


def _with_vocabulary(
    encoder: BertModel,
    tokenizer_json: str,
    run: Run,
    heads: dict[str, list[str]],
    texts: Sequence[str],
) -> tuple[Classifier, str]:
    config = run.config
    pieces, rows_file, tokenizer_file = (run.work / name for name in ("pieces.json", "rows.npy", "tokenizer.json"))
    if not rows_file.exists():
        base_tokenizer = Tokenizer.from_str(tokenizer_json)
        base_tokenizer.no_truncation()
        base_tokenizer.no_padding()
        vocabulary = build_vocabulary(base_tokenizer, texts, config.vocabulary or VocabularyConfig())
        run.log(f"{len(vocabulary.pieces)} pieces; word2vec over {len(texts)} texts")
        base_rows = encoder.embeddings.word_embeddings.weight.detach().numpy()
        rows = initial_rows(vocabulary, base_tokenizer, base_rows, texts, seed=config.train.seed)
        pieces.write_text(json.dumps(vocabulary.pieces, ensure_ascii=False))
        tokenizer_file.write_text(vocabulary.tokenizer_json, "utf-8")
        np.save(rows_file, rows)
    model = build_classifier(encoder, torch.from_numpy(np.load(rows_file)), heads, config.train.dropout)
    return model, tokenizer_file.read_text("utf-8")
