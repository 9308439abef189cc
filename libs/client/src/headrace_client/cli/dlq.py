"""`headrace dlq list|show|replay`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from aiokafka import AIOKafkaProducer
from headrace import topics
from headrace.stream.v1.dead_letter_pb2 import DeadLetter

from headrace_client.bus import Reader, Record, open_producer, open_reader, send
from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.options import EndpointsOption, JsonOption, endpoints_from
from headrace_client.cli.running import DONE, FAILED, run

SUFFIX = ".dlq"

#: Tells the service that reads it that this is a new chance, not a redelivery.
REPLAY_HEADER = "headrace-replay"

dlq = typer.Typer(
    no_args_is_help=True,
    help="Look at the events that a service could not handle, and give them another chance. "
    "A dead letter points at the event and never holds its content.",
)

TopicArgument = Annotated[
    str, typer.Argument(help="The topic, for example query.accepted, with or without .dlq.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter and its own offset, by which people name it."""

    offset: int
    letter: DeadLetter

    @property
    def why(self) -> str:
        """The error and its reasons, in the fixed words of the dead letter."""
        reasons = ", ".join(self.letter.reasons)
        return f"{self.letter.error}: {reasons}" if reasons else self.letter.error


@dlq.command("list")
def list_(
    topic: Annotated[str, typer.Option("--topic", show_default=False, help="Only this topic's.")] = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the dead letters that are kept, oldest first, topic by topic."""
    run(_list([_topic(topic)] if topic else _topics(), stated=endpoints, as_json=as_json))


@dlq.command()
def show(
    topic: TopicArgument,
    offset: Annotated[int, typer.Argument(help="Which one, as `dlq list` prints it.", show_default=False)],
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show all that one dead letter says, and whether its event can still be replayed."""
    run(_show(_topic(topic), offset, stated=endpoints, as_json=as_json))


@dlq.command()
def replay(
    topic: TopicArgument,
    offsets: Annotated[list[int] | None, typer.Argument(help="Which ones.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the topic's.")] = False,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish the events again to the topic where they failed.

    Mend the cause first. The event keeps its id: where it did take effect after all, it takes none a second time. The
    dead letter stays where it is until its retention ends.

    Example: headrace dlq replay query.retrieved 0 1
    """
    if everything == bool(offsets):
        raise typer.BadParameter("Name the offsets, or give --all.", param_hint="OFFSETS")
    run(_replay(_topic(topic), set(offsets or ()), stated=endpoints, as_json=as_json))


def _topic(name: str) -> str:
    topic = name.removesuffix(SUFFIX)
    if topic not in _topics():
        raise typer.BadParameter(f"{topic} has no dead letters. These have: {', '.join(_topics())}.")
    return topic


def _topics() -> list[str]:
    return [topic.name for topic in topics.ALL if topic.has_dead_letters]


async def _letters(reader: Reader, *names: str) -> list[Letter]:
    """The dead letters of some topics, topic by topic, oldest first."""
    found = [record async for record in reader.until_now([f"{name}{SUFFIX}" for name in names])]
    found.sort(key=lambda record: (record.topic, record.offset))
    return [Letter(record.offset, DeadLetter.FromString(record.value or b"")) for record in found]


async def _list(names: list[str], *, stated: str, as_json: bool) -> int:
    async with open_reader(endpoints_from(stated).bus()) as reader:
        found = await _letters(reader, *names)
    if as_json:
        for letter in found:
            say_json(_json(letter))
    elif found:
        columns = ["Topic", "Offset", "Failed at", "Service", "Why", "Tries", "Tenant", "Query or document"]
        say_table(columns, [_row(letter) for letter in found])
    else:
        say("No dead letters.")
    return DONE


def _row(letter: Letter) -> list[str]:
    dead = letter.letter
    failed_at = dead.failed_at.ToDatetime().isoformat(sep=" ", timespec="seconds")
    who = [dead.tenant, dead.correlation_id]
    return [dead.topic, str(letter.offset), failed_at, dead.service, letter.why, str(dead.attempts), *who]


def _json(letter: Letter) -> dict[str, Any]:
    dead = letter.letter
    return {
        "topic": dead.topic,
        "offset": letter.offset,
        "service": dead.service,
        "error": dead.error,
        "reasons": list(dead.reasons),
        "attempts": dead.attempts,
        "tenant": dead.tenant,
        "correlation_id": dead.correlation_id,
        "event_id": dead.event_id,
        "failed_at": dead.failed_at.ToJsonString(),
        "trace_id": dead.trace_id,
        "original": {"partition": dead.partition, "offset": dead.offset, "bytes": dead.bytes, "sha256": dead.sha256},
    }


async def _show(topic: str, offset: int, *, stated: str, as_json: bool) -> int:
    async with open_reader(endpoints_from(stated).bus()) as reader:
        found = [letter for letter in await _letters(reader, topic) if letter.offset == offset]
        if not found:
            notice(
                f"{topic}{SUFFIX} has no dead letter at {offset}. See `headrace dlq list --topic {topic}`.", style="red"
            )
            return FAILED
        original = await original_of(found[0].letter, reader)
    facts = _json(found[0]) | {"replayable": isinstance(original, Record)}
    if as_json:
        say_json(facts)
    else:
        nested = facts.pop("original")
        say(*(f"{name.replace('_', ' '):<15} {_shown(value)}" for name, value in (facts | nested).items()))
        say(original if isinstance(original, str) else f"Replay it with: headrace dlq replay {topic} {offset}")
    return DONE


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


async def original_of(letter: DeadLetter, reader: Reader) -> Record | str:
    """The record that a dead letter points at, or why it cannot be had."""
    record = await reader.at(letter.topic, letter.partition, letter.offset)
    place = f"{letter.topic} {letter.partition}/{letter.offset}"
    if record is None:
        return f"The event at {place} is gone: its retention has ended. Its publisher has to send it again."
    if hashlib.sha256(record.value or b"").hexdigest() != letter.sha256:
        return f"What is at {place} now is another event: the topic was made anew. Its publisher has to send it again."
    return record


async def _replay(topic: str, offsets: set[int], *, stated: str, as_json: bool) -> int:
    kafka = endpoints_from(stated).bus()
    worst = DONE
    async with open_reader(kafka) as reader, open_producer(kafka) as producer:
        found = [letter for letter in await _letters(reader, topic) if not offsets or letter.offset in offsets]
        for missing in sorted(offsets - {letter.offset for letter in found}):
            notice(f"{topic}{SUFFIX} has no dead letter at {missing}.", style="red")
            worst = FAILED
        async for letter, outcome in _again(found, reader, producer):
            worst = worst if outcome == "replayed" else FAILED
            _say_replayed(letter, outcome, as_json=as_json)
    if not found and not offsets and not as_json:
        say("No dead letters.")
    return worst


async def _again(
    letters: list[Letter], reader: Reader, producer: AIOKafkaProducer
) -> AsyncIterator[tuple[Letter, str]]:
    """Publishes each letter's event again; yields "replayed", or why it could not be."""
    for letter in letters:
        original = await original_of(letter.letter, reader)
        if isinstance(original, str):
            yield letter, original
            continue
        headers = replayed_headers(original, uuid4())
        await send(
            producer,
            original.topic,
            key=original.key,
            value=original.value,
            headers=headers,
            partition=original.partition,
        )
        yield letter, "replayed"


def replayed_headers(original: Record, replay_id: UUID) -> list[tuple[str, bytes]]:
    """The record's own headers, and the mark of this replay in place of an earlier one's."""
    kept = [(name, value) for name, value in original.headers if name != REPLAY_HEADER]
    return [*kept, (REPLAY_HEADER, str(replay_id).encode())]


def _say_replayed(letter: Letter, outcome: str, *, as_json: bool) -> None:
    done = outcome == "replayed"
    if as_json:
        reason = "" if done else outcome
        say_json({"topic": letter.letter.topic, "offset": letter.offset, "replayed": done, "reason": reason})
    elif done:
        what = letter.letter.correlation_id or letter.letter.event_id
        say(f"Replayed {letter.offset}: {what} to {letter.letter.topic}.")
    else:
        notice(f"Not replayed {letter.offset}: {outcome}", style="red")
