"""Two processes that torchrun starts learn what one does that accumulates two batches a step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import RECIPE, toy_rows, write_jsonl

COMMAND = ("-m", "pipeline.cli.main", "train")


def weights(base: Path, out: Path, launcher: list[str], recipe: str) -> dict[str, torch.Tensor]:
    """Of `opinionwatch train` on 120 rows; every process must end well."""
    config, data = out.with_suffix(".toml"), out.with_suffix(".jsonl")
    config.write_text(recipe, "utf-8")
    write_jsonl(data, toy_rows(120))
    options = ["--data", str(data), "--config", str(config), "--base", str(base), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *launcher, *COMMAND, *options], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (out / "manifest.json").exists()
    found: dict[str, torch.Tensor] = torch.load(out.with_name(out.name + ".work") / "weights.pt", weights_only=True)
    return found


@pytest.mark.timeout(600)  # three processes that import torch, on cores that other tests use
def test_two_processes_learn_what_one_does_in_steps_twice_as_large(base_folder: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    exact = RECIPE + 'precision = "fp32"\n'
    both = weights(base_folder, tmp_path / "two", torchrun, exact)
    alone = weights(base_folder, tmp_path / "one", [], exact + "gradient_accumulation_steps = 2\n")
    assert both.keys() == alone.keys()
    for name, value in alone.items():
        assert torch.allclose(both[name], value, atol=1e-4), name
