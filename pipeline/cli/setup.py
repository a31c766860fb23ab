"""`opinionwatch setup`."""

from __future__ import annotations

from pipeline.cli.options import Config, settings_of
from pipeline.cli.presenter import Presenter


def setup(config: Config = None) -> None:
    """Create topics, index templates, indices and aliases; everything that exists stays as it is.

    Example: opinionwatch setup --config opinionwatch.toml
    """
    from pipeline.store.factory import open_store

    settings = settings_of(config)
    steps = [open_store(settings.store).setup]
    if not settings.embedded:
        from pipeline.kafka import admin

        steps.append(lambda: admin.ensure_topics(settings.kafka))
    show, created = Presenter(), False
    for step in steps:  # each step's lines appear at once: a later step may fail
        for line in step():
            created = True
            show.line(f"created {line}")
    if not created:
        show.line("nothing to create: everything exists")
