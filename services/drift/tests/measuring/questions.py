"""Questions as people ask them: of Python, of SQL, of products that were not there before."""

from __future__ import annotations

import math
import random
from hashlib import blake2b

import numpy as np
from headrace_drift.measuring import Answer, Observation
from headrace_privacy import Tier

from services.drift.tests.measuring.traffic import READER

_ASKED = (
    "How do I use {a} in {where}?", "What does {a} do?", "What is the difference between {a} and {b}?",
    "When should I use {a}?", "Why does {a} fail with {b}?", "Can {a} be combined with {b}?",
    "Is there an example of {a}?", "What happens to {a} when I change {b}?", "How can I make {a} faster?",
    "Which rules hold for {a} inside {b}?", "How is {a} different from what {b} does in {where}?",
    "Please explain {a} to me.", "Why would anybody write {a}?", "Does {a} work with {b}?",
    "What is returned by {a}?", "How do I test {a}?", "Where is {a} described?", "How do I undo {a}?",
)  # fmt: skip
PYTHON = (
    "a list comprehension", "the with statement", "a generator", "a lambda", "try and except", "an f-string", "a slice",
    "the global statement", "a decorator", "async for", "the match statement", "a metaclass", "the del statement",
    "a dictionary", "the import system", "a class attribute", "the yield expression", "a keyword argument", "super()",
    "operator precedence", "a context manager", "the assert statement", "integer division", "a bound method",
    "the finally clause", "a coroutine", "string formatting", "an augmented assignment", "the return statement",
    "nonlocal names", "a tuple", "the walrus operator", "truth testing", "a descriptor", "the pass statement",
    "exception groups", "an iterator", "boolean operations", "a set display", "the debugger", "a frozen set",
    "the lexical analysis of indentation", "a module", "private names", "a closure", "an abstract base class",
)  # fmt: skip
SQL = (
    "an inner join", "a left outer join", "GROUP BY", "HAVING", "a foreign key", "a primary key", "a unique index",
    "SELECT DISTINCT", "a common table expression", "a window function", "ORDER BY with NULLS LAST", "an upsert",
    "ON CONFLICT DO NOTHING", "a transaction", "the isolation level", "a materialized view", "EXPLAIN ANALYZE",
    "VACUUM", "a check constraint", "a partial index", "row-level security", "a trigger", "a sequence", "UNION ALL",
    "a correlated subquery", "COALESCE", "a savepoint", "a jsonb column", "LIMIT and OFFSET", "a deadlock", "a schema",
    "the query planner", "a tablespace", "GRANT and REVOKE", "a lateral join", "an aggregate", "TRUNCATE", "a rollback",
)  # fmt: skip
PRODUCTS = (
    "Orbweaver Studio", "the Quillfeather plugin", "Tessera Sync", "a Larkspur workspace", "Brindle credits",
    "the Halcyon dashboard", "a Fennimore licence", "Orbweaver Cloud", "Tessera teams", "the Larkspur importer",
)  # fmt: skip
_WHERE = {PYTHON: "Python", SQL: "Postgres", PRODUCTS: "my account"}
_LONG = (
    "I have been trying this since yesterday on two machines, and the manual did not get me any further than the first "
    "page, which I have read several times by now. {question} My colleague says that it worked in the version before. "
    "I also looked at what the others in the team wrote, and none of it is about this case, so any hint is welcome."
)
DIMENSIONS = 64


def asked(pool: tuple[str, ...], rng: random.Random) -> str:
    """One question about the things of the pool."""
    a, b = rng.sample(pool, 2)
    return rng.choice(_ASKED).format(a=a, b=b, where=_WHERE[pool])


def at_length(question: str) -> str:
    """The same question with all that people write around it."""
    return _LONG.format(question=question)


def observation(
    question: str,
    rng: random.Random,
    *,
    nearest: float = 0.6,
    grounded: float = 0.8,
    prompt: str = "p@1",
    kind: str = "",
) -> Observation:
    """A question of somebody new and its answer, as the bus would tell of them."""
    is_grounded = rng.random() < grounded
    return Observation(
        query_id=f"{rng.getrandbits(128):032x}",
        conversation=rng.getrandbits(64),
        tier=Tier.TIER_1,
        kind=kind,
        question=READER.read(question),
        answer=Answer(
            is_grounded, not is_grounded, rng.lognormvariate(0, 0.4), 0, rng.gauss(nearest, 0.08), "m@1", prompt
        ),
        vector=vector(question),
    )


def vector(question: str) -> np.ndarray:
    """The direction of a question's words: near for questions that share words, as a real model's is, only cruder."""
    found = sum((_of_word(word) for word in question.lower().split()), np.zeros(DIMENSIONS))
    return (found / math.sqrt(float(found @ found))).astype(np.float32)


def _of_word(word: str) -> np.ndarray:
    seed = int.from_bytes(blake2b(word.encode(), digest_size=4).digest(), "little")
    # Long words carry the meaning.
    return np.random.default_rng(seed).normal(size=DIMENSIONS) * min(len(word), 8)
