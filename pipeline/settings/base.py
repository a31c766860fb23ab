"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.settings.addresses import holds_credentials


class Section(BaseModel):
    """Unknown keys and numbers without an end are refused; values do not change.

    An error never repeats a value: it may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="after")
    def _urls_hold_no_credentials(self) -> Self:
        for name, value in self:
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and holds_credentials(text) for text in texts):
                raise ValueError(f"{name} holds a URL with credentials in it; only what is a secret setting may")
        return self
