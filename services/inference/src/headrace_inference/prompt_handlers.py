"""What is done when somebody stores a prompt, or moves a label: a version, an event and a row of the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.inference.v1 import changes_pb2
from headrace_runtime.errors import Conflict, NotFound

from headrace_inference.changes import routing_changed
from headrace_inference.domain import Prompt, Versioned
from headrace_inference.route_handlers import Making
from headrace_inference.variant_catalogue import Catalogue, House, prompts_in
from headrace_inference.variant_ports import Labels, VariantBook
from headrace_inference.variant_records import LabelMove, PromptRecord, sha256_of


async def put_prompt(
    tenant: str, prompt: Prompt, note: str, *, catalogue: Catalogue, making: Making
) -> tuple[PromptRecord, Labels, bool]:
    """Stores a prompt under its next version, or finds the one that says the same. Returns whether it is new.

    Raises Conflict for a name that comes with Headrace.
    """
    if catalogue.house.prompts_of(prompt.name):
        raise Conflict(f"the prompt {prompt.name} comes with Headrace and never changes: choose another name")
    async with catalogue.books.open(tenant) as book:
        await book.hold()
        labels, versions = await book.labels(), await book.prompts(prompt.name)
        if same := next((r for r in versions if sha256_of(r.prompt) == sha256_of(prompt)), None):
            return same, labels, False
        previous = versions[0].number if versions else 0
        record = PromptRecord(prompt, note, making.by.subject, making.at).numbered(previous + 1)
        await book.add_prompt(record)
        book.emit(
            routing_changed(
                changes_pb2.ROUTING_CHANGE_PROMPT,
                prompt.name,
                tenant=tenant,
                version=record.number,
                previous=previous,
                by=making.by,
                at=making.at,
                change_id=making.new_id(),
            )
        )
    return record, labels, True


async def get_prompt(
    tenant: str, name: str, *, version: int, label: str, catalogue: Catalogue
) -> tuple[PromptRecord, Labels]:
    """One version: the one that is named, the one that the label names, or the newest. Raises NotFound."""
    async with catalogue.books.open(tenant) as book:
        labels = await book.labels()
        if label and not (version := labels.get((name, label), 0)):
            raise NotFound("label of this prompt", label)
        found = await prompts_in(book, catalogue.house, name)
    record = next((r for r in found if version in {0, r.number}), None)
    if record is None:
        raise NotFound("prompt", f"{name} {version or ''}".strip())
    return record, labels


async def list_prompts(tenant: str, name: str, *, catalogue: Catalogue) -> tuple[Sequence[PromptRecord], Labels]:
    """All versions of a name, or the newest of each where it is empty."""
    async with catalogue.books.open(tenant) as book:
        return await prompts_in(book, catalogue.house, name), await book.labels()


async def label_prompt(tenant: str, move: LabelMove, *, catalogue: Catalogue, making: Making) -> int:
    """Moves a label, and returns what it named before. Raises NotFound for what there is not to name."""
    async with catalogue.books.open(tenant) as book:
        await book.hold()
        previous = (await book.labels()).get((move.name, move.label), 0)
        await _check_move(book, catalogue.house, move, previous)
        if previous != move.version:
            await book.move_label(move)
            book.emit(
                routing_changed(
                    changes_pb2.ROUTING_CHANGE_LABEL,
                    move.name,
                    tenant=tenant,
                    version=move.version,
                    previous=previous,
                    label=move.label,
                    by=making.by,
                    at=making.at,
                    change_id=making.new_id(),
                )
            )
    await catalogue.refresh(tenant)
    return previous


async def _check_move(book: VariantBook, house: House, move: LabelMove, previous: int) -> None:
    if not move.version:
        if not previous:
            raise NotFound("label of this prompt", move.label)
        return
    is_ours = Versioned(move.name, str(move.version)) in house.prompts
    if not is_ours and await book.prompt(move.name, move.version) is None:
        raise NotFound("prompt", f"{move.name} {move.version}")
