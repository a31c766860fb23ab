"""The base of all sections of the settings."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.settings.addresses import holds_credentials


class Section(BaseModel):
    """A frozen section that refuses unknown keys and infinite numbers.

    Its errors never repeat a value, because the value may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="after")
    def _urls_hold_no_credentials(self) -> Self:
        for name, value in self:
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and holds_credentials(text) for text in texts):
                raise ValueError(f"{name} contains a URL with credentials; move them into a setting for secrets")
        return self
