"""The bundle of the settings, opened for the pipeline."""

from __future__ import annotations

from models.bundle import BundleError, load_bundle
from models.engine import EngineError
from pipeline.errors import Fatal
from pipeline.labelling import Classifier
from pipeline.settings import ModelSettings


def open_classifier(settings: ModelSettings) -> Classifier:
    """Raises `Fatal` with the reason why the bundle is refused."""
    try:
        return load_bundle(settings.bundle, settings.device, threads=settings.threads)
    except (BundleError, EngineError) as error:
        raise Fatal(f"model.bundle: {error}", "give the folder of a good bundle") from None
