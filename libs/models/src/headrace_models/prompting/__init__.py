"""How a question with its passages becomes the conversation that a model continues. Pure, and quick to import.

Whoever serves a model and whoever trains one say it the same way, from here.

rendered = render(question, passages, layout, count=text.count, window=2048)
rendered.turns  # the prompt's fixed turns, then the numbered passages with the question
"""

from headrace_models.prompting.rendering import (
    Count,
    Layout,
    Prompt,
    Rendered,
    conversation,
    fit,
    readable,
    render,
    room_for_passages,
    without_markers,
)
from headrace_models.prompting.turns import Role, Turn

__all__ = [
    "Count",
    "Layout",
    "Prompt",
    "Rendered",
    "Role",
    "Turn",
    "conversation",
    "fit",
    "readable",
    "render",
    "room_for_passages",
    "without_markers",
]
