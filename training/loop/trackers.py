"""Where a run's figures go: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from models.json_types import JsonObject
from training.config import TrainingConfigError


class Tracker(Protocol):
    """One run of one tool."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files under `folder`."""

    def __init__(self, folder: Path, settings: JsonObject) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        self._writer.add_text("settings", "  \n".join(f"{k} = {v}" for k, v in settings.items()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of project `opinionwatch`; WANDB_MODE=offline keeps it in `folder`."""

    def __init__(self, folder: Path, settings: JsonObject) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="opinionwatch", dir=str(folder), config=dict(settings))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MlFlow:
    """A run of experiment `opinionwatch` on MLFLOW_TRACKING_URI, else under `folder`."""

    def __init__(self, folder: Path, settings: JsonObject) -> None:
        import mlflow

        folder.mkdir(parents=True, exist_ok=True)
        if not mlflow.is_tracking_uri_set():
            mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.sqlite")
        mlflow.set_experiment("opinionwatch")
        self._mlflow = mlflow
        mlflow.start_run()
        mlflow.log_params({k: str(v) for k, v in settings.items()})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


_TOOLS: dict[str, Callable[[Path, JsonObject], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MlFlow,
}


def open_trackers(names: Sequence[str], folder: Path, settings: JsonObject) -> list[Tracker]:
    """One tracker per name; raises `TrainingConfigError` where a tool is not installed, or does not open a run."""
    made: list[Tracker] = []
    for name in names:
        try:
            made.append(_TOOLS[name](folder / name, settings))
        except ImportError as error:
            raise TrainingConfigError(f"train.track {name!r} needs {error.name}: pip install {name}") from None
        except Exception as error:  # each tool has its own kinds: no log-in, no server, a store it lacks the parts for
            why = str(error).strip().split("\n")[0][:200]
            raise TrainingConfigError(f"train.track {name!r} opens no run: {why}; mend that or leave it out") from None
    return made
