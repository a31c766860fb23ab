"""What training and serving share: label schemes, bundles, the tokenizer and the inference engine."""

from models.bundle import BundleError, load_bundle
from models.heads import Head, Prediction

__all__ = ["BundleError", "Head", "Prediction", "load_bundle"]
