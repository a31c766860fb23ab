"""The extra `train`, which serving does not install, and the errors of training as errors of a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pipeline.domain.errors import EXIT_CONFIG, EXIT_USAGE, Fatal

T = TypeVar("T")


@contextmanager
def extra_train() -> Iterator[None]:
    """Surrounds imports from `training`; raises `Fatal` where the extra is not installed."""
    try:
        yield
    except ImportError as error:
        raise Fatal(
            f"training needs {error.name}", "run pip install 'opinionwatch[train]' (5 GB)", EXIT_CONFIG
        ) from None


def refusing(call: Callable[[], T]) -> T:
    """Runs `call`; raises `Fatal` where training refuses: wrong rows are a usage error, the rest is configuration."""
    from models.errors import BundleError

    with extra_train():
        from training.config import TrainingConfigError, TrainingDataError
    try:
        return call()
    except TrainingDataError as error:
        raise Fatal(str(error), "", EXIT_USAGE) from None
    except (TrainingConfigError, BundleError) as error:
        raise Fatal(str(error), "", EXIT_CONFIG) from None
