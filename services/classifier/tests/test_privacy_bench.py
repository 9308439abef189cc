"""The bench's texts: the same every time, labelled exactly, and nothing shared between tuning and hold-out."""

from __future__ import annotations

from bench.privacy import holdout, tuning
from bench.privacy.finders import Found
from bench.privacy.labelled import Label, Sample, digest
from bench.privacy.scoring import score

SMALL = holdout.make(640)


def _values(samples: list[Sample], kind: str) -> set[str]:
    return {value for sample in samples for found, value in sample.values() if found == kind}


def test_the_hold_out_is_the_frozen_one() -> None:
    assert digest(holdout.make()) == holdout.SHA256
    assert holdout.COUNT >= 5_000


def test_a_seed_makes_the_same_texts_again() -> None:
    assert digest(holdout.make(160)) == digest(SMALL[:160])
    assert digest(tuning.make(50, 3)) == digest(tuning.make(50, 3)) != digest(tuning.make(50, 4))


def test_labels_are_exact_places() -> None:
    for sample in [*SMALL, *tuning.make(200, 3)]:
        for label in sample.labels:
            value = sample.text[label.start : label.end]
            assert value
            assert value == value.strip()


def test_at_least_half_hold_nothing() -> None:
    assert sum(not sample.labels and sample.carrier != "code" for sample in SMALL) * 2 >= len(SMALL)


def test_tuning_and_hold_out_share_no_template_name_or_locale() -> None:
    assert not set(tuning.templates()) & set(holdout.templates())
    assert not set(tuning.LOCALES) & set(holdout.LOCALES)
    names = {part for name in _values(SMALL, "person") for part in name.split()}
    assert not names & {*tuning.FIRST, *tuning.LAST}
    assert not {*tuning.PRODUCTS, *tuning.CITIES} & {*holdout.PRODUCTS, *holdout.CITIES}


def test_scoring_counts_characters() -> None:
    sample = Sample("mail anna@acme.de", (Label(5, 17, "email"),), "chat")
    half = Found(((5, 11, "email"), (0, 4, "phone")), code=False, strict=True)
    counted = score([sample, Sample("nothing", (), "chat")], [half, half])
    assert counted.kinds["email"].recall() == 0.5
    assert counted.kinds["phone"].precision() == 0.0
    assert (counted.missed, counted.alarms) == (0, 1)
