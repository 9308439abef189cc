"""The generator that detection is tuned on: its own templates, and names and numbers of countries that the hold-out has not.

Faker's locales whose language or country the hold-out uses are left out, and so is every single name of theirs; the same
holds for telephone numbers, by country. So nobody has to look at what the hold-out has. A test holds the two apart.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator, Sequence
from functools import cache, partial

import phonenumbers
from faker import Faker
from faker.config import AVAILABLE_LOCALES
from phonenumbers.phonemetadata import PhoneMetadata

from bench.privacy import holdout
from bench.privacy.labelled import Make, Sample, fill, in_json, in_line, in_sql, luhn_digit, pick, slots, some
from bench.privacy.tuning_words import CITIES as ALL_CITIES
from bench.privacy.tuning_words import COMPANIES, FIRST, LAST, STREETS_DE, STREETS_US, TOWNS_DE, TOWNS_US
from bench.privacy.tuning_words import PRODUCTS as ALL_PRODUCTS

_HELD_LANGUAGES = {locale.split("_")[0] for locale in holdout.LOCALES}
_HELD_COUNTRIES = {locale.split("_")[-1].upper() for locale in holdout.LOCALES}

#: The two whose names are our own lists, and Faker's that share neither language nor country with the hold-out's.
LOCALES = (
    "en_US",
    "de_DE",
    *sorted(
        locale
        for locale in AVAILABLE_LOCALES
        if locale.split("_")[0] not in _HELD_LANGUAGES and locale.split("_")[-1].upper() not in _HELD_COUNTRIES
    ),
)
PRODUCTS = tuple(sorted({*ALL_PRODUCTS} - {*holdout.PRODUCTS}))
CITIES = tuple(sorted({*ALL_CITIES} - {*holdout.CITIES}))

PERSONAL = {
    "chat": (
        "hey, quick one: <person> never got the parcel, what now?",
        "user: can you look up <person>? thx\nbot: one moment",
        "I spoke to <person> about the renewal and they were not amused.",
        "<person> says the invoice is wrong again",
        "the contract is with <person>, not with us",
        "pls add <person> to the call on thursday",
        "is <person> still working for you? nobody answers",
        "we already refunded <person> last week",
        "according to <person> the delivery was late",
        "can somebody tell me where <person> sits?",
        "the apartment belongs to <person> since march",
        "ticket opened by <person>, assigned to nobody",
        "<person> and <person2> share one account",
        "met <person> at the fair yesterday, very interested",
        "Please forward this to <person>.",
        "reach me at <email> or <phone>",
        "you can get hold of her on <phone> after six",
        "<phone> is the number on file, does it still work?",
        "text <phone> when the driver is near",
        "old: <phone>, new: <phone2>",
        "new number, please note: <phone>",
        "he left <phone> on the answering machine",
        "the parcel should go to <address> instead",
        "please charge <card> again",
        "the customer read out <card>, I stopped her",
        "my visa <card> was declined twice",
        "wire it to <iban> by friday",
        "requests come from <ip> all night long",
        "her ssn is <national>, is that enough to find the file?",
        "the passport office wants the national id, it is <national>",
        "<national> is my personal number, please check the file",
        "Mr. <last> wants his money back",
        "who is Ms <last>, and why does she call every day?",
    ),
    "email": (
        "From: <person> <<email>>\nSubject: late again\n\nMy parcel is late again. Please call <phone>.\n\nKind regards,\n<person>\n<address>",
        "Good morning,\n\nthe refund belongs on <iban>, not on the card <card>.\n\nThanks\n<person>",
        "To: <email>\nSubject: your appointment\n\nDear <first>,\n\nwe meet on Tuesday. Phone: <phone>\n\nBest\n<person>",
        "Hi <first>,\n\nthe keys are with <person>.\n\nSee you\n<first2>",
        "Hello,\n\nplease change my address to <address>.\n\nYours sincerely\n<person>",
        "Attn: <person>\n\nThe documents arrived. The tax ID is <national>.",
    ),
    "log": (
        "2025-03-04T10:11:12Z WARN mailer: bounce rcpt=<email> relay=<ip>",
        '[api] 10:11:12 customer="<person>" phone=<phone> action=upgrade',
        'INFO crm contact created name="<person>" owner=system',
        "10:11:12.345 DEBUG sms to <phone> accepted",
        "audit: document signed by <person> at 10:11",
        "WARN kyc: applicant <person> national_id=<national> rejected",
        "payment declined pan=<card> amount=12.30",
    ),
    "json": (
        '{"order": 4711, "recipient": "<person>", "ship_to": "<address>", "mail": "<email>", "iban": "<iban>"}',
        '{"first_name": "<first>", "last_name": "<last>", "mobile": "<phone>"}',
        '{"contact": {"name": "<person>", "tel": "<phone>"}, "active": true}',
        '{"patient": "<person>", "insurance_number": "<national>"}',
        '{"event": "call", "callee": "<phone>", "seconds": 31}',
        '{"card": {"number": "<card>", "exp": "11/29"}}',
    ),
    "sql": (
        "UPDATE clients SET phone = '<phone>', street = '<address>' WHERE full_name = '<person>';",
        "INSERT INTO leads (name, phone) VALUES ('<person>', '<phone>');",
        "SELECT * FROM patients WHERE name = '<person>';",
    ),
    "trace": (
        'Traceback (most recent call last):\n  File "/srv/app/mail.py", line 88, in send\nValueError: no route to <email>',
        "Traceback (most recent call last):\n  File \"/srv/app/crm.py\", line 8, in load\nKeyError: '<person>'",
        "java.lang.IllegalArgumentException: invalid phone <phone>\n\tat com.acme.Sms.send(Sms.java:31)",
    ),
}
NEGATIVE = {
    "chat": (
        "does <product> work with <version>?",
        "build <sha> is green, request <uuid> is not",
        "we open in <city> next spring",
        "write to <docmail>, as the readme says; the host is <docip>",
        "order <order> has not shipped",
        "how do I configure <product> on our servers?",
        "<product> crashes after the update to <version>",
        "is <product> cheaper than <product2>?",
        "the flight from <city> to <city2> takes two hours",
        "I told them to buy <product>, they took <product2>",
        "my <product> arrived broken, what are my options?",
        "have you tried <product>? it is great",
        "our office in <city> is closed on Monday",
        "the team in <city> asked about <product>",
        "she moved from <city> to <city2> last year",
        "<city> was lovely, the weather in <city2> was not",
        "call the endpoint again after <amount> requests",
        "the table has <amount> rows and <amount2> bytes",
        "invoice <invoice> over <amount> euros is open",
        "part <sku> fits <product>",
        "the meeting is on <date> at <time>, room <number>",
        "ISBN <isbn> is out of print",
        "tracking number <tracking>, no update since <date>",
        "what is the difference between <tech> and <tech2>?",
        "Thanks! <tech> is working now.",
        "I am using <tech> with <tech2>, any idea why it fails?",
        "the service is called <product> and runs in <city>",
        "this is <product>, version <version>",
        "contact <company> Support for a new licence",
        "we bought it from <company> in <city>",
        "the sequence <digits> is not a prime",
    ),
    "email": (
        "Dear team,\n\n<product> in <city> will be down on Tuesday. Build <sha>.\n\nThanks,\nThe Platform Team",
        "Hello all,\n\ninvoice <invoice> for <product> is attached.\n\nKind regards,\n<company> Billing",
        "Dear Customer,\n\nyour order <order> with <product> ships from <city>.\n\nBest regards,\nYour <company> Team",
        "Subject: release notes\n\n<product> <version> is out. It needs <tech>.\n\n-- \nThe <tech> maintainers",
        "Hi everyone,\n\nthe workshop on <tech> takes place in <city> on <date>.\n\nBest,\nEvents Team",
    ),
    "log": (
        "2025-03-04T10:11:12Z INFO deploy <product> <version> commit=<sha> trace=<uuid> peer=<docip>",
        "INFO shipping from=<city> to=<city2> order=<order> parcels=3",
        "WARN cache: key=<digits> size=<amount> host=127.0.0.1",
        'level=info msg="starting <product>" version=<version> pid=4711',
        "ERROR job <uuid> failed after <time> in <city>",
        "DEBUG request id=<digits> took 12 ms, service=<product>",
        "[<date> <time>] user_id=<number> role=admin action=login",
    ),
    "json": (
        '{"id": "<uuid>", "name": "<product>", "version": "<version>", "region": "<city>", "sku": "<order>"}',
        '{"from": "<city>", "to": "<city2>", "carrier": "<company>", "tracking": "<tracking>"}',
        '{"title": "<product>", "vendor": "<company>", "isbn": "<isbn>", "price": <amount3>}',
        '{"service": "<tech>", "owner": "platform", "count": <digits>, "etag": "<sha>"}',
        '{"product": "<product>", "category": "<tech>", "stock": <number>}',
    ),
    "sql": (
        "SELECT id FROM products WHERE name = '<product>' AND ref = '<order>' AND etag = '<sha>';",
        "INSERT INTO offices (city, opened) VALUES ('<city>', '<date>');",
        "UPDATE items SET title = '<product>' WHERE sku = '<sku>';",
    ),
    "trace": (
        "java.lang.IllegalStateException: <uuid>\n\tat com.acme.Pay.run(Pay.java:31)\n\tat com.acme.Main.main(Main.java:7)",
        'Traceback (most recent call last):\n  File "/srv/<tech>/run.py", line 12, in main\nRuntimeError: <product> not found',
    ),
}
TECH = (
    "Kubernetes Helm Terraform Ansible Redis Kafka Flink Airflow Superset Metabase Prometheus Grafana Vault Consul Envoy Traefik Rancher Openshift"
    " Pandas Polars Numpy Fastapi Starlette Pydantic Sqlalchemy Alembic Celery Rabbitmq Memcached Varnish Haproxy Caddy Gunicorn Uvicorn Poetry"
    " Webpack Vite Svelte Nuxt Tailwind Bootstrap Storybook Cypress Playwright Selenium Jasmine Mocha Chai Karma Pandoc Sphinx Hugo Jekyll"
).split()
ENCODE = {"json": in_json, "sql": in_sql, "log": in_line, "chat": in_line}


def make(count: int, seed: int, *, part: str = "tune") -> list[Sample]:
    """Makes texts, every other one with nothing to find. `part`: whose names, "tune" or "learn" (see names_of)."""
    rng = random.Random(seed)
    values = {**VALUES, **{slot: partial(one, part=part) for slot, one in _NAMED.items()}}
    return [_sample(rng, NEGATIVE if number % 2 else PERSONAL, values) for number in range(count)]


def templates() -> Iterator[str]:
    """Every template."""
    for carriers in (PERSONAL, NEGATIVE):
        for group in carriers.values():
            yield from group


def _sample(rng: random.Random, carriers: dict[str, tuple[str, ...]], makes: dict[str, Make]) -> Sample:
    carrier = pick(rng, sorted(carriers))
    template = pick(rng, carriers[carrier])
    personal = carriers is PERSONAL
    values = {}
    for slot in slots(template):
        kind = slot.rstrip("23")
        label = {"first": "person", "last": "person"}.get(kind, kind)
        values[slot] = (label if personal else "", makes[kind](rng))
    text, labels = fill(template, values, encode=ENCODE.get(carrier, str))
    return Sample(text, labels, carrier)


# -- names -----------------------------------------------------------------------------------------------------------

_LATIN = re.compile(r"[A-ZÀ-ÖØ-ÞĀ-Ž][a-zß-öø-ÿā-žșțğı'’-]{2,20}(?:[ '-][A-ZÀ-ÖØ-ÞĀ-Ž][a-zß-öø-ÿā-ž]+)?")


@cache
def _listed(locales: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Faker's given and family names of these locales in Latin letters."""
    first: set[str] = set()
    last: set[str] = set()
    for locale in locales:
        for provider in Faker(locale).get_providers():
            for attribute, names in (("first_names", first), ("last_names", last)):
                names.update(n for n in getattr(provider, attribute, ()) if isinstance(n, str))
    return frozenset(filter(_LATIN.fullmatch, first)), frozenset(filter(_LATIN.fullmatch, last))


@cache
def names_of(part: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Given and family names of the locales; half of them "learn" what names look like, the others "tune"."""
    held = {word for names in _listed(tuple(holdout.LOCALES)) for name in names for word in name.split()}
    first, last = _listed(LOCALES[2:])
    half = 0 if part == "learn" else 1
    return tuple(
        tuple(name for name in sorted(names) if not {*name.split()} & held and sum(name.encode()) % 2 == half)
        for names in (first, last)
    )  # type: ignore[return-value]


def _first(rng: random.Random, part: str = "tune") -> str:
    return pick(rng, FIRST if rng.random() < 0.1 else names_of(part)[0])


def _last(rng: random.Random, part: str = "tune") -> str:
    return pick(rng, LAST if rng.random() < 0.1 else names_of(part)[1])


def _person(rng: random.Random, part: str = "tune") -> str:
    middle = pick(rng, ("", "", "", f" {pick(rng, string.ascii_uppercase)}."))
    return f"{_first(rng, part)}{middle} {_last(rng, part)}"


_NAMED = {"person": _person, "first": _first, "last": _last}


# -- numbers and addresses -------------------------------------------------------------------------------------------


def _address(rng: random.Random) -> str:
    number = rng.randint(1, 240)
    if rng.random() < 0.5:
        return f"{number} {pick(rng, STREETS_US)}, {pick(rng, TOWNS_US)}"
    return f"{pick(rng, STREETS_DE)} {number}\n{pick(rng, TOWNS_DE)}"


def _email(rng: random.Random) -> str:
    return f"{pick(rng, FIRST).lower()}{rng.randint(1, 99)}@{pick(rng, ('hillside-dental', 'stadtwerke-nord', 'quarry'))}.{pick(rng, ('com', 'de'))}".replace(
        "ü", "ue"
    )


@cache
def _regions() -> tuple[str, ...]:
    return tuple(sorted(phonenumbers.SUPPORTED_REGIONS - _HELD_COUNTRIES))


def _phone(rng: random.Random) -> str:
    """A number in service somewhere, as people write it: for abroad, or for home with its trunk prefix."""
    while True:
        region = pick(rng, _regions())
        plan = PhoneMetadata.metadata_for_region(region)
        example = pick(
            rng, [kind for kind in (plan.mobile, plan.fixed_line) if kind and kind.example_number]
        ).example_number
        number = phonenumbers.parse(example[:-4] + some(rng, string.digits, 4), region)
        if len(example) >= 8 and phonenumbers.is_valid_number(number):
            return _written(rng, number)


def _written(rng: random.Random, number: phonenumbers.PhoneNumber) -> str:
    formats = phonenumbers.PhoneNumberFormat
    way = rng.random()
    if way < 0.4:
        text = phonenumbers.format_number(number, formats.INTERNATIONAL)
        return pick(
            rng, (text, text.replace(" ", "-"), text.replace(" ", ""), text.replace("+", "00"), text.replace(" ", "."))
        )
    text = phonenumbers.format_number(number, formats.NATIONAL)
    if text.isdigit():
        return phonenumbers.format_number(number, formats.INTERNATIONAL)
    return pick(rng, (text, text, text.replace(" ", "-"), text.replace(" ", "."), text.replace("-", " ")))


#: Issuers' leading digits, and how many digits and groups there are.
_CARDS = (
    ("4", 16), ("4", 13), ("4", 19), ("51", 16), ("55", 16), ("2300", 16), ("2720", 16), ("34", 15), ("37", 15), ("300", 14),
    ("305", 14), ("36", 14), ("38", 14), ("39", 16), ("6011", 16), ("6011", 19), ("644", 16), ("65", 16), ("3528", 16),
    ("3589", 19), ("2131", 15), ("1800", 15), ("62", 16), ("62", 19), ("5018", 12), ("5020", 13), ("5038", 16), ("5893", 18),
    ("6304", 19), ("6759", 16), ("6761", 17), ("6763", 16), ("6334", 18), ("2204", 16), ("5610", 16), ("9792", 16), ("60", 16),
)  # fmt: skip


def _card(rng: random.Random) -> str:
    prefix, length = pick(rng, _CARDS)
    body = prefix + some(rng, string.digits, length - len(prefix) - 1)
    digits = body + luhn_digit(body)
    gap = pick(rng, ("", "", " ", "-"))
    if length in {14, 15} and gap:
        return gap.join((digits[:4], digits[4:10], digits[10:]))
    return gap.join(digits[place : place + 4] for place in range(0, length, 4))


def _iban(rng: random.Random) -> str:
    body = some(rng, string.digits, 18)
    return f"DE{98 - int(body + '131400') % 97:02d}{body}"


@cache
def _fakers() -> tuple[Faker, ...]:
    return tuple(Faker(locale) for locale in LOCALES[2:])


def _national(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"
    fake = pick(rng, _fakers())
    fake.seed_instance(rng.randrange(1 << 32))
    number = str(fake.ssn())
    return number if number.isascii() and len(number) >= 7 else _national(rng)


def _order(rng: random.Random) -> str:
    body = "4" + some(rng, string.digits, 14)
    return body + str((int(luhn_digit(body)) + 3) % 10)


def _amount(rng: random.Random) -> str:
    number = rng.randint(1_000, 99_999_999)
    return f"{number:,}".replace(",", pick(rng, (",", " ", ".", "", "\u00a0")))


def _sku(rng: random.Random) -> str:
    d = partial(some, rng, string.digits)
    return pick(
        rng, (f"{d(2)}-{d(3)}-{d(2)}", f"SKU-{d(6)}", f"{d(3)}.{d(3)}.{d(2)}", f"AX{d(4)}-{d(2)}", f"{d(4)}-{d(4)}")
    )


def _invoice(rng: random.Random) -> str:
    d = partial(some, rng, string.digits)
    return pick(rng, (f"2025-{d(6)}", f"R{d(8)}", f"2025/{d(4)}", f"INV-{d(4)}-{d(4)}", d(10)))


def _isbn(rng: random.Random) -> str:
    d = partial(some, rng, string.digits)
    return pick(rng, (f"978-3-{d(4)}-{d(4)}-{d(1)}", f"0-{d(3)}-{d(5)}-{d(1)}", "978" + d(10)))


def _tracking(rng: random.Random) -> str:
    d = partial(some, rng, string.digits)
    return pick(rng, (f"1Z{d(16)}", f"JD{d(18)}", f"{d(4)} {d(4)} {d(4)}", d(12), f"RR{d(9)}DE"))


def _date(rng: random.Random) -> str:
    year, month, day = rng.randint(2019, 2027), rng.randint(1, 12), rng.randint(1, 28)
    return pick(
        rng,
        (
            f"{year}-{month:02d}-{day:02d}",
            f"{day:02d}.{month:02d}.{year}",
            f"{month}/{day}/{year}",
            f"{day} {month} {year}",
        ),
    )


VALUES: dict[str, Make] = {
    **_NAMED,
    "address": _address,
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": lambda rng: f"77.{rng.randint(1, 254)}.{rng.randint(1, 254)}.{rng.randint(1, 254)}",
    "national": _national,
    "product": lambda rng: pick(rng, PRODUCTS),
    "city": lambda rng: pick(rng, CITIES),
    "company": lambda rng: pick(rng, COMPANIES),
    "tech": lambda rng: pick(rng, TECH),
    "version": lambda rng: f"{rng.randint(1, 20)}.{rng.randint(0, 20)}.{rng.randint(0, 99)}",
    "sha": lambda rng: some(rng, "0123456789abcdef", 40),
    "uuid": lambda rng: "-".join(some(rng, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)),
    "docmail": lambda rng: f"{pick(rng, ('admin', 'joe.bloggs'))}@example.{pick(rng, ('com', 'org'))}",
    "docip": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "order": _order,
    "amount": _amount,
    "number": lambda rng: str(rng.randint(1, 9_999)),
    "digits": lambda rng: some(rng, string.digits[1:], rng.randint(7, 13)),
    "sku": _sku,
    "invoice": _invoice,
    "isbn": _isbn,
    "tracking": _tracking,
    "date": _date,
    "time": lambda rng: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
}
