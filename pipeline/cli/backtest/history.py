"""The history that a backtest runs over: a file, or the counts of the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from models.files.encodings import FileError, opened, text_of
from models.files.tables import lines_of
from models.prevalence import ScoreGroup
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import CountHistory, read_history
from pipeline.alerting.evaluation import calibration
from pipeline.cli.backtest.options import Gaps
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.domain.states import SERVED_MODEL
from pipeline.settings import AlertSettings, Settings
from pipeline.store.protocol import CountingStore, StateStore


def history_of_file(file: Path, gaps: Gaps) -> CountHistory:
    """Raises `Fatal` for a file that is not a history, or that has gaps which `gaps` does not allow."""
    try:
        with opened(file) as source, text_of(source, str(file)) as lines:
            history = read_history(lines_of(lines, str(file)), str(file))
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None
    if history.gaps and gaps is Gaps.error:
        more = f" and {len(history.gaps) - 1} more" if len(history.gaps) > 1 else ""
        raise Fatal(
            f"{file}: {history.gaps[0]}{more}",
            "write rows with 0 posts, or give --gaps zero if a missing row means no posts",
            EXIT_USAGE,
        )
    return history


def history_of_index(store: CountingStore, alerts: AlertSettings, days: int | None) -> CountHistory:
    """The last `days` of the index (None: as many as a calibration reads); raises `Fatal` for an empty index."""
    store.refresh()
    bounds = calibration.extent(store)
    if bounds is None:
        raise Fatal("the index holds no posts", "run the classify role first", EXIT_UNAVAILABLE)
    counts = CountCache(store, alerts.counting, keep=False)
    return calibration.history_of(
        counts, max(bounds[0], bounds[1] - timedelta(days=days or calibration.DAYS)), bounds[1]
    )


def prevalence_of(store: StateStore | None, settings: Settings) -> Mapping[str, Sequence[ScoreGroup]]:
    """The score groups of the model whose scores the history adds up.

    For an index that is the model which serves; for a file (no `store`) the bundle of the settings, and none where a
    registry holds the models or the bundle cannot be read.
    """
    if store is not None:
        served = store.state(SERVED_MODEL)
        return served.prevalence if served else {}
    if settings.model.registry:
        return {}
    from models.bundle import BundleError, read_manifest

    try:
        return read_manifest(Path(settings.model.bundle)).prevalence
    except BundleError:
        return {}
