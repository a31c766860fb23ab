"""The exceptions of the pipeline.

PipelineError
  Transient   a dependency is unreachable or refuses for now: retry in place, no ack
  Poison      this post can never be processed: dead letter, awaited, then ack
  Fatal       configuration, credentials, bundle or index are wrong: leave the process, no ack
anything else is a bug: exit 70, no ack
"""

from __future__ import annotations

EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_BUG = 70
EXIT_CONFIG = 78


class PipelineError(Exception):
    """Base of all expected failures."""


class Transient(PipelineError):
    """Try again, at the earliest in `retry_after_s` seconds; `remedy` says what a person can do meanwhile."""

    def __init__(self, message: str, retry_after_s: float = 0.5, remedy: str = "") -> None:
        super().__init__(f"{message}{'; ' + remedy if remedy else ''}")
        self.problem, self.remedy = message, remedy
        self.retry_after_s = retry_after_s


class Poison(PipelineError):
    """A post that no retry can save; `stage` is where it stopped, `reason` a short machine-readable word."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{stage}: {reason}{': ' + detail if detail else ''}")
        self.stage = stage
        self.reason = reason


class Fatal(PipelineError):
    """Nothing goes on until a person acts; `remedy` says how, `exit_code` is the process's."""

    def __init__(self, message: str, remedy: str = "", exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(f"{message}{'; ' + remedy if remedy else ''}")
        self.problem, self.remedy = message, remedy
        self.exit_code = exit_code
