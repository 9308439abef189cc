"""Prompts and variants between messages and what is stored of them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.inference.v1 import prompts_pb2, variants_pb2
from headrace.query.v1 import answer_pb2
from headrace_runtime.errors import Rejected, Violation

from headrace_inference.domain import Decoding, Prompt, Versioned
from headrace_inference.translate import DEFAULT_OUTPUT_TOKENS, MOST_OUTPUT_TOKENS
from headrace_inference.variant_ports import Labels
from headrace_inference.variant_records import (
    PRODUCTION,
    LabelMove,
    PromptRecord,
    Reading,
    VariantRecord,
    Wiring,
    sha256_of,
)

MOST_SYSTEM, MOST_QUESTION, MOST_ASKED, MOST_ANSWERED = 8_000, 4_000, 8_000, 4_000
MOST_EXAMPLES = 16
MOST_WORDS = 500
MOST_PASSAGES, MOST_PASSAGE_TOKENS = 100, 100_000
MOST_MODEL_VERSION = 128
LARGEST_VERSION = 2**31 - 1

VARIABLES = ("passages", "question")

_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
#: An unknown variable is named by so many of its characters.
_SHOWN = 32


# --- prompts ----------------------------------------------------------------------------------------------------------


def to_prompt(message: prompts_pb2.Prompt) -> Prompt:
    """Reads a prompt that somebody wants to store; its version is not known yet. Raises Rejected with each mistake."""
    if violations := [*_wrong_name(message.name, "prompt.name"), *_wrong_prompt(message)]:
        raise Rejected(*violations)
    return _prompt(message)


def _prompt(message: prompts_pb2.Prompt) -> Prompt:
    examples = tuple((example.asked, example.answered) for example in message.examples)
    return Prompt(message.name, str(message.version), message.system, examples, message.question)


def _wrong_prompt(message: prompts_pb2.Prompt) -> Iterator[Violation]:
    yield from _wrong_text(message.system, "prompt.system", most=MOST_SYSTEM)
    yield from _wrong_text(message.question, "prompt.question", most=MOST_QUESTION)
    yield from _wrong_variables(message.question)
    yield from _out_of_place(message.system, "prompt.system")
    if len(message.examples) > MOST_EXAMPLES:
        yield Violation("prompt.examples", "too_long", f"At most {MOST_EXAMPLES} examples.")
    for i, example in enumerate(message.examples):
        yield from _wrong_text(example.asked, f"prompt.examples[{i}].asked", most=MOST_ASKED)
        yield from _wrong_text(example.answered, f"prompt.examples[{i}].answered", most=MOST_ANSWERED)
        yield from _out_of_place(example.asked, f"prompt.examples[{i}].asked")
        yield from _out_of_place(example.answered, f"prompt.examples[{i}].answered")
    if len(message.note) > MOST_WORDS:
        yield Violation("prompt.note", "too_long", f"At most {MOST_WORDS} characters.")


def _wrong_text(text: str, field: str, *, most: int) -> Iterator[Violation]:
    if not text.strip():
        yield Violation(field, "empty", "It has no text.")
    if len(text) > most:
        yield Violation(field, "too_long", f"At most {most} characters.")
    if "\x00" in text:
        yield Violation(field, "has_nul", "A text holds no NUL character.")


def _wrong_variables(question: str) -> Iterator[Violation]:
    found = _VARIABLE.findall(question)
    for name in VARIABLES:
        if (times := found.count(name)) != 1:
            said = "is missing" if not times else f"stands there {times} times"
            yield Violation("prompt.question", "malformed", f"{{{name}}} stands there exactly once; it {said}.")
    for name in sorted(set(found) - set(VARIABLES)):
        yield Violation(
            "prompt.question",
            "unknown_value",
            f"{{{name[:_SHOWN]}}} is no variable; there are {{passages}} and {{question}}. A brace that a space follows"
            " is read as it is.",
        )


def _out_of_place(text: str, field: str) -> Iterator[Violation]:
    """A variable that nothing would fill in: the model would be shown the braces."""
    for name in VARIABLES:
        if f"{{{name}}}" in text:
            yield Violation(field, "malformed", f"{{{name}}} is filled in in the question alone.")


def _wrong_name(name: str, field: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(name):
        yield Violation(field, "malformed", 'A name is 1 to 64 of a-z, 0-9, "_" and "-".')


def from_prompt(record: PromptRecord, labels: Labels | None = None) -> prompts_pb2.Prompt:
    """As it travels, with the labels that point to it."""
    message = stored_prompt(record)
    message.sha256 = sha256_of(record.prompt)
    message.built_in = record.is_built_in
    pointing = labels or {}
    message.labels.extend(sorted(each for (name, each), v in pointing.items() if (name, v) == _pointed(record)))
    return message


def _pointed(record: PromptRecord) -> tuple[str, int]:
    return record.prompt.name, record.number


def stored_prompt(record: PromptRecord) -> prompts_pb2.Prompt:
    """As it is stored."""
    prompt = record.prompt
    examples = [prompts_pb2.PromptExample(asked=asked, answered=answered) for asked, answered in prompt.examples]
    return prompts_pb2.Prompt(
        name=prompt.name,
        version=record.number,
        system=prompt.system,
        examples=examples,
        question=prompt.question,
        note=record.note,
        created_by=record.created_by,
        created_at=_stamp(record.created_at),
    )


def to_prompt_record(message: prompts_pb2.Prompt) -> PromptRecord:
    """Reads a prompt as it was stored."""
    at = message.created_at.ToDatetime(tzinfo=UTC)
    return PromptRecord(_prompt(message), message.note, message.created_by, at)


def check_label(request: prompts_pb2.LabelPromptRequest) -> None:
    """Raises Rejected with each wrong field."""
    if violations := [*_wrong_name(request.name, "name"), *_wrong_label(request.label, "label"), *_wrong_rest(request)]:
        raise Rejected(*violations)


def _wrong_rest(request: prompts_pb2.LabelPromptRequest) -> Iterator[Violation]:
    if len(request.reason) > MOST_WORDS:
        yield Violation("reason", "too_long", f"At most {MOST_WORDS} characters.")
    if "\x00" in request.reason:
        yield Violation("reason", "has_nul", "A text holds no NUL character.")
    yield from _wrong_version(request.version, "version")


def _wrong_label(label: str, field: str) -> Iterator[Violation]:
    if not _LABEL.fullmatch(label):
        yield Violation(field, "malformed", 'A label is 1 to 32 of a-z, 0-9, "_" and "-".')


def _wrong_version(version: int, field: str) -> Iterator[Violation]:
    if version > LARGEST_VERSION:
        yield Violation(field, "out_of_range", "No version is that high.")


def to_move(request: prompts_pb2.LabelPromptRequest, *, by: str, at: datetime) -> LabelMove:
    """Reads a move that was checked before."""
    return LabelMove(request.name, request.label, request.version, request.reason, by, at)


def check_named(name: str, version: int = 0, label: str = "") -> None:
    """Raises Rejected for what names nothing that could be."""
    violations = [*_wrong_name(name, "name"), *_wrong_version(version, "version")]
    if label:
        violations += _wrong_label(label, "label")
    if label and version:
        violations.append(Violation("label", "malformed", "Either a version or a label is named."))
    if violations:
        raise Rejected(*violations)


def check_listed(name: str) -> None:
    """As check_named, where an empty name means all."""
    if name:
        check_named(name)


# --- variants ---------------------------------------------------------------------------------------------------------


def to_wiring(message: variants_pb2.Variant) -> Wiring:
    """Reads a variant that somebody wants to store. Raises Rejected with each wrong field."""
    if violations := [*_wrong_name(message.name, "variant.name"), *_wrong_variant(message)]:
        raise Rejected(*violations)
    return _wiring(message)


def _wiring(message: variants_pb2.Variant) -> Wiring:
    return Wiring(
        prompt=message.prompt,
        prompt_version=message.prompt_version,
        prompt_label=message.prompt_label or ("" if message.prompt_version else PRODUCTION),
        backend=message.backend,
        model_version=message.model_version,
        reading=_reading(message.reading),
        decoding=_decoding(message.decoding),
    )


def _reading(message: variants_pb2.Reading) -> Reading:
    default = Reading()
    return Reading(
        passages=message.passages if message.HasField("passages") else default.passages,
        passage_tokens=message.passage_tokens if message.HasField("passage_tokens") else default.passage_tokens,
        minimum_similarity=message.minimum_similarity if message.HasField("minimum_similarity") else None,
        vector_weight=message.vector_weight if message.HasField("vector_weight") else None,
        text_weight=message.text_weight if message.HasField("text_weight") else None,
    )


def _decoding(message: answer_pb2.Decoding) -> Decoding:
    return Decoding(
        max_output_tokens=message.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
        temperature=message.temperature,
        top_p=message.top_p or 1.0,
        seed=message.seed,
    )


def _wrong_variant(message: variants_pb2.Variant) -> Iterator[Violation]:
    yield from _wrong_name(message.prompt, "variant.prompt")
    yield from _wrong_version(message.prompt_version, "variant.prompt_version")
    if message.prompt_label:
        yield from _wrong_label(message.prompt_label, "variant.prompt_label")
    if message.prompt_label and message.prompt_version:
        yield Violation("variant.prompt_label", "malformed", "A variant names a prompt's version, or follows a label.")
    if message.backend:
        yield from _wrong_name(message.backend, "variant.backend")
    if len(message.model_version) > MOST_MODEL_VERSION or not message.model_version.isprintable():
        yield Violation("variant.model_version", "malformed", f"At most {MOST_MODEL_VERSION} printable characters.")
    yield from _wrong_reading(message.reading)
    yield from _wrong_decoding(message.decoding)


def _wrong_reading(reading: variants_pb2.Reading) -> Iterator[Violation]:
    if reading.passages > MOST_PASSAGES:
        yield Violation("variant.reading.passages", "out_of_range", f"0 to {MOST_PASSAGES} passages are read.")
    if reading.passage_tokens > MOST_PASSAGE_TOKENS:
        yield Violation(
            "variant.reading.passage_tokens", "out_of_range", f"0 to {MOST_PASSAGE_TOKENS} tokens of passages are read."
        )
    for name, low in (("minimum_similarity", -1.0), ("vector_weight", 0.0), ("text_weight", 0.0)):
        if not low <= getattr(reading, name) <= 1:  # nothing is between bounds and not a number
            yield Violation(f"variant.reading.{name}", "out_of_range", f"It is between {low:g} and 1.")
    weights = [getattr(reading, name) for name in ("vector_weight", "text_weight") if reading.HasField(name)]
    if len(weights) == 2 and not any(weights):
        yield Violation("variant.reading.text_weight", "out_of_range", "One of the two ranks has to count.")


def _wrong_decoding(decoding: answer_pb2.Decoding) -> Iterator[Violation]:
    if decoding.max_output_tokens > MOST_OUTPUT_TOKENS:
        yield Violation(
            "variant.decoding.max_output_tokens", "out_of_range", f"At most {MOST_OUTPUT_TOKENS} tokens are written."
        )
    if not 0 <= decoding.temperature <= 2:
        yield Violation("variant.decoding.temperature", "out_of_range", "A temperature is between 0 and 2.")
    if not (0 <= decoding.top_p <= 1 and math.isfinite(decoding.top_p)):
        yield Violation("variant.decoding.top_p", "out_of_range", "A share is above 0, and at most 1.")


def from_variant(record: VariantRecord, broken: str = "") -> variants_pb2.Variant:
    """As it travels. broken: what is wrong with it on this instance."""
    message = stored_variant(record)
    message.built_in = record.is_built_in
    message.broken = broken
    return message


def stored_variant(record: VariantRecord) -> variants_pb2.Variant:
    """As it is stored."""
    wiring = record.wiring
    reading, decoding = wiring.reading, wiring.decoding
    return variants_pb2.Variant(
        name=record.key.name,
        version=record.number,
        prompt=wiring.prompt,
        prompt_version=wiring.prompt_version,
        prompt_label=wiring.prompt_label,
        backend=wiring.backend,
        model_version=wiring.model_version,
        reading=variants_pb2.Reading(
            passages=reading.passages,
            passage_tokens=reading.passage_tokens,
            minimum_similarity=reading.minimum_similarity,
            vector_weight=reading.vector_weight,
            text_weight=reading.text_weight,
        ),
        decoding=answer_pb2.Decoding(
            max_output_tokens=decoding.max_output_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=decoding.seed,
        ),
        created_by=record.created_by,
        created_at=_stamp(record.created_at),
    )


def to_variant_record(message: variants_pb2.Variant) -> VariantRecord:
    """Reads a variant as it was stored."""
    at = message.created_at.ToDatetime(tzinfo=UTC)
    return VariantRecord(Versioned(message.name, str(message.version)), _wiring(message), message.created_by, at)


def _stamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
