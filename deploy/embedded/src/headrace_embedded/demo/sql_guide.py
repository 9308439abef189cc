"""What users turn to: a short guide to SQL, and questions about it whose right outcome is known."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import yaml
from headrace_feedback.evaluating.reference import key_fact_recall

from headrace_embedded.demo.corpus import Topic
from headrace_embedded.demo.questions import KnownQuestion

#: The source that its documents are put into. The policy that ships knows it as public.
SOURCE = "sql-guide"


def guide() -> list[Topic]:
    """The documents by name, each with its heading as the title."""
    files = (resources.files(__package__) / "sql").iterdir()
    texts = {file.name.removesuffix(".md"): file.read_text(encoding="utf-8") for file in files}
    return [Topic(name, text.splitlines()[0].lstrip("# "), text) for name, text in sorted(texts.items())]


def quoted(question: KnownQuestion) -> str:
    """What the guide says to a question, word for word: the one sentence with all its key facts, or the fewest in a row
    that have them. Empty where the guide does not say."""
    texts = [topic.markdown for topic in guide() if topic.name in question.documents]
    sentences = [one for text in texts for line in text.splitlines()[1:] for one in re.split(r"(?<=\.) ", line) if one]
    for length in (1, 2, 3):
        for first in range(len(sentences) - length + 1):
            said = " ".join(sentences[first : first + length])
            if key_fact_recall(said, question.facts) == 1:
                return said
    return ""


def traffic() -> list[KnownQuestion]:
    """What users ask, in the file's order."""
    return _questions("traffic")


def held_out() -> list[KnownQuestion]:
    """What the models are compared on: nobody asks these before."""
    return _questions("held_out")


def beyond() -> list[KnownQuestion]:
    """What the guide does not say."""
    return _questions("beyond")


def _questions(part: str) -> list[KnownQuestion]:
    content = yaml.safe_load((resources.files(__package__) / "sql_questions.yaml").read_text(encoding="utf-8"))
    return [_question(entry) for entry in content[part]]


def _question(entry: dict[str, Any]) -> KnownQuestion:
    return KnownQuestion(
        id=entry["id"],
        kind=entry["kind"],
        question=entry["question"],
        answer=entry.get("answer", ""),
        facts=tuple(entry.get("facts", ())),
        documents=frozenset(entry.get("documents", ())),
        conversation="",
        answerable="answer" in entry,
    )
