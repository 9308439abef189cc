"""What runs need of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from headrace.query.v1.answer_pb2 import AnswerCompleted

from headrace_feedback.interaction import Versioned
from headrace_feedback.running.runs import (
    Ask,
    Candidate,
    Case,
    Indexed,
    Pair,
    Reason,
    Run,
    StaleAnswer,
    Standing,
    State,
    TrialAnswer,
    Wish,
)


class Runs(Protocol):
    """The books of runs, inside one transaction of one tenant."""

    async def hold(self, tenant: str) -> None:
        """Has erasures of the tenant wait until the transaction ends, or waits for them."""

    async def add(self, run: Run) -> None:
        """Stores a run, and has it wait for its turn."""

    async def add_cases(self, run: Run, cases: Sequence[Case]) -> None:
        """Stores cases of it."""

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        """The run as it stands."""

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        """The runs, newest first."""

    async def end(self, run: Run, state: State, *, now: datetime, failure: str = "") -> bool:
        """Ends a run that goes on, its turn, and what is under way of it; says whether it did."""

    async def cases(self, run: Run, *, first: int, most: int) -> Sequence[Case]:
        """The cases from a place on, in order; those that are erased are missing."""

    async def case(self, run: Run, case_id: str) -> Case | None:
        """One case; None when it is erased."""

    async def begin(self, run: Run, ask: Ask | None, *, begun: int) -> bool | None:
        """Counts one more as come to, `begun` being what was known before, and says whether it is stored as asked.

        Of a case that is erased by now nothing is stored, but it is counted. None where nothing is: the run goes on no
        more, or somebody else came to it.
        """

    async def under_way(self, run: Run) -> Sequence[Ask]:
        """What was asked and is not back."""

    async def time_out(self, run: Run, *, before: datetime) -> Sequence[str]:
        """Gives up on what was asked before; returns their cases."""

    async def find(self, tenant: str, query_id: UUID) -> Ask | None:
        """What was asked under this id; nobody else settles its case until the transaction ends."""

    async def settle(self, tenant: str, ask: Ask, standing: Standing, reason: Reason = "") -> None:
        """Stores how it ended."""

    async def standings(self, run: Run, case_id: str) -> Mapping[int, Standing]:
        """How a case stands, arm by arm, as far as it was asked; held like `find`."""

    async def add_answer(self, answer: TrialAnswer, *, stored_at: datetime) -> bool:
        """Stores it, unless its query has one; says whether it did."""


class Turns(Protocol):
    """Who conducts which run. Inside a transaction of no tenant."""

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        """Takes a run that nobody holds, for so long: its tenant and id. None when there is none."""

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        """Holds it for so long from now on; says no when it is somebody else's, or has ended."""


class Questions(Protocol):
    """The log, as what is asked again. Inside one transaction of one tenant."""

    async def candidates(self, tenant: str, wish: Wish, *, limit: int, seed: int) -> Sequence[Candidate]:
        """A sample of the queries that fit, the same for the same seed and log, in the order of asking."""

    async def originals(self, tenant: str, query_ids: Sequence[UUID]) -> Sequence[Original]:
        """These, as far as they are there, in no order."""


class Original(Protocol):
    """A logged query as it rests."""

    @property
    def query_id(self) -> UUID:
        """Which."""

    @property
    def kind(self) -> str:
        """What kind it is."""

    @property
    def completed_at(self) -> datetime:
        """When it was answered."""

    @property
    def documents(self) -> Sequence[str]:
        """ "source/document" of all that it was answered of."""

    @property
    def record(self) -> bytes:
        """AnswerCompleted."""


class Cases(Protocol):
    """Where the cases of one run come from."""

    async def candidates(self, *, limit: int, seed: int) -> Sequence[Candidate]:
        """What there is, in the order of asking. Raises NotFound and Conflict where it cannot be had."""

    async def read(self, unit: Any, candidates: Sequence[Candidate], *, first: int) -> Sequence[Case]:
        """These as cases, placed from `first` on, in order; what is erased meanwhile is missing."""


class Shelf(Protocol):
    """What is indexed, and which answers that makes stale. Inside one transaction of one tenant."""

    async def note(self, indexed: Indexed) -> None:
        """Notes it, unless a later version is noted."""

    async def stale(
        self, tenant: str, *, source: str, document_id: str, limit: int
    ) -> tuple[Sequence[StaleAnswer], int]:
        """Stale answers, newest first, and how many there are in all. An empty source or document: whichever."""


class Variants(Protocol):
    """What can answer."""

    async def resolve(self, tenant: str, variant: Versioned) -> Versioned:
        """The variant with its version, the newest where none is given. Raises NotFound, and Unavailable."""


class Evaluations(Protocol):
    """Who measures answers. Inside the transaction that stores them; what is put twice is measured once."""

    async def put_answer(self, answer: TrialAnswer, *, judges: Sequence[str]) -> None:
        """Has a trial's answer measured; of a shadow as far as live answers are sampled."""

    async def put_baseline(self, run: Run, case_id: str) -> None:
        """Has the answer of then measured, for a replay."""

    async def put_pair(self, pair: Pair) -> None:
        """Has two answers to one case compared, by the run's judges."""


class NoEvaluations:
    """Nobody measures."""

    async def put_answer(self, answer: TrialAnswer, *, judges: Sequence[str]) -> None:
        """See Evaluations."""

    async def put_baseline(self, run: Run, case_id: str) -> None:
        """See Evaluations."""

    async def put_pair(self, pair: Pair) -> None:
        """See Evaluations."""


class Tombstones(Protocol):
    """What keeps out what is erased, in the transaction that would store it."""

    async def keep_out_trial(self, unit: Any, message: AnswerCompleted) -> None:
        """Raises Erased for a trial of a query that is erased, of somebody who is, or made of a document that is."""

    async def keep_out_document(self, unit: Any, indexed: Indexed, *, accepted_at: datetime | None) -> None:
        """Raises Erased for a document that is."""


class NoTombstones:
    """Nothing was ever erased."""

    async def keep_out_trial(self, unit: Any, message: AnswerCompleted) -> None:
        """See Tombstones."""

    async def keep_out_document(self, unit: Any, indexed: Indexed, *, accepted_at: datetime | None) -> None:
        """See Tombstones."""
