"""The fine-tuning loop.

Token-budget batches of like lengths, the chosen method, optimizer, schedule, loss and augmentation, bf16 where it
pays, early stopping on validation rows, checkpoints from which a killed run goes on, several processes by torchrun.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.config import Hyperparameters
from training.data.augmentation import Augmenter, mixed, nearest_tokens
from training.data.batches import token_budget_batches
from training.data.examples import Example
from training.data.sampling import resampled
from training.data.tensors import encode, pad, predict, soft_targets, targets
from training.evaluation.scores import macro_f1
from training.loop.devices import bf16_pays
from training.loop.losses import distillation_loss, masked_set_loss
from training.loop.optimizers import make_optimizer, rate_factor
from training.loop.process_group import World
from training.loop.trackers import Tracker
from training.network.adversarial import perturbed
from training.network.encoder import Classifier
from training.network.methods import Unfreezing, merge, prepare

_REPORT_EVERY = 200
#: A few hundred rows are not to be one batch: smaller batches, so that an epoch has so many steps.
_MIN_STEPS_PER_EPOCH = 20
_REPORT_EVERY_S = 15.0
_SAVE_EVERY_S = 120.0


@dataclass(frozen=True, slots=True)
class Progress:
    """One report: steps done and planned, mean loss since the last report, rows per second, minutes left.

    `validation` is the mean macro F1 over the heads where this step was an evaluation.
    """

    step: int
    steps: int
    loss: float
    rows_per_s: float
    minutes_left: float
    validation: float | None = None


@dataclass(slots=True)
class _State:
    """What a checkpoint holds beside weights: `stale` counts evaluations without a better one."""

    step: int = 0
    best: float = -1.0
    stale: int = 0
    stopped: bool = False

    def judge(self, scored: float, patience: int) -> bool:
        """Whether this evaluation is the best so far; stops after `patience` that were not."""
        better = scored > self.best
        self.best, self.stale = (scored, 0) if better else (self.best, self.stale + 1)
        self.stopped = self.stale >= patience
        return better


def fine_tune(
    model: Classifier,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    settings: Hyperparameters,
    work: Path,
    report: Callable[[Progress], None],
    *,
    validation: Sequence[Example] = (),
    trackers: Sequence[Tracker] = (),
    world: World | None = None,
) -> None:
    """Trains `model` in place; goes on from `work/checkpoint.pt` where it exists and removes it at the end.

    With validation rows and `early_stopping`, the weights of the best evaluation are those kept.
    """
    world = world or World()
    torch.manual_seed(settings.seed)
    prepare(model, settings)
    model.to(world.device)
    ids = encode(tokenizer, [e.text for e in examples], settings.max_tokens)
    plan = batch_plan(examples, [len(row) for row in ids], settings, world)
    run = _Run(model, settings, len(plan), world)
    checkpoint, best_file = work / "checkpoint.pt", work / "best.pt"
    state = run.resume(checkpoint)
    near = nearest_tokens(model.words.weight) if settings.neighbours else ()
    augment = Augmenter(settings.token_dropout, settings.neighbours, settings.span_swap, near)
    epoch_steps = max(1, round(len(plan) / settings.epochs))
    evaluate_at = max(1, round(epoch_steps * settings.evaluate_every))
    torch.manual_seed(settings.seed + state.step)
    meter, saved = _Meter(state.step, len(plan), world), time.monotonic()
    told = saved
    while state.step < len(plan) and not state.stopped:
        group = plan[state.step]
        rng = random.Random(settings.seed * 1_000_003 + state.step * world.size + world.rank)  # noqa: S311
        batches = [([examples[i] for i in b], [augment(ids[i], rng) for i in b]) for b in group]
        meter.add(run.step(batches, state.step / len(plan), rng), sum(map(len, group)))
        state.step += 1
        last = state.step == len(plan)
        scored: float | None = None
        if validation and settings.early_stopping and (state.step % evaluate_at == 0 or last):
            scored = _mean_f1(model, tokenizer, validation, settings)
            if state.judge(scored, settings.early_stopping) and world.first:
                save(best_file, model.state_dict())
        due = state.step % _REPORT_EVERY == 0 or time.monotonic() - told > _REPORT_EVERY_S
        if world.first and (scored is not None or due or last):
            told = time.monotonic()
            news = meter.read(state.step, scored)
            report(news)
            for tracker in trackers:
                tracker.log(state.step, _figures(news, run.rate()))
        if world.first and time.monotonic() - saved > _SAVE_EVERY_S and not last:
            run.save(checkpoint, state)
            saved = time.monotonic()
    if best_file.exists():
        model.load_state_dict(torch.load(best_file, weights_only=True))
    merge(model, settings)
    model.to("cpu")
    if world.first:
        checkpoint.unlink(missing_ok=True)
        best_file.unlink(missing_ok=True)


class _Meter:
    """Loss since the last reading, speed and time left since the start."""

    def __init__(self, first: int, steps: int, world: World) -> None:
        self._first, self._steps, self._world = first, steps, world
        self._started, self._rows = time.monotonic(), 0
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor, rows: int) -> None:
        self._losses.append(loss)
        self._rows += rows

    def read(self, step: int, scored: float | None) -> Progress:
        elapsed = time.monotonic() - self._started
        left = elapsed / (step - self._first) * (self._steps - step) / 60
        loss = float(torch.stack(self._losses).mean())
        self._losses = []
        return Progress(step, self._steps, loss, self._rows * self._world.size / elapsed, left, scored)


class _Run:
    """Optimizer, schedule and one step of them."""

    def __init__(self, model: Classifier, settings: Hyperparameters, steps: int, world: World) -> None:
        self._model, self._settings, self._world = model, settings, world
        self._unfreezing = Unfreezing(model) if settings.method == "gradual" else None
        self._optimizer = make_optimizer(model, settings)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda s: rate_factor(s, steps, settings.warmup, settings.decay)
        )
        self._bf16 = settings.precision == "bf16" or (settings.precision == "auto" and bf16_pays(world.device))
        self._forward = world.wrap(model)

    def step(
        self, batches: Sequence[tuple[Sequence[Example], Sequence[Sequence[int]]]], done: float, rng: Any
    ) -> Tensor:
        """One optimizer step over accumulated batches; the mean loss, left on the device: to read it is to wait."""
        settings, model = self._settings, self._model
        if self._unfreezing:
            self._unfreezing.at(done)
        model.train()
        if settings.method == "frozen":
            model.encoder.train(False)
        self._optimizer.zero_grad(set_to_none=True)
        trim = settings.trim * min(1.0, done * settings.epochs)
        total = torch.zeros((), device=self._world.device)
        for examples, ids in batches:
            loss = self._loss(examples, ids, rng, trim) / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if settings.adversarial:
                with perturbed(model.words, settings.adversarial) as moved:
                    if moved:
                        (self._loss(examples, ids, rng, trim) / len(batches)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.grad is not None), 1.0)
        self._optimizer.step()
        self._schedule.step()
        return total

    def _loss(
        self, examples: Sequence[Example], ids: Sequence[Sequence[int]], rng: random.Random, trim: float
    ) -> Tensor:
        settings, model, device = self._settings, self._model, self._world.device
        input_ids, mask = (t.to(device) for t in pad(ids))
        allowed, weights = targets(examples, model.widths)
        allowed = {h: t.to(device) for h, t in allowed.items()}
        weights = {h: t.to(device) for h, t in weights.items()}
        soft = soft_targets(examples, model.widths)
        soft = {h: t.to(device) for h, t in soft.items()}

        def loss_of(logits: Tensor, order: list[int] | None = None) -> Tensor:
            a, w, s = (
                (allowed, weights, soft) if order is None else (_taken(t, order) for t in (allowed, weights, soft))
            )
            heads = model.split(logits)
            own = masked_set_loss(heads, a, w, settings.label_smoothing, settings.loss, trim)
            if not s:
                return own
            share = settings.teacher_share
            return (1 - share) * own + share * distillation_loss(heads, s, settings.teacher_temperature)

        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self._bf16):
            if not settings.mixup or len(examples) < 2:
                return loss_of(self._forward(input_ids, mask))
            pooled, order, weight = mixed(model.pooled(input_ids, mask), settings.mixup, rng)
            logits = model.classify(pooled)
        return weight * loss_of(logits) + (1 - weight) * loss_of(logits, order)

    def rate(self) -> float:
        """The first group's learning rate now."""
        return float(self._schedule.get_last_lr()[0])

    def save(self, path: Path, state: _State) -> None:
        parts: dict[str, Any] = {"model": self._model, "optimizer": self._optimizer, "schedule": self._schedule}
        save(path, {**{k: v.state_dict() for k, v in parts.items()}, "state": asdict(state)})

    def resume(self, path: Path) -> _State:
        if not path.exists():
            return _State()
        kept = torch.load(path, weights_only=True)
        self._model.load_state_dict(kept["model"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        return _State(**kept["state"])


def batch_plan(
    examples: Sequence[Example], lengths: Sequence[int], settings: Hyperparameters, world: World
) -> list[list[list[int]]]:
    """For each step of this process its batches (`accumulation` of them), as indexes of examples."""
    batches: list[list[int]] = []
    budget = min(settings.batch_tokens, max(*lengths, sum(lengths) // _MIN_STEPS_PER_EPOCH))
    for epoch in range(math.ceil(settings.epochs)):
        drawn = resampled(examples, settings.resample, seed=settings.seed + epoch)
        made = token_budget_batches([lengths[i] for i in drawn], budget, seed=settings.seed + epoch)
        batches += [[drawn[i] for i in batch] for batch in made]
    batches = batches[: max(1, int(len(batches) * settings.epochs / math.ceil(settings.epochs)))]
    size = settings.accumulation
    while len(batches) % (size * world.size):
        batches.append(batches[len(batches) % max(1, len(batches) // 2)])
    mine = batches[world.rank :: world.size]
    return [mine[i : i + size] for i in range(0, len(mine), size)]


def save(path: Path, value: Any) -> None:
    """Written beside and renamed: a kill in between leaves the file before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def _mean_f1(model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], settings: Hyperparameters) -> float:
    found = predict(model, tokenizer, [e.text for e in rows], settings.max_tokens)
    scores = [macro_f1(found[h].numpy(), rows, h) for h in model.widths if any(h in e.targets for e in rows)]
    return sum(scores) / max(1, len(scores))


def _taken(tensors: dict[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    return {h: t[order] for h, t in tensors.items()}


def _figures(news: Progress, rate: float) -> dict[str, float]:
    figures = {"train/loss": news.loss, "train/rate": rate, "train/rows_per_s": news.rows_per_s}
    return figures if news.validation is None else {**figures, "validation/macro_f1": news.validation}
