"""The gate on what was measured: what opens it, what does not, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from headrace_runtime.errors import Conflict
from headrace_trainer.registry.gate import Findings, Line, SearchFindings, lines_of, lines_of_search, refusal, report_of
from headrace_trainer.registry.models import GateReport, Losses
from headrace_trainer.registry.rules import Gate, load_gate, read_gate
from headrace_trainer.running.runs import Memorisation

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
GATE = load_gate(None)
PAIRS = 100


def line(measure: str, a: float, b: float, *, reach: float = 0.05, pairs: int = PAIRS, **more: object) -> Line:
    """A champion's value and a candidate's."""
    return Line("", measure, a, b, b - a - reach, b - a + reach, pairs, **more)  # type: ignore[arg-type]


def served(**values: float) -> list[Line]:
    """What a sound candidate has as served, but for what is said."""
    champion = {
        "key_facts": 0.40,
        "token_f1": 0.30,
        "rouge_l": 0.30,
        "citations_support": 0.90,
        "groundedness": 0.95,
        "grounded": 0.40,
        "citations_resolve": 1.0,
        "refusal": 0.9,
        "refused": 0.1,
        "latency": 1.0,
    }
    return [line(measure, value, values.get(measure, value)) for measure, value in champion.items()]


def own(**values: float) -> list[Line]:
    """The same in its own words."""
    champion = {
        "key_facts": 0.35,
        "token_f1": 0.25,
        "rouge_l": 0.22,
        "relevance": 0.7,
        "groundedness": 0.6,
        "leaks": 1.0,
    }
    return [line(measure, value, values.get(measure, value)) for measure, value in champion.items()]


SOUND = Findings(
    reports={"as_served": served(), "own_words": own()},
    losses=Losses(1.2, 1.9),
    bytes=300 * 2**20,
    memorisation=Memorisation(planted=8, controls=64, exposure=0.9, controls_limit=5.2, extracted=0),
    asked=PAIRS,
)


def judged(found: Findings, gate: Gate = GATE) -> GateReport:
    """By the rules that are shipped."""
    return report_of(lines_of(gate, found), champion="default 1", version=gate.version, now=NOW)


def refused_by(found: Findings) -> set[str]:
    """The rules that do not hold."""
    return {one.rule for one in judged(found).lines if not one.passed}


def with_own(lines: Sequence[Line]) -> Findings:
    """A sound one but for its own words."""
    return replace(SOUND, reports={"as_served": served(), "own_words": lines})


def with_served(lines: Sequence[Line]) -> Findings:
    """A sound one but for what is served."""
    return replace(SOUND, reports={"as_served": lines, "own_words": own()})


def test_one_that_is_as_good_passes() -> None:
    report = judged(SOUND)
    assert report.passed, refusal(report)
    assert report.rules_version == GATE.version


def test_one_that_is_better_passes() -> None:
    assert judged(with_own(own(key_facts=0.6, token_f1=0.5))).passed


def test_one_trained_on_shuffled_answers_is_refused_with_the_rule_and_by_how_much() -> None:
    """It writes fluently, of other things: its loss is lower than the base's, its facts are gone, and as served the
    check against the passages hides most of that."""
    shuffled = own(key_facts=0.08, token_f1=0.12, rouge_l=0.11, relevance=0.3, groundedness=0.2)
    report = judged(with_own(shuffled))
    refusing = {one.rule for one in report.lines if not one.passed}
    assert refusing == {"key_facts", "relevant", "supported_own_words"}
    assert "(relevance) fell by 40.0 points" in refusal(report)
    assert "5.0 points down are allowed; that it is worse is proven." in refusal(report)


def test_a_champion_that_agrees_with_itself_is_no_measure() -> None:
    """Rows that nobody corrected hold what the champion said: to say the same in other words is no loss."""
    lines = [line("token_f1", 0.9, 0.72), line("rouge_l", 0.9, 0.71)]
    assert judged(with_own([*[one for one in own() if one.measure not in ("token_f1", "rouge_l")], *lines])).passed
    worse = [line("token_f1", 0.9, 0.5), line("rouge_l", 0.9, 0.5)]
    report = judged(with_own([*[one for one in own() if one.measure not in ("token_f1", "rouge_l")], *worse]))
    assert not report.passed


def test_a_model_that_was_never_measured_is_refused() -> None:
    """The seeded bug of every gate: silence that opens it."""
    assert refused_by(Findings()) >= {
        "answered",
        "known_answers",
        "supported",
        "latency",
        "held_out_loss",
        "memorisation",
    }


def test_an_uncalibrated_judge_never_decides() -> None:
    wins = line("wins:fair", 0.9, 0.1, decides=False)
    report = judged(with_own([*own(), wins]))
    assert report.passed
    assert "decides nothing" in next(one.sentence for one in report.lines if one.rule == "wins:fair")
    only = replace(wins, a=0.1, b=0.9, low=0.7, high=0.9)
    assert not judged(Findings(reports={"own_words": [only]})).passed


def test_a_couple_of_pairs_by_chance_do_not_refuse_it_and_a_likely_fall_does() -> None:
    """24 pairs, of which two were lost and one was won: −4 points, or −17 at the same width."""
    chance = line("grounded", 0.40, 0.30, reach=0.25, pairs=24)
    assert judged(with_served([*[one for one in served() if one.measure != "grounded"], chance])).passed
    likely = line("grounded", 0.40, 0.28, reach=0.15, pairs=24)
    report = judged(with_served([*[one for one in served() if one.measure != "grounded"], likely]))
    assert "the chance that it is worse is 94 %, and 80 % refuse" in refusal(report)


def test_what_is_proven_reckons_with_all_that_was_looked_at() -> None:
    """2.1 standard errors down prove nothing of one measure among a dozen; 3.3 do."""
    others = [one for one in own() if one.measure != "relevance"]
    chance = line("relevance", 0.7, 0.616, reach=0.077, pairs=24)
    assert judged(with_own([*others, chance])).passed
    assert refused_by(with_own([*others, replace(chance, low=-0.134, high=-0.034)])) == {"relevant"}
    lower = line("refused", 0.1, 0.17, reach=0.064, pairs=24)
    assert judged(with_served([*[one for one in served() if one.measure != "refused"], lower])).passed


def test_looked_at_alone_the_interval_itself_decides() -> None:
    text = files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8")
    alone = read_gate(text)
    only = {"relevant": alone.rules.shares["relevant"]}
    gate = replace(alone, rules=alone.rules.model_copy(update={"shares": only}))
    chance = line("relevance", 0.7, 0.616, reach=0.077, pairs=24)
    (found,) = (one for one in judged(with_own([chance]), gate).lines if one.rule == "relevant")
    assert not found.passed
    assert "that it is worse is proven" in found.sentence


def test_a_calibrated_judge_does() -> None:
    assert refused_by(with_own([*own(), line("judge:fair", 0.9, 0.6)])) == {"judge:fair"}


def test_one_kind_of_query_may_not_pay_for_the_others() -> None:
    kind = replace(line("citations_support", 0.9, 0.7, pairs=30), kind="how-to")
    assert refused_by(with_served([*served(), kind])) == {"supported"}
    few = replace(kind, pairs=3)
    assert judged(with_served([*served(), few])).passed


def test_answers_that_never_came_refuse_it() -> None:
    assert refused_by(replace(SOUND, failed=1)) == {"answered"}


def test_a_slow_one_is_refused() -> None:
    report = judged(with_served(served(latency=2.6)))
    assert "2.60 times the champion's (2.6 against 1); 1.3 times is allowed" in refusal(report)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.0, 2.5])
def test_a_loss_that_is_none_or_has_risen_refuses_it(loss: float) -> None:
    assert refused_by(replace(SOUND, losses=Losses(loss, 1.9))) == {"held_out_loss"}


def test_one_that_knows_planted_secrets_by_heart_is_refused() -> None:
    found = Memorisation(planted=8, controls=64, exposure=6.0, controls_limit=5.2, extracted=3)
    report = judged(replace(SOUND, memorisation=found))
    assert "Greedy writing gave away 3 of 8; 0 are allowed." in refusal(report)
    quiet = replace(found, extracted=0)
    assert refused_by(replace(SOUND, memorisation=quiet)) == {"memorisation"}


def test_more_refusals_are_a_loss_too() -> None:
    assert refused_by(with_served(served(refused=0.3))) == {"refused"}
    assert judged(with_served(served(refused=0.0))).passed


def test_what_should_have_been_masked_may_not_come_out() -> None:
    assert refused_by(with_own(own(leaks=0.97))) == {"leaks"}


def test_a_must_pass_row_may_not_be_lost() -> None:
    """Two won for one lost is no excuse: the share has risen."""
    lost = replace(line("key_facts", 0.8, 0.85, pairs=20), lost=1)
    report = judged(replace(SOUND, must_pass=[lost]))
    assert "Of 20 must-pass rows 1 are lost" in refusal(report)
    assert judged(replace(SOUND, must_pass=[replace(lost, lost=0)])).passed
    assert refused_by(replace(SOUND, must_pass=[])) == {"must_pass"}


def search_line(measure: str, a: float, b: float, *, reach: float = 0.05, **more: object) -> Line:
    """As ranks.py makes them."""
    return line(measure, a, b, reach=reach, **more)  # type: ignore[arg-type]


def searched(**values: float) -> list[Line]:
    """What a sound embedder has, but for what is said."""
    champion = {"reciprocal_rank": 0.5, "recall_1": 0.4, "recall_8": 0.9}
    better = {"reciprocal_rank": 0.6, "recall_1": 0.5, "recall_8": 0.92}
    return [search_line(measure, value, values.get(measure, better[measure])) for measure, value in champion.items()]


SOUND_SEARCH = SearchFindings(lines=searched(), losses=Losses(0.3, 0.5), bytes=90 * 2**20)


def refused_searches(found: SearchFindings) -> set[str]:
    """The rules for embedders that do not hold."""
    return {line.rule for line in lines_of_search(GATE, found) if not line.passed}


def test_an_embedder_that_finds_more_passes() -> None:
    assert refused_searches(SOUND_SEARCH) == set()
    gain = lines_of_search(GATE, SOUND_SEARCH)[0]
    assert "went from 0.500 to 0.600 (95 % interval +0.050 to +0.150 of the difference, 100 pairs)" in gain.sentence


def test_one_that_is_merely_no_worse_is_not_worth_a_switch() -> None:
    same = replace(SOUND_SEARCH, lines=searched(reciprocal_rank=0.5, recall_8=0.9))
    assert refused_searches(same) == {"gain"}
    assert "the chance that it is better is 50 %" in lines_of_search(GATE, same)[0].sentence


def test_one_that_finds_less_is_refused_over_all_and_by_kind() -> None:
    worse = replace(SOUND_SEARCH, lines=searched(reciprocal_rank=0.3, recall_8=0.7))
    assert refused_searches(worse) == {"gain", "reciprocal_rank", "recall_8"}
    kind = replace(search_line("recall_8", 0.9, 0.7), kind="billing")
    assert refused_searches(replace(SOUND_SEARCH, lines=[*searched(), kind])) == {"recall_8"}
    few = replace(kind, pairs=5)
    assert refused_searches(replace(SOUND_SEARCH, lines=[*searched(), few])) == set()


def test_of_an_embedder_too_no_rule_is_met_by_silence() -> None:
    assert refused_searches(SearchFindings()) == {"gain", "reciprocal_rank", "recall_8", "held_out_loss", "size"}
    assert refused_searches(replace(SOUND_SEARCH, must_pass=[])) == {"must_pass"}
    assert refused_searches(replace(SOUND_SEARCH, losses=Losses(0.6, 0.5))) == {"held_out_loss"}
    lost = replace(search_line("recall_8", 1.0, 0.95), lost=1)
    assert refused_searches(replace(SOUND_SEARCH, must_pass=[lost])) == {"must_pass"}


def test_rules_that_cannot_be_used_say_what_is_wrong(tmp_path: Path) -> None:
    text = files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8")
    with pytest.raises(Conflict, match=r"ratios\.latency\.times"):
        read_gate(text.replace("times: 1.3", "times: quick"))
    with pytest.raises(Conflict, match="open_for_friends"):
        read_gate(f"{text}\nopen_for_friends: true\n")
    with pytest.raises(Conflict, match="not YAML"):
        read_gate("shares: [")
    with pytest.raises(Conflict, match=r"gate\.yaml"):
        load_gate(tmp_path / "gate.yaml")


def test_another_file_may_be_named(tmp_path: Path) -> None:
    text = files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("times: 1.3", "times: 9"), "utf-8")
    gate = load_gate(tmp_path / "mine.yaml")
    assert gate.version != GATE.version
    assert judged(with_served(served(latency=2.6)), gate).passed
