"""Makes a scored post of a post and the model's prediction. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from models.families import families
from models.heads import Prediction, TargetPrediction
from pipeline.classify.named_post import NamedPost
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal
from pipeline.domain.post import ScoredPost, Toward, toward_whole_text


def scored(named: NamedPost, prediction: Prediction, counting: NegativeDefinition) -> ScoredPost:
    """Returns the post with its labels, and with the sentiment toward each subject that it names.

    A subject that the model did not judge gets the sentiment of the whole text. Raises `Fatal` if the model has no head
    that `counting` needs.
    """
    heads = prediction.heads
    if counting.head not in heads:
        model = f"{prediction.model_name} {prediction.model_version}"
        raise Fatal(
            f"alerts.head {counting.head!r} is not a head of model {model} ({', '.join(heads)})",
            "set alerts.head to one of these",
        )
    subjects = tuple(sorted(named.mentions))
    return ScoredPost(
        post=named.post,
        labels={head: prediction.label(head) for head in heads},
        scores={head: prediction.score(head) for head in heads},
        negative_score=counting.score(prediction.meant(counting.head)),
        subjects=subjects,
        model_name=prediction.model_name,
        model_version=prediction.model_version,
        toward=toward_each(prediction, subjects, counting),
        families=families(named.post.full_text),
    )


def toward_each(prediction: Prediction, subjects: Sequence[str], counting: NegativeDefinition) -> dict[str, Toward]:
    """The sentiment toward each subject; that of the whole text toward one that the model did not judge."""
    if not subjects:
        return {}
    heads = prediction.heads
    negative = counting.score(prediction.meant(counting.head)) if counting.head in heads else 0.0
    whole = toward_whole_text(
        {h: prediction.label(h) for h in heads}, {h: prediction.score(h) for h in heads}, negative
    )
    return {
        subject: _toward(target, counting) if (target := prediction.meant_toward(subject)) else whole
        for subject in subjects
    }


def _toward(target: TargetPrediction, counting: NegativeDefinition) -> Toward:
    probabilities = target.probabilities
    negative = counting.score(probabilities) if counting.counts_toward else probabilities["negative"]
    return Toward(target.label, target.score, negative, target.whole_text)
