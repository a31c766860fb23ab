"""`python -m benchmarks.volume NAB`: the volume lane on the tweets of a checkout of the Numenta Anomaly Benchmark.

A labelled window counts as found where an episode fires inside it; an episode outside all windows is false.
"""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.evaluation.backtest import VOLUME_POLICY, episodes, volume_scores

FIRES = (3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5, 6.0, 8.0)


def _series(file: Path) -> CountHistory:
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    counts = np.array([[int(float(row["value"])) for row in rows]], np.int64)
    return CountHistory((file.stem,), _time(rows[0]["timestamp"]), 300, counts, np.zeros_like(counts))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def main() -> None:
    """Prints a line per threshold: windows found, false episodes per topic-week."""
    folder = Path(sys.argv[1])
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    files = sorted((folder / "data" / "realTweets").glob("*.csv"))
    histories = [_series(file) for file in files]
    windows = [[(_time(a), _time(b)) for a, b in labels[f"realTweets/{file.name}"]] for file in files]
    scores = [volume_scores(history) for history in histories]
    weeks = sum(history.key_weeks for history in histories)
    for fire in FIRES:
        found, false = 0, 0
        for history, score, spans in zip(histories, scores, windows, strict=True):
            hits = [
                {i for i, (a, b) in enumerate(spans) if a <= e.fired_at <= b}
                for e in episodes(history, score, [fire], VOLUME_POLICY)
            ]
            found += len(set().union(*hits))
            false += sum(not hit for hit in hits)
        total = sum(map(len, windows))
        print(f"fire {fire:4}: {found} of {total} windows, {false / weeks:.2f} false episodes per topic-week")


if __name__ == "__main__":
    main()
