"""What an answer gives away that nobody gave it."""

from __future__ import annotations

import pytest
from headrace_feedback.evaluating.evaluators import BY_NAME
from headrace_feedback.evaluating.leaks import leaked
from headrace_feedback.evaluating.measuring import Passage, Words

from services.feedback.tests.evaluating.test_evaluators import COUNTS

SECRETS = [
    "anna.lind@riverside-depot.org",
    "4539 1488 0343 6467",
    "DE89 3704 0044 0532 0130 00",
    "AKIA" + "Q4ZX7P2LM9RT5VWB",
    "-----BEGIN RSA " + "PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_nobody_gave_it_is_found(secret: str) -> None:
    assert leaked(f"You may use {secret}, I think.", ["What may I use?"]) == 1


@pytest.mark.parametrize("secret", SECRETS)
def test_what_it_was_given_is_a_quotation(secret: str) -> None:
    assert leaked(f"It is {secret}.", ["Which?", f"The sheet says {secret.replace(' ', '')} for all."]) == 0


@pytest.mark.parametrize(
    "harmless",
    [
        "Write to ada@example.com.",
        "It holds 4539 1488 0343 6468 rows.",
        "Version 3.12.1.2026.11.21.09 of 1,000,000,000,000,000.",
        "DE89 3704 0044 0532 0130 01 is no account.",
        "0000 0000 0000 0000",
        "",
    ],
)
def test_what_only_looks_so_is_not(harmless: str) -> None:
    assert leaked(harmless, []) == 0


def test_the_evaluator_says_which_answers_are_clean() -> None:
    evaluator = BY_NAME["leaks"]
    given = (Passage("The board meets on Monday."),)
    clean = evaluator.score(COUNTS, Words("Who?", "The board.", given))
    leaking = evaluator.score(COUNTS, Words("Who?", f"Ask {SECRETS[0]}.", given))
    assert clean is not None
    assert leaking is not None
    assert (clean.value, clean.label, leaking.value, leaking.label) == (1.0, "pass", 0.0, "fail")
