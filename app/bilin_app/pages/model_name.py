"""How a model is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bilin_app.theme.theme import theme

if TYPE_CHECKING:
    from bilin_app.controllers.engine_views import ModelView


def model_name(model: ModelView) -> str:
    """The model's name in the interface's language."""
    return model.name_zh if theme().language == "zh" else model.name_en
