"""Rows' words: opened where they rest in the log, measured, and sealed anew for a snapshot, under their owner's key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Erased, Opener, Owner, Seal, Vault

from headrace_feedback.datasets.candidates import REFUSALS, Candidate
from headrace_feedback.datasets.shelf import Sealed
from headrace_feedback.datasets.similarity import Hashes, Vocabulary, words_of
from headrace_feedback.datasets.snapshots import Row
from headrace_feedback.interaction import Exported, owner_of_interaction
from headrace_feedback.opening import open_text
from headrace_feedback.reading import Readable

_DOMAIN = b"headrace dataset\x1f"


@dataclass(frozen=True, slots=True)
class Hasher:
    """Hashes what a snapshot says of words and people, for one tenant. secret: of the tenant's index."""

    secret: bytes = field(repr=False)

    def content(self, row: DatasetRow) -> bytes:
        """Of a row's words: 32 bytes."""
        if row.text:
            return self._hash("text", row.text)
        words = (row.question, row.answer, str(row.unanswerable), *row.key_facts)
        return self._hash("content", "\x1f".join(words))

    def conversation(self, name: str) -> bytes:
        """Of a conversation; empty for none."""
        return self._hash("conversation", name)[:16] if name else b""

    def group(self, root: str) -> str:
        """A group's name: 32 hex digits."""
        return self._hash("group", root).hex()[:32]

    def hidden(self, subject: str) -> str:
        """What is kept in an end user's place."""
        return self._hash("subject", subject).hex()[:32]

    def _hash(self, kind: str, words: str) -> bytes:
        return hmac.new(self.secret, _DOMAIN + f"{kind}\x1f{words}".encode(), hashlib.sha256).digest()


async def hasher_of(vault: Vault, tenant: str) -> Hasher:
    """Returns what hashes for a tenant. Raises what the vault raises."""
    return Hasher((await vault.key_of(Owner.index(tenant))).secret)


@dataclass(frozen=True, slots=True)
class Taken:
    """A row on its way: what is said of it, its words sealed, and the question's trigrams."""

    row: Row
    sealed: Sealed
    shingles: Hashes


@dataclass(frozen=True, slots=True)
class Prepared:
    """An interaction that may be read, and its keys at hand."""

    candidate: Candidate
    grant_id: str
    answer: AnswerCompleted
    correction: ProtectedText
    seal: Seal


async def prepare(batch: Sequence[Readable], vault: Vault) -> tuple[list[Prepared], Opener, list[Candidate]]:
    """Fetches the keys of a batch: to open it, and to seal it anew. Returns those that are erased apart."""
    parsed = [(one, *_parsed(one.content)) for one in batch]
    opener = await vault.opener_for(*(part for _, *parts in parsed for part in parts))
    prepared: list[Prepared] = []
    erased: list[Candidate] = []
    for one, answer, correction in parsed:
        candidate = one.outline
        assert isinstance(candidate, Candidate)
        try:
            seal = await vault.seal_like(answer.question, _owner(answer))
        except Erased:
            erased.append(candidate)
        else:
            prepared.append(Prepared(candidate, one.grant_id, answer, correction, seal))
    return prepared, opener, erased


def _parsed(content: Exported) -> tuple[AnswerCompleted, ProtectedText]:
    return AnswerCompleted.FromString(content.record), ProtectedText.FromString(content.correction or b"")


def _owner(answer: AnswerCompleted) -> Owner:
    query = answer.query
    accepted_at = query.accepted_at.ToDatetime(tzinfo=UTC) if query.HasField("accepted_at") else None
    return owner_of_interaction(query.tenant, query.subject, accepted_at)


@dataclass(frozen=True, slots=True)
class Taker:
    """Makes rows. subject: the keyed hash of an end user, as tombstones have it. Pure, and slow: not on the loop."""

    hasher: Hasher
    vocabulary: Vocabulary
    subject: Callable[[str], bytes]

    def take(self, prepared: Sequence[Prepared], opener: Opener) -> tuple[list[Taken], list[Candidate]]:
        """Returns the rows of a batch, and what turned out to be erased."""
        taken: list[Taken] = []
        erased: list[Candidate] = []
        for one in prepared:
            try:
                taken.append(self._take(one, opener))
            except Erased:
                erased.append(one.candidate)
        return taken, erased

    def _take(self, one: Prepared, opener: Opener) -> Taken:
        candidate = one.candidate
        is_corrected = candidate.is_corrected  # then nobody vouched for what was answered, and it does not stand in
        content = DatasetRow(
            question=open_text(one.answer.question, opener),
            answer=open_text(one.correction if is_corrected else one.answer.text, opener),
            documents=candidate.cited,
            unanswerable=candidate.grounding in REFUSALS and not is_corrected,
        )
        row = Row(
            row_id=str(candidate.query_id),
            kind=candidate.kind,
            tier=candidate.tier,
            content_hash=self.hasher.content(content),
            completed_at=candidate.completed_at,
            asked_at=candidate.accepted_at or candidate.completed_at,
            sources=candidate.sources,
            documents=candidate.documents,
            cited=candidate.cited,
            chunks=candidate.chunks,
            grant_id=one.grant_id,
            corrected=is_corrected,
            variant=candidate.variant,
            prompt=candidate.prompt,
            conversation=self.hasher.conversation(candidate.conversation_id),
            subject=self.subject(candidate.subject) if candidate.subject else b"",
            question_characters=len(content.question),
            answer_characters=len(content.answer),
            kind_stated=candidate.kind_stated,
        )
        return self.finish(row, content, one.answer.query, one.seal)

    def finish(self, row: Row, content: DatasetRow, query: Query, seal: Seal) -> Taken:
        """Counts a row's words and seals it."""
        question = self.vocabulary.numbers(words_of(content.question))
        numbers = [*question, *self.vocabulary.numbers(words_of(content.answer))]
        sealed = Sealed(closed(content.SerializeToString(), seal), closed(_bare(query), seal), numbers)
        return Taken(row, sealed, self.vocabulary.trigrams(question))


def closed(plaintext: bytes, seal: Seal) -> bytes:
    """Seals what a row says."""
    return seal.close(plaintext).SerializeToString()


def _bare(query: Query) -> bytes:
    """Who asked, when and where from: what asking it again needs."""
    bare = Query()
    bare.CopyFrom(query)
    bare.ClearField("hops")
    bare.ClearField("trial")
    return bare.SerializeToString()
