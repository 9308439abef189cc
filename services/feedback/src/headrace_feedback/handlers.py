"""What happens to an answer and to a judgement, inside one transaction. The caller publishes what is returned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from headrace_runtime.errors import Conflict, NotFound

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.interaction import Interaction, Known, Logged
from headrace_feedback.ports import Log


async def log_interaction(interaction: Interaction, log: Log, *, now: datetime) -> list[Feedback]:
    """Stores an interaction once for each query, and returns the feedback that had been waiting for it, now joined."""
    about = Reference(interaction.tenant, interaction.query_id, interaction.trace_id)
    await log.hold(about)
    if not await log.add_interaction(interaction, stored_at=now):
        return []
    joined = [waiting.joined_to(Known.of(interaction), now) for waiting in await log.pending(about)]
    for feedback in joined:
        await log.join(feedback)
    return joined


@dataclass(frozen=True, slots=True)
class Recording:
    """What became of a judgement. `is_new` is False when its id had been recorded before; then that one stands."""

    feedback: Feedback
    is_new: bool
    interaction: Known | None


async def record_feedback(feedback: Feedback, log: Log) -> Recording:
    """Stores a judgement once for each feedback id, joined to its interaction where that is known already.

    Raises Conflict when it names a trace that followed several queries: nobody can say which one it means.
    """
    await log.hold(feedback.about, feedback_id=feedback.feedback_id)
    before = await log.get_feedback(feedback.about.tenant, feedback.feedback_id)
    if before is not None:
        return Recording(before, is_new=False, interaction=None)
    interaction = await locate(feedback.about, log)
    stored = feedback.joined_to(interaction, feedback.recorded_at) if interaction else feedback
    await log.add_feedback(stored)
    return Recording(stored, is_new=True, interaction=interaction)


async def locate(about: Reference, log: Log) -> Known | None:
    """The interaction that a reference means; None when it is unknown so far. Raises Conflict when it means several."""
    found = await log.find(about)
    if len(found) > 1:
        raise Conflict(f"trace {about.trace_id} followed {len(found)} queries: name one by query_id")
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Explained:
    """An interaction with its feedback, both as they were submitted."""

    interaction: Logged
    feedback: tuple[bytes, ...] = field(repr=False)


async def explain(about: Reference, log: Log) -> Explained:
    """One interaction, whole. Raises NotFound when this tenant has none such."""
    known = await locate(about, log)
    if known is None:
        raise NotFound("interaction", str(about.query_id or about.trace_id))
    logged = await log.read(about.tenant, known.query_id)
    return Explained(logged, tuple(await log.feedback_of(about.tenant, known.query_id)))
