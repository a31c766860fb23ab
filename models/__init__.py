"""Everything that training and serving share: label schemes, bundles, the tokenizer and the inference engine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.bundle import load_bundle
    from models.errors import BundleError
    from models.heads import Head, Prediction

__all__ = ["BundleError", "Head", "Prediction", "load_bundle"]


def __getattr__(name: str) -> object:
    """Loads the engine when a caller first asks for it: `models.text` costs no numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models import bundle, heads

    return getattr(bundle if name in {"BundleError", "load_bundle"} else heads, name)
