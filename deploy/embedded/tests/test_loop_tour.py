"""The pure parts of the tour of the closed loop: its plan, what it remembers, what it says, and who asks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.drift.v1 import drift_pb2
from headrace.feedback.v1.reports_pb2 import Estimate, ReportLine
from headrace.inference.v1.routes_pb2 import VariantReference
from headrace.privacy.v1.erasure_pb2 import ReachedModel
from headrace.query.v1.answer_pb2 import (
    GROUNDING_EXTRACTED,
    GROUNDING_GROUNDED,
    GROUNDING_NOT_IN_SOURCES,
    Answer,
    ModelIdentity,
)
from headrace.training.v1 import models_pb2, training_pb2
from headrace_drift.settings import Settings as DriftSettings
from headrace_embedded.demo import sql_guide
from headrace_embedded.demo.loop import asking, memory, plan, rules, steps, taking, words
from headrace_embedded.demo.loop.environment import ENVIRONMENT
from headrace_embedded.demo.loop.memory import Memory
from headrace_embedded.demo.loop.stage import Facts, Stage, Take
from headrace_embedded.errors import NotReady
from headrace_inference.settings import Settings as InferenceSettings
from headrace_trainer.settings import Settings as TrainerSettings

KNOWN = next(question for question in sql_guide.traffic() if question.id == "having-filter")


# The plan


def test_the_budget_of_all_steps_is_what_the_tour_may_take() -> None:
    assert sum(step.seconds for step in plan.STEPS) <= plan.MOST_SECONDS
    assert len({step.name for step in plan.STEPS}) == len(plan.STEPS)


def test_a_tour_goes_on_with_the_first_step_that_is_not_done() -> None:
    names = [step.name for step in plan.STEPS]
    assert plan.remaining([]) == plan.STEPS
    assert [step.name for step in plan.remaining(names[:3])] == names[3:]
    # Whatever came after a step that is missing stands on it.
    assert [step.name for step in plan.remaining([names[0], names[2]])] == names[1:]
    assert plan.remaining(names) == ()


def test_the_times_are_told_beside_their_budgets() -> None:
    rows = list(plan.rows({"drift": 12.4, "up": 20.0}))
    assert rows == [("up", "20 s", "55 s"), ("drift", "12 s", "25 s"), ("in all", "32 s", "80 s")]


def test_every_step_that_is_planned_is_taken(tmp_path: Path) -> None:
    assert ["up", *taking.takes(tmp_path)] == [step.name for step in plan.STEPS]


def test_what_the_services_are_told_are_settings_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"drift": DriftSettings, "inference": InferenceSettings, "trainer": TrainerSettings}
    for name, value in ENVIRONMENT.items():
        _, service, setting = name.lower().split("_", 2)
        assert setting in settings[service].model_fields
        monkeypatch.setenv(name, value)
    told = DriftSettings(database="postgresql://nobody@nowhere/none").plan()  # type: ignore[call-arg]
    assert told.rules.minimum_queries <= told.windows.queries <= min(steps.BASELINE, len(sql_guide.traffic()))


def test_the_loop_learns_from_what_was_approved_since_the_questions_turned() -> None:
    turned = datetime(2026, 3, 1, 12, tzinfo=UTC)
    told = rules.loop_rules(VariantReference(name="bare-answer", version=1), debounce_seconds=9, since=turned)
    assert (told.automatic, told.promote_by_itself, told.debounce_seconds) == (True, True, 9)
    assert told.query.approved_only
    assert told.query.since.ToDatetime(UTC) == turned
    # The gate wants at least 20 pairs.
    assert round(told.query.test_share * len(sql_guide.traffic())) >= 20


def a_stage(known: Memory, said: list[str]) -> Stage:
    """One without services, for steps that need none."""
    say = said.append
    return Stage(None, None, known, say=say, bar=None, now=None)  # type: ignore[arg-type]


def counting(taken: list[str]) -> dict[str, Take]:
    def step(name: str) -> Take:
        async def take(stage: Stage) -> Facts:
            taken.append(name)
            return {"taken": len(taken), "round": stage.round}

        return take

    return {one.name: step(one.name) for one in plan.STEPS}


async def test_a_tour_that_was_left_takes_what_is_left(tmp_path: Path) -> None:
    taken: list[str] = []
    said: list[str] = []
    left = Memory(took={"up": 1.0, "prepare": 1.0}, facts={"prepare": {"version": 3}})
    by_name = {**counting(taken), "drift": breaking}
    with pytest.raises(NotReady):
        await taking.take_all(a_stage(left, said), tmp_path, headline=said.append, clock=lambda: 0.0, by_name=by_name)
    assert taken == ["baseline", "shift"]
    recalled = memory.recall(tmp_path)
    assert recalled.known("prepare", "version") == 3
    again = a_stage(recalled, said)
    over = await taking.take_all(again, tmp_path, headline=said.append, clock=lambda: 0.0, by_name=counting(taken))
    assert taken[2:] == [step.name for step in plan.STEPS[4:]]
    assert over.is_over


async def breaking(stage: Stage) -> Facts:
    raise NotReady(f"round {stage.round} has no alert")


async def test_a_step_that_took_longer_than_planned_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    left = Memory(took={step.name: 1.0 for step in plan.STEPS[:-1]})
    ticks = iter([0.0, 14.0])
    by_name = counting([])
    await taking.take_all(
        a_stage(left, said), tmp_path, headline=said.append, clock=lambda: next(ticks), by_name=by_name
    )
    assert said == [plan.STEPS[-1].title, "(14 s, 4 s more than planned)"]


# What is remembered


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    assert memory.recall(tmp_path) == Memory()
    left = Memory().after("up", {}, seconds=3.0).after("prepare", {"variant": "a@1"}, seconds=4.5)
    memory.remember(tmp_path, left)
    again = memory.recall(tmp_path)
    assert again == left
    assert again.known("prepare", "variant") == "a@1"


def test_after_a_round_that_is_over_comes_the_next(tmp_path: Path) -> None:
    over = Memory(round=2)
    for step in plan.STEPS:
        over = over.after(step.name, {}, seconds=1.0)
    memory.remember(tmp_path, over)
    assert memory.recall(tmp_path) == Memory(round=3)


def test_a_broken_memory_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / memory.FILE).write_text("{")
    with pytest.raises(NotReady, match="Delete it"):
        memory.recall(tmp_path)


# What is said


def moved(word: str, *, baseline: float, window: float) -> drift_pb2.MovedWord:
    return drift_pb2.MovedWord(word=word, hash="0" * 16, baseline=baseline, window=window)


def test_questions_point_at_the_documents_that_speak_of_them() -> None:
    asked = [
        "How often does a statement trigger fire?",
        "What does an INSTEAD OF trigger replace?",
        "Which rows does a partial index cover?",
        "Who won the football world cup?",
    ]
    named = words.named_documents(asked, sql_guide.guide())
    assert [(topic.name, count) for topic, count in named] == [("triggers", 2), ("indexes", 1)]


def test_most_questions_point_at_the_document_that_answers_them() -> None:
    guide = sql_guide.guide()
    found = [
        words.named_documents([question.question], guide)[0][0].name in question.documents
        for question in sql_guide.traffic()
    ]
    assert sum(found) / len(found) > 0.9


def test_nothing_points_at_an_empty_shelf() -> None:
    assert words.named_documents(["What is a view?"], []) == []
    assert words.named_documents([], sql_guide.guide()) == []
    assert "and 2 more" in list(words.shelf_lines([(sql_guide.guide()[0], 1)] * (words.SHOWN + 2)))[-1]


def test_an_alert_says_what_moved_and_what_to_pull() -> None:
    explanation = drift_pb2.Explanation(
        summary="Questions about something else.",
        words=[moved("index", baseline=0, window=0.05), moved("loop", baseline=0.05, window=0)],
        kinds=[drift_pb2.MovedKind(kind="how-to", baseline_share=0.2, window_share=0.1, baseline_grounded=0.9)],
        lever=drift_pb2.LEVER_DOCUMENTS,
        because="They find nothing close.",
        without_close_passage=0.82,
    )
    reading = drift_pb2.Reading(
        measure=drift_pb2.MEASURE_NEAREST_PASSAGE,
        baseline=0.7,
        window=0.4,
        effect=0.91,
        effect_kind="cliff_delta",
        p_value=1e-9,
    )
    told = "\n".join(words.alert_lines(drift_pb2.Alert(readings=[reading], explanation=explanation)))
    assert "Words that came: index." in told
    assert "nearest passage" in told
    assert "p < .0001" in told
    assert "82% found nothing close" in told
    assert "What to pull first: documents. They find nothing close." in told
    assert "how-to: 20% → 10% of the questions, answered in words of its own 90% → 0%" in told


def test_a_run_says_what_started_it() -> None:
    run = training_pb2.TrainingRun(
        run_id="0123456789",
        causes=[training_pb2.CAUSE_DRIFT, training_pb2.CAUSE_STEWARD],
        state=training_pb2.RUN_STATE_DONE,
        base=ModelIdentity(name="small", version="abc"),
        tokens=12_000,
        compute_seconds=61,
        held_out_loss=1.25,
        without_grant=3,
    )
    told = list(words.run_lines(run))
    assert told[0] == "Run 01234567: done, started by drift, steward, from small abc"
    assert "1.25 on held-out" in told[2]
    assert "3 rows" in told[3]


def test_a_run_says_how_far_it_is_at_each_quarter() -> None:
    def told(step: int) -> str:
        run = training_pb2.TrainingRun(run_id="01234567", state=training_pb2.RUN_STATE_TRAINING, step=step, steps=20)
        return words.progress_line(run)

    assert told(7) == told(9) == "Run 01234567 trains: 25 % of 20 steps."
    assert told(10) != told(9)
    assert words.progress_line(training_pb2.TrainingRun(state=training_pb2.RUN_STATE_DONE)) == ""
    assert "gate" in words.progress_line(training_pb2.TrainingRun(state=training_pb2.RUN_STATE_GATING))


def test_a_gate_that_refuses_is_told_rule_by_rule() -> None:
    lines = [
        models_pb2.GateLine(rule="leaks", passed=True, sentence="no leak in 24 answers"),
        models_pb2.GateLine(rule="latency", passed=False, sentence="1.9 times the champion's; 1.3 are allowed"),
    ]
    told = list(words.gate_lines(models_pb2.GateReport(passed=False, lines=lines)))
    assert told[0] == "The gate refused, against the base:"
    assert told[2] == "  ✗ 1.9 times the champion's; 1.3 are allowed"


def test_a_gain_is_told_with_its_interval() -> None:
    line = ReportLine(
        measure="key_facts",
        a=Estimate(value=0.31),
        b=Estimate(value=0.62),
        difference=Estimate(value=0.31, low=0.18, high=0.43, answers=52),
    )
    assert words.gain_line(line) == "key_facts: 31% → 62%, +31 points (95 % interval +18 to +43, 52 questions)"


def test_a_canary_and_what_it_learned_by_heart_are_told() -> None:
    evidence = models_pb2.Evidence(measure="grounded", canary=0.9, champion=0.6, low=0.1, high=0.5, verdict="not_worse")
    rollout = models_pb2.Rollout(answers=24, champion_answers=20, evidence=[evidence], ended="promoted")
    told = list(words.rollout_lines(rollout))
    assert told[0].startswith("24 answers of it, 20 of the champion: promoted.")
    assert "+0.10 to +0.50: not worse" in told[1]
    secrets = words.memorisation_line(models_pb2.Memorisation(planted=8, controls=64, extracted=0, exposure=0.5))
    assert secrets.startswith("Of 8 secrets planted in its rows, 0 can be got out of it.")


def test_the_models_that_an_erasure_reached_are_told() -> None:
    stands = ReachedModel(model="m@1", retire_by=Timestamp(seconds=60))
    gone = ReachedModel(model="m@1", retired_at=Timestamp(seconds=120), replaced_by="m@2")
    assert list(words.reached_lines([stands])) == ["  m@1 learned from it: to go by 00:01:00 UTC"]
    assert list(words.reached_lines([gone])) == ["  m@1 learned from it: retired at 00:02:00 UTC, in its place: m@2"]


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (59.4, "59 s"), (365, "6 min 05 s")])
def test_a_duration_is_told(seconds: float, told: str) -> None:
    assert words.duration(seconds) == told


# Who asks


def test_who_asks_what_is_the_same_when_it_is_asked_again() -> None:
    first = asking.askings(sql_guide.traffic(), occasion="again", round_=1, erased="ada-1", erased_asks=6)
    assert first == asking.askings(sql_guide.traffic(), occasion="again", round_=1, erased="ada-1", erased_asks=6)
    assert sum(one.subject == "ada-1" for one in first) == 6
    assert len({one.query_id for one in first}) == len(first) == len(sql_guide.traffic())
    assert len({one.subject for one in first}) == asking.PEOPLE + 1


def test_another_round_asks_under_other_ids_and_names() -> None:
    first, second = (asking.askings(sql_guide.traffic(), occasion="shift", round_=number) for number in (1, 2))
    assert not {one.query_id for one in first} & {one.query_id for one in second}
    assert not {one.subject for one in first} & {one.subject for one in second}


@pytest.mark.parametrize(
    ("text", "grounding", "right"),
    [
        ("The HAVING clause filters whole groups after aggregation [1].", GROUNDING_GROUNDED, True),
        ("The HAVING clause filters whole groups after aggregation [1].", GROUNDING_EXTRACTED, True),
        ("The HAVING clause filters whole groups [1].", GROUNDING_GROUNDED, False),
        ("The sources don't say.", GROUNDING_NOT_IN_SOURCES, False),
    ],
)
def test_a_thumb_points_up_where_all_key_facts_are_stated(text: str, grounding: int, right: bool) -> None:
    assert asking.is_right(KNOWN, Answer(text=text, grounding=grounding)) is right  # type: ignore[arg-type]


def test_what_nobody_can_know_is_rightly_refused() -> None:
    unknown = sql_guide.beyond()[0]
    assert asking.is_right(unknown, Answer(grounding=GROUNDING_NOT_IN_SOURCES))
    assert not asking.is_right(unknown, Answer(text="On all of them.", grounding=GROUNDING_GROUNDED))


def test_those_who_know_better_correct_what_says_more_or_less() -> None:
    (asked,) = asking.with_corrections(asking.askings([KNOWN], occasion="again", round_=1), sql_guide.quoted)
    assert asked.expected == "The HAVING clause filters whole groups after aggregation."
    assert asking.correction(asked, "The HAVING clause filters whole groups after aggregation [1].") == ""
    assert asking.correction(asked, f"{asked.expected} A HAVING clause may use aggregate functions.") == asked.expected
    assert asking.correction(asked, "The sources don't say.") == asked.expected
    (unknowing,) = asking.askings([KNOWN], occasion="shift", round_=1)
    assert asking.correction(unknowing, "The sources don't say.") == ""
