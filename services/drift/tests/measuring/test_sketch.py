"""What a sketch promises: order does not matter, bytes come back, size is bounded, and no text is in it."""

import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from headrace_drift.measuring import (
    Answer,
    Broken,
    Incompatible,
    Observation,
    Question,
    Rules,
    Score,
    Sketch,
    Slice,
    compare,
    encoding,
    layout,
)
from headrace_drift.measuring.tables import Counts, Words
from headrace_privacy import Tier
from hypothesis import given, settings
from hypothesis import strategies as st

from services.drift.tests.measuring.traffic import HASHING, READER, World


def vector_of(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=16)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


words = st.sampled_from(["open", "file", "select", "join", "list", "why", "how", "table", "größe", "日本"])
texts = st.lists(words, max_size=12).map(" ".join)
questions = st.one_of(st.none(), texts.map(READER.read))
answers = st.one_of(
    st.none(),
    st.builds(
        Answer,
        is_grounded=st.booleans(),
        is_refused=st.booleans(),
        seconds=st.floats(0, 1e6),
        cost_micro_usd=st.integers(0, 10**12),
        nearest=st.one_of(st.none(), st.floats(-1, 1)),
        model=st.sampled_from(["", "m@1", *(f"m@{n}" for n in range(2, 40))]),
        prompt=st.sampled_from(["", "p@1", "p@2"]),
    ),
)
observations = st.builds(
    Observation,
    query_id=st.uuids().map(str),
    conversation=st.integers(0, 2**64 - 1),
    tier=st.sampled_from(Tier),
    kind=st.sampled_from(["", "how-to", "error", *(f"kind-{n}" for n in range(100))]),
    question=questions,
    answer=answers,
    vector=st.one_of(st.none(), st.integers(0, 99).map(vector_of)),
    thumb_up=st.one_of(st.none(), st.booleans()),
    scores=st.lists(st.builds(Score, st.sampled_from(["relevance", "format"]), st.floats(0, 1)), max_size=2).map(tuple),
    trace_parent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
)
traffic = st.lists(observations, max_size=12)


def sketch_of(seen: list[Observation]) -> Sketch:
    sketch = Sketch()
    for one in seen:
        sketch.add(one)
    return sketch


@given(traffic, traffic)
@settings(max_examples=60, deadline=None)
def test_merging_is_commutative(a: list[Observation], b: list[Observation]) -> None:
    x, y = sketch_of(a), sketch_of(b)
    assert Sketch.merged([x, y]) == Sketch.merged([y, x])


@given(traffic, traffic, traffic)
@settings(max_examples=60, deadline=None)
def test_merging_is_associative(a: list[Observation], b: list[Observation], c: list[Observation]) -> None:
    x, y, z = sketch_of(a), sketch_of(b), sketch_of(c)
    together = Sketch.merged([x, y, z])
    assert Sketch.merged([Sketch.merged([x, y]), z]) == together
    assert Sketch.merged([x, Sketch.merged([y, z])]) == together


@given(traffic, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_when_an_event_comes_and_to_whom_does_not_matter(seen: list[Observation], rng: random.Random) -> None:
    """Late events, rebalances and restarts change where, and in what order, an event is counted: not what comes out."""
    dealt = [rng.randrange(3) for _ in seen]
    parts = [[one for one, to in zip(seen, dealt, strict=True) if to == part] for part in range(3)]
    for part in parts:
        rng.shuffle(part)
    assert Sketch.merged(map(sketch_of, parts)) == sketch_of(seen)


@given(traffic)
@settings(max_examples=60, deadline=None)
def test_bytes_come_back(seen: list[Observation]) -> None:
    sketch = sketch_of(seen)
    again = Sketch.from_bytes(sketch.to_bytes())
    assert again == sketch
    assert (again.events, again.queries, again.models) == (sketch.events, sketch.queries, sketch.models)
    again.add(Observation("q", 7, Tier.TIER_1, question=READER.read("and on it goes")))
    sketch.add(Observation("q", 7, Tier.TIER_1, question=READER.read("and on it goes")))
    assert again == sketch


def test_the_laws_catch_a_merge_that_forgets_order() -> None:
    """A merge that keeps the first's words, as a careless one would, breaks the law that is tested above."""
    x = sketch_of([Observation("a", 1, Tier.PUBLIC, question=READER.read("open a file"))])
    y = sketch_of([Observation("b", 2, Tier.PUBLIC, question=READER.read("select a row"))])

    def careless(first: Sketch, second: Sketch) -> Sketch:
        made = Sketch.merged([first, second])
        made._parts.words = first._parts.words
        return made

    assert careless(x, y) != careless(y, x)


def test_a_merge_changes_none_of_its_parts() -> None:
    x, y = (sketch_of(World(seed, 20).hour(12, random.Random(1), queries=40)) for seed in (1, 2))
    before = x.to_bytes(), y.to_bytes()
    made = Sketch.merged([x, y])
    made.add(Observation("q", 7, Tier.TIER_1, "how-to", READER.read("one more"), Answer(True, False, 1.0)))
    assert (x.to_bytes(), y.to_bytes()) == before


def test_no_sketches_make_an_empty_one() -> None:
    empty = Sketch.merged([])
    assert (empty.events, empty.queries, empty.strictest, empty.examples) == (0, 0, None, ())
    assert empty == Sketch() == Sketch.from_bytes(Sketch().to_bytes())


def test_what_is_counted_is_what_was_seen() -> None:
    sketch = sketch_of(
        [
            Observation(
                "a", 1, Tier.PUBLIC, question=READER.read("open a file"), answer=Answer(True, False, 1, model="m")
            ),
            Observation(
                "b", 1, Tier.TIER_1, question=READER.read("and close it"), answer=Answer(False, True, 1, model="m")
            ),
            Observation("a", 1, Tier.PUBLIC, thumb_up=True),
        ]
    )
    assert (sketch.events, sketch.queries, sketch.strictest, sketch.models) == (3, 2, Tier.TIER_1, {"m": 2})
    assert {example.query_id for example in sketch.examples} == {"a", "b"}
    assert {example.query_id for example in sketch.without_examples({"a"}).examples} == {"b"}
    assert sketch.without_examples({"a"}).queries == 2


def test_vectors_of_two_lengths_are_refused() -> None:
    sketch = sketch_of([Observation("a", 1, Tier.PUBLIC, vector=np.ones(8, np.float32))])
    before = sketch.to_bytes()
    with pytest.raises(Incompatible, match="16 numbers among vectors of 8"):
        sketch.add(Observation("b", 1, Tier.PUBLIC, vector=np.ones(16, np.float32)))
    assert sketch.to_bytes() == before
    with pytest.raises(Incompatible):
        Sketch.merged([sketch, sketch_of([Observation("b", 1, Tier.PUBLIC, vector=np.ones(16, np.float32))])])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e300])
def test_any_number_can_be_counted(value: float) -> None:
    answer = Answer(True, False, value, nearest=value)
    sketch = sketch_of([Observation("a", 1, Tier.PUBLIC, "", READER.read("why"), answer, scores=(Score("e", value),))])
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch
    with pytest.raises(Incompatible, match="numbers alone"):
        sketch.add(Observation("b", 1, Tier.PUBLIC, vector=np.array([1.0, np.nan], np.float32)))
    assert sketch.events == 1


# Bytes


def _cut(data: bytes) -> bytes:
    return data[:-9]


def _with_tail(data: bytes) -> bytes:
    return data + b"!"


def _of_next_version(data: bytes) -> bytes:
    return data[:4] + (encoding.VERSION + 1).to_bytes(2, "little") + data[6:]


def _flipped(data: bytes) -> bytes:
    body = bytearray(zlib.decompress(data[10:]))
    body[40] ^= 1
    return data[:10] + zlib.compress(bytes(body))


def _without_sections(data: bytes) -> bytes:
    return encoding.pack(encoding.SKETCH, [])


def _endless(data: bytes) -> bytes:
    return data[:10] + zlib.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    "breaking",
    [_cut, _with_tail, _of_next_version, _flipped, _without_sections, _endless, lambda _: b"", lambda _: b"HRDS"],
)
def test_broken_bytes_are_refused(breaking: Callable[[bytes], bytes]) -> None:
    data = sketch_of(World(1, 20).hour(12, random.Random(1), queries=40)).to_bytes()
    with pytest.raises(Broken):
        Sketch.from_bytes(breaking(data))


SECTIONS = tuple(
    encoding.unpack(
        sketch_of(World(1, 10).hour(12, random.Random(1), queries=10)).to_bytes(), encoding.SKETCH, count=17
    )
)


@given(st.integers(0, 16), st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_sections_of_anything_are_refused_or_read(place: int, section: bytes) -> None:
    """A section replaced by any bytes, with a right checksum: Broken, and never another error."""
    sections = list(SECTIONS)
    sections[place] = section
    with suppress(Broken):
        Sketch.from_bytes(encoding.pack(encoding.SKETCH, sections)).measured()


# Size


def test_a_sketch_is_bounded_whatever_it_sees() -> None:
    """More words, kinds, models and evaluators than there is room for, in every group: below `layout.LARGEST`."""
    rng = np.random.default_rng(1)
    sketch = Sketch()
    for n in range(400):
        question = Question(
            rng.integers(0, 2**64, 2000, dtype=np.uint64),
            rng.integers(0, layout.GRAMS, 4000).astype(np.uint16),
            tuple(rng.integers(1, 2000, 100).tolist()),
            int(rng.integers(1, 100_000)),
        )
        sketch.add(
            Observation(
                f"{n:0200d}",
                int(rng.integers(0, 2**64, dtype=np.uint64)),
                Tier.TIER_2,
                f"kind {n}" * 50,
                question,
                Answer(True, False, rng.lognormal(0, 5), int(rng.integers(1, 10**9)), rng.random(), f"m@{n}", f"p@{n}"),
                vector_of(n),
                scores=tuple(Score(f"e{n}-{k}", rng.random()) for k in range(5)),
                trace_parent="0" * 200,
            )
        )
    assert len(sketch.models) == layout.VERSIONS + 1
    assert sum(sketch.models.values()) == 400
    assert len(sketch.measured().kinds) == layout.KINDS + 1
    assert len(sketch.measured().scores) == layout.EVALUATORS
    assert len(sketch.examples) == layout.EXAMPLES
    assert sketch.size <= layout.LARGEST
    assert len(sketch.to_bytes()) <= layout.LARGEST
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


def test_the_tables_bounds_are_those_of_their_numbers() -> None:
    full = Counts(1000)
    for _ in range(50):
        full.add(np.random.default_rng(1).integers(0, 1000, 5000).astype(np.uint32))
    full.settle()
    assert full.numbers.size <= 1000
    assert full.counts.sum() == 250_000
    assert Words().nbytes == 0


# No text

CANARY = "xylographicwolverine"


def test_no_text_is_in_a_sketch() -> None:
    """Neither in its bytes, compressed or not, nor in what it prints: not a word, in any encoding or case."""
    seen = World(1, 20).hour(12, random.Random(1), queries=40)
    seen += [
        replace(one, question=READER.read(f"why does {CANARY} not open the {CANARY} file"), tier=Tier.TIER_2)
        for one in seen
    ]
    sketch = sketch_of(seen)
    data = sketch.to_bytes()
    shown = [data, zlib.decompress(data[10:]), repr(sketch).encode(), repr(sketch.examples).encode()]
    shown += [repr(compare(sketch, sketch, Rules(), slice_=Slice("t"))).encode()]
    for form in shown:
        for canary in (CANARY, CANARY.upper(), CANARY[:8], "why does"):
            for name in ("utf-8", "utf-16-le", "utf-32-le"):
                assert canary.encode(name) not in form
    # The scan sees what it should: a kind's name is in there.
    assert b"how-to" in zlib.decompress(data[10:])
    assert HASHING.key not in zlib.decompress(data[10:])


def test_a_restart_reads_the_same() -> None:
    world, rng = World(3, 100), random.Random(3)
    baseline = sketch_of([one for hour in range(24) for one in world.hour(hour, rng, queries=60)])
    window = sketch_of([one for hour in range(24) for one in world.hour(hour, rng, queries=30)])
    readings = compare(baseline, window, Rules(), slice_=Slice("t"))
    again = [Sketch.from_bytes(one.to_bytes()) for one in (baseline, window)]
    assert len(readings) > 10
    assert compare(*again, Rules(), slice_=Slice("t")) == readings
