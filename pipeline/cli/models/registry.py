"""The registry of the settings, and its errors as errors of a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from models.bundle import BundleError
from models.registry import Registry, RegistryError, RegistryUnavailableError
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.settings import ModelSettings

T = TypeVar("T")


def registry_of(settings: ModelSettings, trusted: Sequence[str] | None = None) -> Registry:
    """The registry, which trusts `trusted` or else the keys of the settings; raises `Fatal` where none is set."""
    if not settings.registry:
        raise Fatal("model.registry is not set", "set OPINIONWATCH_MODEL__REGISTRY to a folder or an fsspec URL")
    keys = settings.trusted_keys if trusted is None else trusted
    return refusing(lambda: Registry(settings.registry, trusted=keys))


def refusing(call: Callable[[], T]) -> T:
    """Runs `call`; raises `Fatal` where the registry or a bundle refuses."""
    try:
        return call()
    except RegistryUnavailableError as error:
        remedy = "check that its storage answers and that this user may read and write it"
        raise Fatal(f"model.registry: {error}", remedy, EXIT_UNAVAILABLE) from None
    except (RegistryError, BundleError) as error:
        raise Fatal(str(error)) from None
    except OSError as error:
        raise Fatal(f"model.registry: {error}", "check the path and its permissions") from None
