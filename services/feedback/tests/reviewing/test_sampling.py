"""Which answers are looked at, and how far those who look agree: without a store."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from headrace_feedback.reviewing.agreement import agreement_on
from headrace_feedback.reviewing.criteria import Criterion
from headrace_feedback.reviewing.rubric_files import built_in
from headrace_feedback.reviewing.sampling import (
    KNOWN_WORDS,
    Reason,
    Rule,
    Sampling,
    Vocabulary,
    is_discontent,
    lot,
    reasons_of,
)
from headrace_feedback.reviewing.vocabulary import hashed, words_of
from headrace_runtime.errors import Rejected

from services.feedback.tests.makers import a_feedback, an_interaction

QUERIES = [UUID(int=number) for number in range(4_000)]


def test_a_rule_takes_its_share_and_the_same_queries_each_time() -> None:
    rule = Rule(Reason.RANDOM, share=0.1)
    taken = [query for query in QUERIES if rule.takes(query, "other")]
    assert 330 < len(taken) < 470, "400 expected; 70 are 3.7 standard deviations"
    assert taken == [query for query in QUERIES if rule.takes(query, "how-to")]
    larger = replace(rule, share=0.2)
    assert all(larger.takes(query, "other") for query in taken), "a larger share keeps what the smaller had"


def test_reasons_draw_their_own_lots() -> None:
    assert lot(QUERIES[1], Reason.RANDOM) != lot(QUERIES[1], Reason.THUMB_DOWN)
    assert all(0 <= lot(query, Reason.RANDOM) < 1 for query in QUERIES)


def test_a_rule_for_a_kind_leaves_the_others_alone() -> None:
    rule = Rule(Reason.RANDOM, share=1, kind="how-to")
    assert rule.takes(QUERIES[0], "how-to")
    assert not rule.takes(QUERIES[0], "other")


def test_only_what_fits_is_due() -> None:
    rules = tuple(Rule(reason, share=1) for reason in (Reason.RANDOM, Reason.LOW_GROUNDEDNESS, Reason.NEW_VOCABULARY))
    sampling = Sampling(rules)
    grounded = reasons_of(an_interaction("demo"), Vocabulary(KNOWN_WORDS, 0))
    assert [rule.reason for rule in sampling.due(QUERIES[0], "other", grounded)] == [Reason.RANDOM]
    extracted = an_interaction("demo", grounding="GROUNDING_EXTRACTED")
    reasons = reasons_of(extracted, Vocabulary(KNOWN_WORDS, 1))
    assert [rule.reason for rule in sampling.due(QUERIES[0], "other", reasons)] == [rule.reason for rule in rules]


def test_a_new_word_says_nothing_while_few_are_known() -> None:
    assert not Vocabulary(KNOWN_WORDS - 1, 7).is_new
    assert Vocabulary(KNOWN_WORDS, 1).is_new


def test_a_score_below_its_bound_is_due_for_its_own_evaluator() -> None:
    sampling = Sampling((Rule(Reason.LOW_SCORE, share=1, evaluator="groundedness", below=0.5),))
    assert sampling.due_for_score(QUERIES[0], "other", evaluator="groundedness", value=0.49)
    assert not sampling.due_for_score(QUERIES[0], "other", evaluator="groundedness", value=0.5)
    assert not sampling.due_for_score(QUERIES[0], "other", evaluator="relevance", value=0.1)


@pytest.mark.parametrize(
    ("judgement", "expected"),
    [
        ({"thumb": "THUMB_DOWN"}, True),
        ({"thumb": "THUMB_UP"}, False),
        ({"rating": 2}, True),
        ({"rating": 3}, False),
        ({"citation": {"number": 1, "thumb": "THUMB_DOWN"}}, True),
        ({"act": "ACT_ASKED_AGAIN"}, True),
        ({"act": "ACT_COPIED"}, False),
        ({"comment": "Hm."}, False),
    ],
)
def test_what_counts_as_discontent(judgement: dict[str, object], expected: bool) -> None:
    assert is_discontent(a_feedback("demo", queryId=str(QUERIES[1]), **judgement)) is expected


def test_words_are_known_again_and_cannot_be_read() -> None:
    words = words_of("How do I prune the Quercus-robur in café 7b?")
    assert words == {"how", "do", "prune", "the", "quercus-robur", "in", "café"}
    mine, again, others = hashed(words, b"a" * 32), hashed(words, b"a" * 32), hashed(words, b"b" * 32)
    assert mine == again
    assert mine.isdisjoint(others), "another tenant's key gives other hashes"
    assert all(len(word) == 16 for word in mine)


CORRECT = Criterion("correct", "?")
HELPFUL = Criterion("helpful", "?", ("useless", "partly", "helpful"), ordered=True)


def answers(*labels: tuple[str, ...], criterion: str = "correct") -> list[dict[str, dict[str, str]]]:
    """Each answer's labels by reviewers a, b, c; an empty word is no label."""
    return [
        {reviewer: {criterion: label} for reviewer, label in zip("abc", each, strict=False) if label} for each in labels
    ]


def test_two_reviewers_who_always_agree_have_a_kappa_of_1_and_doubt_where_they_are_few() -> None:
    few = agreement_on(CORRECT, answers(*[("pass", "pass"), ("fail", "fail")] * 8))
    many = agreement_on(CORRECT, answers(*[("pass", "pass"), ("fail", "fail")] * 80))
    assert (few.method, few.coefficient, few.answers, few.raw) == ("cohen_kappa", 1.0, 16, 1.0)
    assert few.low < many.low < 1


def test_two_reviewers_who_agree_by_chance_alone_have_none() -> None:
    by_chance = [("pass", "pass"), ("pass", "fail"), ("fail", "pass"), ("fail", "fail")] * 20
    found = agreement_on(CORRECT, answers(*by_chance))
    assert found.coefficient == pytest.approx(0)
    assert found.raw == 0.5
    assert found.low < 0 < found.high


def test_one_label_alone_proves_nothing() -> None:
    assert not agreement_on(CORRECT, answers(*[("pass", "pass")] * 30)).defined
    assert not agreement_on(CORRECT, answers(("pass", ""), ("fail", ""))).defined


def test_a_near_miss_counts_half_where_labels_have_an_order() -> None:
    near = [("useless", "partly"), ("partly", "helpful"), ("helpful", "helpful"), ("useless", "useless")] * 10
    far = [("useless", "helpful"), ("helpful", "useless"), ("helpful", "helpful"), ("useless", "useless")] * 10
    nearer = agreement_on(HELPFUL, answers(*near, criterion="helpful"))
    assert nearer.method == "weighted_kappa"
    assert nearer.coefficient > agreement_on(HELPFUL, answers(*far, criterion="helpful")).coefficient


def test_three_reviewers_are_measured_by_alpha() -> None:
    found = agreement_on(CORRECT, answers(*[("pass", "pass", "pass"), ("fail", "fail", ""), ("", "fail", "fail")] * 10))
    assert (found.method, found.coefficient) == ("krippendorff_alpha", 1.0)


def test_labels_are_held_against_the_rubric() -> None:
    rubric = built_in()[0]
    rubric.check_labels({"correct": "pass", "supported": "fail", "helpful": "partly"})
    with pytest.raises(Rejected, match=r"labels\.helpful"):
        rubric.check_labels({"correct": "pass", "supported": "fail", "helpful": "pass"})
    with pytest.raises(Rejected, match="labels"):
        rubric.check_labels({"correct": "pass", "supported": "fail", "helpful": "partly", "style": "pass"})
