"""The exceptions of the pipeline.

PipelineError
  Transient   a dependency is unreachable or refuses temporarily: retry in place, do not acknowledge
  Poison      this post can never be processed: write a dead letter, wait for it, then acknowledge
  Fatal       configuration, credentials, bundle or index are wrong: exit, do not acknowledge
Any other exception is a bug: exit with 70, do not acknowledge.
"""

from __future__ import annotations

EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_BUG = 70
EXIT_CONFIG = 78


class PipelineError(Exception):
    """The base of all expected failures."""


class Transient(PipelineError):
    """Try again after `retry_after_s` seconds or later; `remedy` says what a person can do meanwhile."""

    def __init__(self, message: str, retry_after_s: float = 0.5, remedy: str = "") -> None:
        super().__init__(f"{message}{'; ' + remedy if remedy else ''}")
        self.problem, self.remedy = message, remedy
        self.retry_after_s = retry_after_s


class Poison(PipelineError):
    """A post that no retry can save; it failed in `stage`, and `reason` is a short machine-readable word."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{stage}: {reason}{': ' + detail if detail else ''}")
        self.stage = stage
        self.reason = reason


class Fatal(PipelineError):
    """The process cannot continue until a person acts; `remedy` says how, and the process exits with `exit_code`."""

    def __init__(self, message: str, remedy: str = "", exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(f"{message}{'; ' + remedy if remedy else ''}")
        self.problem, self.remedy = message, remedy
        self.exit_code = exit_code
