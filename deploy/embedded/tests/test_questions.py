"""The demo's questions: well formed, answered by the documents that they name, and split without a leak."""

import itertools
import re
from collections import Counter
from dataclasses import replace
from importlib import resources
from pydoc_data.topics import topics

import pytest
import yaml
from headrace_embedded.demo import corpus, questions
from headrace_embedded.demo.questions import KnownQuestion, by_kind, halves, known_questions
from headrace_feedback.evaluating.reference import key_fact_recall, normalised, states, token_f1

from services.inference.tests import questions as thresholds

ALL = known_questions()
ANSWERABLE = [q for q in ALL if q.answerable]
DOCUMENTS = {topic.name: topic.markdown for topic in corpus.reference()}
TAKEN = (
    *thresholds.ANSWERABLE,
    *thresholds.UNANSWERABLE,
    *thresholds.HELD_ANSWERABLE,
    *thresholds.HELD_UNANSWERABLE,
)
# How a question of each kind reads.
SIGNS = {
    "what-is": r"^What (is|are|does)|^And which value|is returned by",
    "how-to": r"^How (do I|can)",
    "compare": r"differ|compare|Compared|less",
    "error": r"[Ee]rror|exception|goes wrong|rejected|raise",
    "code-reading": r"`[^`]+`",
}


MOST_ALIKE = 0.7
# Words that questions of one form share, whatever they ask.
FORM = frozenset(
    re.findall(r"\w+", "what is are does do how can i my which it between difference and in of to the for when")
)


def content(question: str) -> str:
    """The words that a question does not owe to its form."""
    return " ".join(word for word in normalised(question) if word not in FORM)


def alike(questions_: list[str], *, most: float) -> list[tuple[str, str]]:
    """Pairs whose words, less those of the form, overlap more than that (token F1)."""
    return [(a, b) for a, b in itertools.combinations(questions_, 2) if token_f1(content(a), content(b)) > most]


def flaws(question: KnownQuestion) -> list[str]:
    """What a question with an answer lacks."""
    found = [f"no document {d}" for d in question.documents if d not in DOCUMENTS]
    found += [f"{d} lacks {f}" for d in question.documents & DOCUMENTS.keys() for f in _missing(question, DOCUMENTS[d])]
    found += [f"the answer lacks {f}" for f in _missing(question, question.answer)]
    if not 2 <= len(question.facts) <= 4:
        found.append("2 to 4 facts are wanted")
    if key_fact_recall(question.question, question.facts) == 1:
        found.append("the question itself states all facts")
    return found


def _missing(question: KnownQuestion, text: str) -> list[str]:
    return [fact for fact in question.facts if not states(text, fact)]


def test_there_are_enough_of_each_kind() -> None:
    kinds = by_kind(ALL)
    assert len(ALL) >= 150
    assert len(kinds) >= 5
    assert all(len(asked) >= 20 for asked in kinds.values())
    assert max(map(len, kinds.values())) <= 1.25 * min(map(len, kinds.values()))


def test_enough_are_beyond_the_reference_in_every_kind() -> None:
    beyond = Counter(q.kind for q in ALL if not q.answerable)
    assert beyond.total() >= 25
    assert min(beyond[kind] for kind in SIGNS) >= 5
    assert not any(q.answer or q.facts or q.documents for q in ALL if not q.answerable)


def test_ids_are_unique() -> None:
    assert [i for i, n in Counter(q.id for q in ALL).items() if n > 1] == []


@pytest.mark.parametrize("question", ANSWERABLE, ids=lambda q: q.id)
def test_the_documents_and_the_answer_state_the_facts(question: KnownQuestion) -> None:
    assert flaws(question) == []


@pytest.mark.parametrize(
    "seeded",
    [
        {"documents": frozenset({"no-such-topic"})},
        {"documents": frozenset({"break", "lambda"})},
        {"answer": "It ends a loop."},
        {"facts": ("else clause",)},
        {"question": "Is it the nearest enclosing loop and its else clause?"},
    ],
)
def test_a_seeded_flaw_is_found(seeded: dict[str, object]) -> None:
    sound = next(q for q in ALL if q.id == "break-scope")
    assert flaws(replace(sound, **seeded)) != []  # type: ignore[arg-type]


@pytest.mark.parametrize("question", ALL, ids=lambda q: q.id)
def test_a_question_reads_as_its_kind(question: KnownQuestion) -> None:
    assert re.search(SIGNS[question.kind], question.question)


def test_no_two_questions_are_nearly_the_same() -> None:
    assert alike([q.question for q in ALL], most=MOST_ALIKE) == []
    assert alike(["What does a break end?", "What is it that the break does end?"], most=MOST_ALIKE) != []


def test_none_is_among_those_that_chose_the_thresholds() -> None:
    mine = [q.question for q in ALL]
    near = [pair for pair in alike([*mine, *TAKEN], most=MOST_ALIKE) if len({*pair} & {*mine}) == 1]
    assert near == []


def test_topics_within_others_are_there_whole() -> None:
    content = yaml.safe_load((resources.files("headrace_embedded.demo") / "questions.yaml").read_text())
    plain = {name: " ".join(re.sub(r"[*=\-~^]{4,}|\s+", " ", text).split()) for name, text in topics.items()}
    for part, wholes in content["also_in"].items():
        assert all(plain[part] in plain[whole] for whole in wholes), part


def test_a_conversation_is_of_one_kind_and_has_follow_ups() -> None:
    talks: dict[str, list[KnownQuestion]] = {}
    for question in ALL:
        if question.conversation:
            talks.setdefault(question.conversation, []).append(question)
    assert len(talks) >= 5
    assert all(len(talk) >= 2 for talk in talks.values())
    assert all(len({q.kind for q in talk}) == 1 for talk in talks.values())


def test_no_document_and_no_conversation_straddles_the_halves() -> None:
    split = halves(ALL)
    tune, test = split["tune"], split["test"]
    assert sorted(q.id for q in (*tune, *test)) == sorted(q.id for q in ALL)
    assert not {d for q in tune for d in q.documents} & {d for q in test for d in q.documents}
    assert not {q.conversation for q in tune} & {q.conversation for q in test} - {""}


@pytest.mark.parametrize("seed", [questions.SEED, 0, 1])
def test_the_halves_are_balanced(seed: int) -> None:
    split = halves(ALL, seed=seed)
    counts = [Counter((q.kind, q.answerable) for q in half) for half in split.values()]
    assert max(abs(counts[0][key] - counts[1][key]) for key in counts[0] | counts[1]) <= 3


def test_the_seed_decides_the_halves() -> None:
    assert halves(ALL) == halves(ALL)
    assert halves(ALL, seed=1) != halves(ALL, seed=2)


def test_the_prompts_have_the_form_of_those_that_ship() -> None:
    shipped = yaml.safe_load((resources.files("headrace_inference") / "catalogue/grounded-answer.1.yaml").read_text())
    for file in (resources.files("headrace_embedded.demo") / "prompts").iterdir():
        prompt = yaml.safe_load(file.read_text())
        assert prompt.keys() == shipped.keys()
        assert file.name == f"{prompt['name']}.{prompt['version']}.yaml"
        assert re.findall(r"\{(\w+)\}", prompt["question"]) == ["passages", "question"]
        assert all(example.keys() == {"asked", "answered"} for example in prompt["examples"])
