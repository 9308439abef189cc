"""The generator that detection is tuned on: our own lists of American and German names, and templates of its own.

The hold-out shares none of its names, templates and locales; a test holds them apart.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

from bench.privacy.labelled import Make, Sample, fill, in_json, in_line, in_sql, luhn_digit, pick, slots, some

LOCALES = ("en_US", "de_DE")
FIRST = (
    "Brandon Courtney Dustin Tiffany Kaitlyn Tyrone Latoya Cody Brittany Darnell Jürgen Heike Uwe Gudrun Detlef Sieglinde Torsten Anke"
    " Holger Renate Xochitl Quinlan Thibodeaux Zebulon"
).split()
LAST = (
    "Kowalczyk-Reed Hendrickson Abernathy McAllister Washington Castellanos Fitzsimmons Vanderpool Schönhauser Kirchgessner Obermeier Wiesenhütter"
    " Brandstätter Löwenthal Quastenberg Ziegenfuß Huckleby Stallworth"
).split()
STREETS_US = ("Maple Street", "Old Mill Road", "Jefferson Avenue", "Sycamore Lane", "Birchwood Drive")
STREETS_DE = ("Lindenstraße", "Am Mühlbach", "Goetheallee", "Bahnhofsweg", "Kastaniengasse")
TOWNS_US = ("Tucson, AZ 85701", "Boise, ID 83702", "Omaha, NE 68102")
TOWNS_DE = ("34117 Kassel", "52062 Aachen", "18055 Rostock")

PERSONAL = {
    "chat": (
        "hey, quick one: <person> never got the parcel, what now?",
        "user: can you look up <person>? thx\nbot: one moment",
        "I spoke to <person> about the renewal and they were not amused.",
        "reach me at <email> or <phone>",
        "the parcel should go to <address> instead",
        "please charge <card> again",
        "wire it to <iban> by friday",
        "requests come from <ip> all night long",
        "her ssn is <national>, is that enough to find the file?",
    ),
    "email": (
        "From: <person> <<email>>\nSubject: late again\n\nMy parcel is late again. Please call <phone>.\n\nKind regards,\n<person>\n<address>",
        "Good morning,\n\nthe refund belongs on <iban>, not on the card <card>.\n\nThanks\n<person>",
    ),
    "log": (
        "2025-03-04T10:11:12Z WARN mailer: bounce rcpt=<email> relay=<ip>",
        '[api] 10:11:12 customer="<person>" phone=<phone> action=upgrade',
    ),
    "json": ('{"order": 4711, "recipient": "<person>", "ship_to": "<address>", "mail": "<email>", "iban": "<iban>"}',),
    "sql": ("UPDATE clients SET phone = '<phone>', street = '<address>' WHERE full_name = '<person>';",),
    "trace": (
        'Traceback (most recent call last):\n  File "/srv/app/mail.py", line 88, in send\nValueError: no route to <email>',
    ),
}
NEGATIVE = {
    "chat": (
        "does <product> work with <version>?",
        "build <sha> is green, request <uuid> is not",
        "we open in <city> next spring",
        "write to <docmail>, as the readme says; the host is <docip>",
        "order <order> has not shipped",
    ),
    "email": ("Dear team,\n\n<product> in <city> will be down on Tuesday. Build <sha>.\n\nThanks,\nThe Platform Team",),
    "log": ("2025-03-04T10:11:12Z INFO deploy <product> <version> commit=<sha> trace=<uuid> peer=<docip>",),
    "json": ('{"id": "<uuid>", "name": "<product>", "version": "<version>", "region": "<city>", "sku": "<order>"}',),
    "sql": ("SELECT id FROM products WHERE name = '<product>' AND ref = '<order>' AND etag = '<sha>';",),
    "trace": (
        "java.lang.IllegalStateException: <uuid>\n\tat com.acme.Pay.run(Pay.java:31)\n\tat com.acme.Main.main(Main.java:7)",
    ),
}
PRODUCTS = (
    "Crystal Reports",
    "Silver Creek Router",
    "Turbo Widget Deluxe",
    "Norton Commander",
    "Quick Silver Gateway",
    "Jupyter Notebook",
)
CITIES = ("Baton Rouge", "Bad Homburg", "Salt Lake City", "Villingen Schwenningen", "Santa Fe")
ENCODE = {"json": in_json, "sql": in_sql, "log": in_line, "chat": in_line}


def make(count: int, seed: int) -> list[Sample]:
    """Makes texts, every other one with nothing to find."""
    rng = random.Random(seed)
    return [_sample(rng, NEGATIVE if number % 2 else PERSONAL) for number in range(count)]


def templates() -> Iterator[str]:
    """Every template."""
    for carriers in (PERSONAL, NEGATIVE):
        for group in carriers.values():
            yield from group


def _sample(rng: random.Random, carriers: dict[str, tuple[str, ...]]) -> Sample:
    carrier = pick(rng, sorted(carriers))
    template = pick(rng, carriers[carrier])
    personal = carriers is PERSONAL
    values = {slot: (slot if personal else "", VALUES[slot](rng)) for slot in slots(template)}
    text, labels = fill(template, values, encode=ENCODE.get(carrier, str))
    return Sample(text, labels, carrier)


def _person(rng: random.Random) -> str:
    middle = pick(rng, ("", "", f" {pick(rng, string.ascii_uppercase)}."))
    return f"{pick(rng, FIRST)}{middle} {pick(rng, LAST)}"


def _address(rng: random.Random) -> str:
    number = rng.randint(1, 240)
    if rng.random() < 0.5:
        return f"{number} {pick(rng, STREETS_US)}, {pick(rng, TOWNS_US)}"
    return f"{pick(rng, STREETS_DE)} {number}\n{pick(rng, TOWNS_DE)}"


def _email(rng: random.Random) -> str:
    return f"{pick(rng, FIRST).lower()}{rng.randint(1, 99)}@{pick(rng, ('hillside-dental', 'stadtwerke-nord', 'quarry'))}.{pick(rng, ('com', 'de'))}".replace(
        "ü", "ue"
    )


def _phone(rng: random.Random) -> str:
    d = some(rng, string.digits, 8)
    return pick(
        rng, (f"(602) 5{d[:2]}-{d[2:6]}", f"+1 415 5{d[:2]} {d[2:6]}", f"+49 561 {d[:6]}", f"0561 {d[:6]}", f"0151-{d}")
    )


def _card(rng: random.Random) -> str:
    body = "4" + some(rng, string.digits, 14)
    return body + luhn_digit(body)


def _iban(rng: random.Random) -> str:
    body = some(rng, string.digits, 18)
    return f"DE{98 - int(body + '131400') % 97:02d}{body}"


def _national(rng: random.Random) -> str:
    return f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"


def _order(rng: random.Random) -> str:
    body = "4" + some(rng, string.digits, 14)
    return body + str((int(luhn_digit(body)) + 3) % 10)


VALUES: dict[str, Make] = {
    "person": _person,
    "address": _address,
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "ip": lambda rng: f"77.{rng.randint(1, 254)}.{rng.randint(1, 254)}.{rng.randint(1, 254)}",
    "national": _national,
    "product": lambda rng: pick(rng, PRODUCTS),
    "city": lambda rng: pick(rng, CITIES),
    "version": lambda rng: f"{rng.randint(1, 20)}.{rng.randint(0, 20)}.{rng.randint(0, 99)}",
    "sha": lambda rng: some(rng, "0123456789abcdef", 40),
    "uuid": lambda rng: "-".join(some(rng, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)),
    "docmail": lambda rng: f"{pick(rng, ('admin', 'joe.bloggs'))}@example.{pick(rng, ('com', 'org'))}",
    "docip": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "order": _order,
}
