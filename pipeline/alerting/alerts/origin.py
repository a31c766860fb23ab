"""Where the posts of an alert come from, in words. Pure."""

from __future__ import annotations

from typing import Literal

from pipeline.alerting.alerts.terms import MAX_AUTHOR_SHARE, MAX_SOURCE_SHARE
from pipeline.domain.alert import Alert

Language = Literal["en", "zh"]

_COUNTS = {"en": "{sources} sources, {authors} authors", "zh": "{sources} 个来源，{authors} 位作者"}
_TOP_SOURCE = {"en": "{share:.0%} from {source}", "zh": "{share:.0%} 来自 {source}"}
_TOP_AUTHOR = {"en": "{share:.0%} by one author", "zh": "{share:.0%} 出自同一作者"}


def origin(alert: Alert, language: Language) -> list[str]:
    """How many sources and authors there are, and the share of one that dominates (a single source does not)."""
    profile = alert.source_profile
    if profile is None:
        return []
    facts = [_COUNTS[language].format(sources=profile.sources, authors=profile.authors)]
    if profile.sources > 1 and profile.top_source_share > MAX_SOURCE_SHARE:
        facts.append(_TOP_SOURCE[language].format(share=profile.top_source_share, source=profile.top_source))
    if profile.top_author_share > MAX_AUTHOR_SHARE:
        facts.append(_TOP_AUTHOR[language].format(share=profile.top_author_share))
    return facts
