"""The fine-tuning loop.

It batches rows of similar length by a token budget, applies the chosen method, optimizer, schedule, loss and
augmentation, uses bf16 where the hardware multiplies it, stops early on validation rows, resumes a killed run from a
checkpoint, and runs in several processes under torchrun.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.atomic_file import replacing
from models.heads import TOWARD
from training.config import Hyperparameters
from training.data.augmentation import mixed, nearest_tokens
from training.data.batches import token_budget_batches
from training.data.examples import Example
from training.data.sampling import resampled
from training.data.step_rows import StepRows
from training.data.tensors import Row, mention_batch, pad, soft_targets, targets
from training.devices import bf16_pays
from training.evaluation.scores import macro_f1
from training.loop.losses import distillation_loss, masked_set_loss, mention_loss
from training.loop.optimizers import make_optimizer, rate_factor
from training.loop.trackers import Tracker
from training.network.adversarial import perturbed
from training.network.encoder import Classifier
from training.network.methods import Unfreezing, merge, prepare
from training.network.predict import predict, predict_toward
from training.network.toward import Mentions
from training.process_group import ProcessGroup
from training.progress import Progress
from training.run import Run

_REPORT_EVERY = 200
#: A few hundred rows would fit into one batch; smaller batches give an epoch at least this many steps.
_MIN_STEPS_PER_EPOCH = 20
_REPORT_EVERY_S = 15.0
_SAVE_EVERY_S = 120.0


@dataclass(slots=True)
class _State:
    """What a checkpoint holds in addition to the weights: `stale` counts the evaluations since the best one."""

    step: int = 0
    best: float = -1.0
    stale: int = 0
    stopped: bool = False

    def judge(self, scored: float, patience: int) -> bool:
        """Whether this evaluation is the best so far; after `patience` evaluations that are not, training stops."""
        better = scored > self.best
        self.best, self.stale = (scored, 0) if better else (self.best, self.stale + 1)
        self.stopped = self.stale >= patience
        return better


def fine_tune(
    model: Classifier,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    run: Run,
    *,
    validation: Sequence[Example] = (),
    trackers: Sequence[Tracker] = (),
) -> None:
    """Trains `model` in place; resumes from `checkpoint.pt` in the work folder and removes it at the end.

    With validation rows and `early_stopping`, the model ends with the weights of its best evaluation.
    """
    settings, group = run.settings, run.group
    torch.manual_seed(settings.seed)
    prepare(model, settings)
    model.to(group.device)
    near = nearest_tokens(model.words.weight) if settings.neighbours else ()
    rows = StepRows(tokenizer, examples, settings, near)
    plan = batch_plan(examples, rows.lengths, settings, group)
    stepper = _Stepper(model, settings, len(plan), group)
    checkpoint, best_file = run.work / "checkpoint.pt", run.work / "best.pt"
    state = stepper.resume(checkpoint)
    epoch_steps = max(1, round(len(plan) / settings.epochs))
    evaluate_at = max(1, round(epoch_steps * settings.evaluate_every))
    torch.manual_seed(settings.seed + state.step)
    meter, saved = _Meter(state.step, len(plan), group), time.monotonic()
    reported = saved
    while state.step < len(plan) and not state.stopped:
        step_batches = plan[state.step]
        rng = random.Random(settings.seed * 1_000_003 + state.step * group.size + group.rank)  # noqa: S311
        batches = [[rows.draw(i, rng) for i in b] for b in step_batches]
        meter.add(stepper.step(batches, state.step / len(plan), rng), sum(map(len, step_batches)))
        state.step += 1
        last = state.step == len(plan)
        scored: float | None = None
        if validation and settings.early_stopping and (state.step % evaluate_at == 0 or last):
            scored = _mean_f1(model, tokenizer, validation, settings)
            if state.judge(scored, settings.early_stopping) and group.first:
                save(best_file, model.state_dict())
        due = state.step % _REPORT_EVERY == 0 or time.monotonic() - reported > _REPORT_EVERY_S
        if group.first and (scored is not None or due or last):
            reported = time.monotonic()
            progress = meter.read(state.step, scored)
            run.reporter.progress(progress)
            for tracker in trackers:
                tracker.log(state.step, _figures(progress, stepper.learning_rate()))
        if group.first and time.monotonic() - saved > _SAVE_EVERY_S and not last:
            stepper.save(checkpoint, state)
            saved = time.monotonic()
    if best_file.exists():
        model.load_state_dict(torch.load(best_file, weights_only=True))
    merge(model, settings)
    model.to("cpu")
    if group.first:
        checkpoint.unlink(missing_ok=True)
        best_file.unlink(missing_ok=True)


class _Meter:
    """Mean loss since the last report; speed and time left, from the start of this process."""

    def __init__(self, first: int, steps: int, group: ProcessGroup) -> None:
        self._first, self._steps, self._group = first, steps, group
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
        return Progress(step, self._steps, loss, self._rows * self._group.size / elapsed, left, scored)


class _Stepper:
    """The optimizer and its schedule; makes one step after another."""

    def __init__(self, model: Classifier, settings: Hyperparameters, steps: int, group: ProcessGroup) -> None:
        self._model, self._settings, self._group = model, settings, group
        self._unfreezing = Unfreezing(model) if settings.method == "gradual" else None
        self._optimizer = make_optimizer(model, settings)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda s: rate_factor(s, steps, settings.warmup, settings.lr_schedule)
        )
        self._bf16 = settings.precision == "bf16" or (settings.precision == "auto" and bf16_pays(group.device))
        self._forward = group.wrap(model)

    def step(self, batches: Sequence[Sequence[tuple[Example, Row]]], done: float, rng: Any) -> Tensor:
        """Makes one optimizer step over accumulated batches.

        Returns the mean loss as a tensor on the device: reading its value would wait for the device.
        """
        settings, model = self._settings, self._model
        if self._unfreezing:
            self._unfreezing.at(done)
        model.train()
        if settings.method == "frozen":
            model.encoder.train(False)
        self._optimizer.zero_grad(set_to_none=True)
        trim = settings.small_loss_trim * min(1.0, done * settings.epochs)
        total = torch.zeros((), device=self._group.device)
        for batch in batches:
            loss = self._loss(batch, rng, trim) / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            if settings.adversarial:
                with perturbed(model.words, settings.adversarial) as moved:
                    if moved:
                        (self._loss(batch, rng, trim) / len(batches)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.grad is not None), 1.0)
        self._optimizer.step()
        self._schedule.step()
        return total

    def _loss(self, batch: Sequence[tuple[Example, Row]], rng: random.Random, trim: float) -> Tensor:
        settings, model, device = self._settings, self._model, self._group.device
        examples, rows = [example for example, _ in batch], [row for _, row in batch]
        input_ids, mask = (t.to(device) for t in pad([row.ids for row in rows]))
        mentions = None if model.toward is None else mention_batch(rows).to(device)
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
                if mentions is None:
                    return loss_of(self._forward(input_ids, mask))
                logits, toward = self._forward(input_ids, mask, mentions.row, mentions.start, mentions.end)
                at_mentions = mention_loss(toward, mentions, settings.label_smoothing, settings.loss)
                return loss_of(logits) + settings.toward_weight * at_mentions
            states = model.states(input_ids, mask)
            pooled = model.pooled(states, mask)
            moved, order, weight = mixed(pooled, settings.mixup, rng)
            logits = model.classify(moved)
            loss = weight * loss_of(logits) + (1 - weight) * loss_of(logits, order)
            if mentions is not None and model.toward is not None:
                toward = model.toward(states, mask, pooled, Mentions(mentions.row, mentions.start, mentions.end))
                at_mentions = mention_loss(toward, mentions, settings.label_smoothing, settings.loss)
                loss = loss + settings.toward_weight * at_mentions
        return loss

    def learning_rate(self) -> float:
        """The current learning rate of the first parameter group."""
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
    examples: Sequence[Example], lengths: Sequence[int], settings: Hyperparameters, group: ProcessGroup
) -> list[list[list[int]]]:
    """The batches of each step of this process, `gradient_accumulation_steps` of them, as indexes of examples."""
    batches: list[list[int]] = []
    budget = min(settings.batch_tokens, max(*lengths, sum(lengths) // _MIN_STEPS_PER_EPOCH))
    for epoch in range(math.ceil(settings.epochs)):
        drawn = resampled(examples, settings.resample, seed=settings.seed + epoch)
        made = token_budget_batches([lengths[i] for i in drawn], budget, seed=settings.seed + epoch)
        batches += [[drawn[i] for i in batch] for batch in made]
    batches = batches[: max(1, int(len(batches) * settings.epochs / math.ceil(settings.epochs)))]
    size = settings.gradient_accumulation_steps
    while len(batches) % (size * group.size):
        batches.append(batches[len(batches) % max(1, len(batches) // 2)])
    mine = batches[group.rank :: group.size]
    return [mine[i : i + size] for i in range(0, len(mine), size)]


def save(path: Path, value: Any) -> None:
    """Saves `value` with torch; a kill meanwhile leaves the former file."""
    with replacing(path) as partial:
        torch.save(value, partial)


def _mean_f1(model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], settings: Hyperparameters) -> float:
    found = predict(model, tokenizer, [e.text for e in rows], settings.max_tokens)
    scores = [macro_f1(found[h].numpy(), rows, h) for h in model.widths if any(h in e.targets for e in rows)]
    if model.toward is not None and any(e.mentions for e in rows):
        judged, predicted = predict_toward(model, tokenizer, rows, settings.max_tokens)
        scores.append(macro_f1(predicted, judged, TOWARD))
    return sum(scores) / max(1, len(scores))


def _taken(tensors: dict[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    return {h: t[order] for h, t in tensors.items()}


def _figures(progress: Progress, rate: float) -> dict[str, float]:
    figures = {"train/loss": progress.loss, "train/rate": rate, "train/rows_per_s": progress.rows_per_s}
    return figures if progress.validation is None else {**figures, "validation/macro_f1": progress.validation}
