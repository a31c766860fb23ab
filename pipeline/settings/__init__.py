"""The settings: `resolve` reads them, and the sections are plain values."""

from pipeline.settings.alerts import AlertSettings, ChannelSettings
from pipeline.settings.resolve import DEFAULT_FILE, Resolved, resolve
from pipeline.settings.sections import (
    EMBEDDED,
    STARTER,
    FlowSettings,
    HttpSettings,
    KafkaSettings,
    ModelSettings,
    Settings,
    StoreSettings,
    SubjectSettings,
)

__all__ = [
    "DEFAULT_FILE",
    "EMBEDDED",
    "STARTER",
    "AlertSettings",
    "ChannelSettings",
    "FlowSettings",
    "HttpSettings",
    "KafkaSettings",
    "ModelSettings",
    "Resolved",
    "Settings",
    "StoreSettings",
    "SubjectSettings",
    "resolve",
]
