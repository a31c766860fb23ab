"""The fine-tuning loop: token-budget batches, AdamW, warm-up and cosine decay, checkpoints, bf16 where it pays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.batches import token_budget_batches
from training.config import Hyperparameters
from training.data import Example
from training.losses import masked_set_loss
from training.network import Classifier


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: steps done and planned, mean loss since the last report, rows per second, minutes left."""

    step: int
    steps: int
    loss: float
    rows_per_s: float
    minutes_left: float


def fine_tune(
    model: Classifier,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    settings: Hyperparameters,
    checkpoint: Path,
    report: Callable[[Progress], None],
    *,
    every: int = 200,
) -> None:
    """Trains `model` in place; resumes from `checkpoint` where it exists and removes it at the end."""
    torch.manual_seed(settings.seed)
    ids = encode(tokenizer, [e.text for e in examples], settings.max_tokens)
    lengths = [len(i) for i in ids]
    plan = [
        batch
        for epoch in range(math.ceil(settings.epochs))
        for batch in token_budget_batches(lengths, settings.batch_tokens, seed=settings.seed + epoch)
    ]
    plan = plan[: int(len(plan) * settings.epochs / math.ceil(settings.epochs))]
    optimizer = _optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: rate_factor(s, len(plan), settings.warmup))
    first = _resume(checkpoint, model, optimizer, schedule)
    bf16 = bf16_pays()
    model.train()
    started, rows, losses = time.monotonic(), 0, 0.0
    for step in range(first, len(plan)):
        batch = [examples[i] for i in plan[step]]
        input_ids, mask = pad([ids[i] for i in plan[step]])
        allowed, weights = targets(batch, model.widths)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(input_ids, mask)
        loss = masked_set_loss(model.split(logits), allowed, weights, settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        rows, losses = rows + len(batch), losses + loss.item()
        if (step + 1) % every == 0 or step + 1 == len(plan):
            done = step + 1 - first
            elapsed = time.monotonic() - started
            report(
                Progress(
                    step + 1,
                    len(plan),
                    losses / ((step % every) + 1),
                    rows / elapsed,
                    elapsed / done * (len(plan) - step - 1) / 60,
                )
            )
            losses = 0.0
            if (step + 1) % (5 * every) == 0:
                _save(checkpoint, model, optimizer, schedule, step + 1)
    checkpoint.unlink(missing_ok=True)


def bf16_pays() -> bool:
    """Whether this processor multiplies bf16 in hardware; elsewhere oneDNN emulates it, 80 times slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over `warmup` (share of steps), then cosine decay to 0; in [0, 1]."""
    ramp = max(1, int(steps * warmup))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - ramp) / max(1, steps - ramp))))


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids per text, cut to `max_tokens` with the closing special token kept."""
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """int64[batch, longest] ids (0 is padding) and their attention mask."""
    width = max(len(row) for row in ids)
    padded = torch.zeros(len(ids), width, dtype=torch.long)
    mask = torch.zeros(len(ids), width, dtype=torch.long)
    for i, row in enumerate(ids):
        padded[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return padded, mask


def targets(batch: Sequence[Example], widths: dict[str, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Per head: bool[batch, classes] of allowed classes, float32[batch] of weights."""
    allowed = {h: torch.zeros(len(batch), n, dtype=torch.bool) for h, n in widths.items()}
    weights = {h: torch.ones(len(batch)) for h in widths}
    for i, example in enumerate(batch):
        for head, classes in example.targets.items():
            allowed[head][i, list(classes)] = True
            weights[head][i] = example.weights.get(head, 1.0)
    return allowed, weights


def _optimizer(model: Classifier, settings: Hyperparameters) -> torch.optim.Optimizer:
    fresh, encoder = [], []
    for name, parameter in model.named_parameters():
        (fresh if name.startswith("output") or "word_embeddings" in name else encoder).append(parameter)
    groups = [
        {"params": fresh, "lr": settings.fresh_rate, "weight_decay": 0.0},
        {"params": encoder, "lr": settings.encoder_rate, "weight_decay": settings.weight_decay},
    ]
    return torch.optim.AdamW(groups, fused=True)


def _save(
    path: Path,
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    step: int,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "step": step,
        },
        partial,
    )
    partial.replace(path)


def _resume(
    path: Path, model: Classifier, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
