"""What happens to an answer and to a judgement. The caller publishes what is returned.

A judgement's words pass the door first, outside of any transaction, since the classifier looks at them; the rest
happens inside one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from headrace_privacy import Text
from headrace_runtime.errors import Conflict

from headrace_feedback.feedback import Feedback, Reference, Words
from headrace_feedback.interaction import Interaction, Known
from headrace_feedback.ports import Classifier, Keeper, Log, Reader


@dataclass(frozen=True, slots=True)
class Door:
    """What words pass on their way in."""

    reader: Reader
    classifier: Classifier
    keeper: Keeper


async def take_in(feedback: Feedback, words: Text | None, door: Door) -> Feedback:
    """Masks and seals a judgement's words, for the owner of the interaction, or for the judge while none is known.

    What was recorded before comes back as it is: that one stands. Raises Conflict as `locate` does, and Unavailable
    when the words cannot be looked at or sealed: then nothing of them is kept.
    """
    if words is None:
        return feedback
    async with door.reader.open(feedback.about.tenant) as log:
        before = await log.get_feedback(feedback.about.tenant, feedback.feedback_id)
        if before is not None:
            return before
        interaction = await locate(feedback.about, log)
    product, owner = (interaction.product, interaction.owner) if interaction else ("", feedback.judge)
    masked = await door.classifier.classify(words, tenant=feedback.about.tenant, product=product)
    return replace(feedback, words=Words(masked.tier, await door.keeper.keep(masked, owner)))


async def log_interaction(interaction: Interaction, log: Log, *, keeper: Keeper, now: datetime) -> list[Feedback]:
    """Stores an interaction once for each query, and returns the feedback that had been waiting for it, now joined."""
    about = Reference(interaction.tenant, interaction.query_id, interaction.trace_id)
    await log.hold(about)
    if not await log.add_interaction(interaction, stored_at=now):
        return []
    known = Known.of(interaction)
    joined = [await _joined(waiting, known, keeper=keeper, now=now) for waiting in await log.pending(about)]
    for feedback in joined:
        await log.join(feedback)
    return joined


async def _joined(feedback: Feedback, interaction: Known, *, keeper: Keeper, now: datetime) -> Feedback:
    """The feedback with its interaction found, its words in the hands of the interaction's owner."""
    joined = feedback.joined_to(interaction, now)
    if joined.words is None:
        return joined
    handed_over = await keeper.hand_over(joined.words.sealed, interaction.owner)
    return replace(joined, words=replace(joined.words, sealed=handed_over))


@dataclass(frozen=True, slots=True)
class Recording:
    """What became of a judgement. `is_new` is False when its id had been recorded before; then that one stands.

    replaces: it takes the place of an earlier one of its kind by the same person.
    """

    feedback: Feedback
    is_new: bool
    interaction: Known | None
    replaces: bool = False


async def record_feedback(feedback: Feedback, log: Log, *, keeper: Keeper) -> Recording:
    """Stores a judgement once for each feedback id, joined to its interaction where that is known already.

    Raises Conflict when it names a trace that followed several queries: nobody can say which one it means.
    """
    await log.hold(feedback.about, feedback_id=feedback.feedback_id)
    before = await log.get_feedback(feedback.about.tenant, feedback.feedback_id)
    if before is not None:
        return Recording(before, is_new=False, interaction=None)
    interaction = await locate(feedback.about, log)
    stored = feedback
    if interaction:
        stored = await _joined(feedback, interaction, keeper=keeper, now=feedback.recorded_at)
    replaces = await log.has_earlier(stored)
    await log.add_feedback(stored)
    return Recording(stored, is_new=True, interaction=interaction, replaces=replaces)


async def locate(about: Reference, log: Log) -> Known | None:
    """The interaction that a reference means; None when it is unknown so far. Raises Conflict when it means several."""
    found = await log.find(about)
    if len(found) > 1:
        raise Conflict(f"trace {about.trace_id} followed {len(found)} queries: name one by query_id")
    return found[0] if found else None
