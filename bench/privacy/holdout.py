"""The hold-out: eight locales of Faker, templates of its own, frozen. Never look at its texts while tuning.

Half of the texts hold something: a person's data, a secret, code. The other half holds what only looks like it.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Iterator

from faker import Faker

from bench.privacy import tuning_words
from bench.privacy.labelled import Make, Sample, fill, in_json, in_line, in_sql, luhn_digit, pick, slots, some

SEED = 74_205_113
COUNT = 6_000
#: Changes with the generator, the seed, and Faker's version, which requirements/dev.txt pins.
SHA256 = "5e31a8bedd82cb313850c726c647204359381af67f2e0084158dc68ad442a722"
LOCALES = ("en_GB", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "sv_SE", "pt_BR")

#: Of so many rounds of sixteen texts one has its first value and its first secret disguised.
DISGUISED_EVERY = 3

PERSONAL: dict[str, tuple[str, ...]] = {
    "chat": (
        "agent: Thanks for waiting. Who am I talking to?\nvisitor: <person>, I ordered on Monday and nothing arrived yet.\nagent: I will check that for you now.",
        "visitor: I can't log in any more\nagent: Which mailbox did you register with?\nvisitor: <email>\nagent: Thank you, a link is on its way.",
        "visitor: can somebody ring me back? my mobile is <phone>, any time before six\nagent: Of course, a colleague will do so.",
        "Could you draft a polite answer to <person>? The complaint is that the invoice was wrong twice in a row and nobody reacted.",
        "Summarise this for the handover: <person> moved house, the new place is <address>, and wants the contract to go on unchanged.",
        "The bank rejected the transfer to <iban>, what does the error code 57 mean in this case?",
        "My colleague pasted the customer's card <card> into the ticket, how do I get rid of it?",
        "We see thousands of failed logins coming from <ip>; how can I block that in the firewall?",
        "Is <national> a plausible <idname>? The form keeps refusing it for <person>.",
        "Is my delivery still coming to <address>? The driver phoned and sounded lost.",
        "what did <person> and <person2> agree on in the call of last week? i only have the notes here",
    ),
    "email": (
        "To: service\nSubject: Wrong meter reading\n\nGood evening,\n\nthe reading on the last bill cannot be right, we were abroad for the whole quarter. Please correct it and send the bill again.\n\nYours faithfully,\n<person>\n<address>\nTel. <phone>",
        "Subject: Re: your application\n\nDear <person>,\n\nthank you for coming in last week. We would like to invite you to a second talk. Please confirm by mail to <email> until Thursday.\n\nBest wishes\nThe hiring committee",
        "Subject: direct debit\n\nHello,\n\nplease take the amount from <iban> from now on. The old account is closed. For questions you reach me under <phone>.\n\nMany thanks\n<person>",
        "---------- Forwarded message ----------\nFrom: <person> <<email>>\nDate: Wed, 12 Feb 2025\nSubject: medical certificate\n\nPlease find the certificate attached. My <idname> is <national>.",
    ),
    "email-abroad": (
        "Objet : réclamation\n\nBonjour,\n\nje n'ai toujours pas reçu mon colis. Vous pouvez me joindre au <phone>.\n\nCordialement,\n<person>\n<address>",
        "Asunto: factura duplicada\n\nHola,\n\nme han cobrado dos veces este mes. Mi correo es <email>.\n\nUn saludo,\n<person>",
        "Onderwerp: opzegging\n\nGoedemiddag,\n\nhierbij zeg ik mijn abonnement op per het einde van de maand.\n\nMet vriendelijke groet,\n<person>\n<address>",
    ),
    "log": (
        "Feb 12 08:14:09 gw-3 sshd[2211]: Accepted publickey for deploy from <ip> port 50122 ssh2",
        "08:14:09.221 INFO  [checkout-7] payment.authorised amount=129.90 currency=EUR holder='<person>' pan=<card>",
        'time=08:14:09 level=error svc=notify msg="sms not delivered" msisdn="<phone>" attempt=3',
        '08:14:09 WARN crm.sync duplicate contact email=<email> name="<person>" kept=first',
        '<ip> - - [12/Feb/2025:08:14:09 +0000] "GET /orders?limit=20 HTTP/1.1" 200 5123',
        "08:14:09 DEBUG kyc.check subject=<person> document=<national> result=ok",
    ),
    "json": (
        '{\n  "event": "customer.updated",\n  "data": {\n    "full_name": "<person>",\n    "email": "<email>",\n    "phone": "<phone>",\n    "address": "<address>",\n    "newsletter": false\n  }\n}',
        '{"type":"payout","amount":25000,"beneficiary":{"name":"<person>","iban":"<iban>"},"note":"February"}',
        '[{"seat":"14C","passenger":"<person>","contact":"<phone>"},{"seat":"14D","passenger":"<person2>","contact":"<email>"}]',
        '{"level":"info","client_ip":"<ip>","path":"/login","status":401,"national_id":"<national>"}',
    ),
    "sql": (
        "INSERT INTO patients (id, first_seen, patient_name, home_address, phone) VALUES (8812, '2025-02-12', '<person>', '<address>', '<phone>');",
        "SELECT * FROM subscriptions WHERE email = '<email>' OR contact_phone = '<phone>' ORDER BY created DESC LIMIT 5;",
        "UPDATE accounts SET iban = '<iban>' WHERE owner = '<person>' AND closed IS NULL;",
    ),
    "trace": (
        'Traceback (most recent call last):\n  File "/opt/crm/sync.py", line 214, in push\n    self.client.create(contact)\n  File "/opt/crm/client.py", line 61, in create\n    raise Duplicate(contact.email)\ncrm.errors.Duplicate: <email>',
        'org.postgresql.util.PSQLException: ERROR: duplicate key value violates unique constraint "uq_iban"\n  Detail: Key (iban)=(<iban>) already exists.\n\tat org.postgresql.core.v3.QueryExecutorImpl.receive(QueryExecutorImpl.java:2676)\n\tat eu.ledger.Booking.store(Booking.java:118)',
        'Error: no geocode for "<address>"\n    at locate (/srv/route/geo.js:40:11)\n    at async plan (/srv/route/plan.js:97:5)',
        'panic: cannot greet "<person>"\n\ngoroutine 12 [running]:\nmain.greet(0xc000010250)\n\t/src/hello/main.go:31 +0x1d',
    ),
}

SECRETS: dict[str, tuple[str, ...]] = {
    "chat": (
        "why is this refused? I send <secret> in the header, as the manual tells me to",
        "visitor: the integration stopped, our key is <secret>\nagent: Please never send keys in a chat.",
    ),
    "log": ("08:14:09 ERROR upstream rejected credential <secret> status=403 retry=false",),
    "json": ('{"service": "billing", "timeout": 30, "credential": "<secret>", "retries": 2}',),
    "email": ("Subject: access\n\nHello,\n\nhere is what you need for the upload: <secret>\n\nRegards, the data desk",),
    "trace": (
        'requests.exceptions.HTTPError: 401 Client Error for <secret>\n  File "/opt/job/run.py", line 12, in main',
    ),
}

CODE: tuple[str, ...] = (
    "Why does this print nothing?\n\n```python\ndef total(rows):\n    result = 0\n    for row in rows:\n        result += row.net\n    return result\n```\nI call it from a notebook.",
    '#!/usr/bin/env bash\nset -e\nfor f in data/*.parquet; do\n  upload "$f"\ndone\n\nIt stops at the first file, why?',
    "please review\n\ndiff --git a/pricing/tax.go b/pricing/tax.go\n--- a/pricing/tax.go\n+++ b/pricing/tax.go\n@@ -10,3 +10,3 @@ func Rate(c Country) float64 {\n-\treturn 0.19\n+\treturn 0.2\n }",
    "import logging\nfrom warehouse.stock import Shelf\n\nlog = logging.getLogger(__name__)\n\nclass Picker(Shelf):\n    def pick(self, item):\n        return self.items.pop(item)\n",
    "package eu.ledger.core;\n\nimport java.util.List;\nimport eu.ledger.core.Entry;\n\npublic class Balance {\n    private final List<Entry> entries;\n}\nDoes this need to be final?",
    "can this be faster?\n\nSELECT o.id, sum(l.net) FROM orders o JOIN lines l ON l.order_id = o.id\nWHERE o.day > now() - interval '7 days'\nGROUP BY o.id\nHAVING sum(l.net) > 100;",
    "/*\n * Copyright (c) 2023 Ledger Works BV. All rights reserved.\n * Unauthorized copying of this file is prohibited.\n */\nstatic int seat_count(const plane_t *p) {\n    return p->rows * 6;\n}",
    "function greet(user) {\n  if (!user) {\n    return null;\n  }\n  const line = `hi ${user.id}`;\n  return line;\n}\nwhat is wrong with it?",
    'Exception in thread "main" java.lang.NullPointerException\n\tat eu.ledger.Booking.store(Booking.java:118)\n\tat eu.ledger.Main.main(Main.java:9)',
)

NEGATIVE: dict[str, tuple[str, ...]] = {
    "chat": (
        "Which version of <product> do I need for <product2>? We are on <version> at the moment and do not want to reinstall everything.",
        "visitor: where is parcel <order>?\nagent: It left <city> this morning and should be with you by Friday.",
        "What is the weather like in <city> in May, and is a day enough to see the old town and the harbour?",
        "The manual says to write to <docmail> and to ping <docip>; do I have to replace both before I go live?",
        "How do I revert <sha> without losing what was merged after it? The pipeline refers to run <uuid>.",
        "Explain the difference between a left join and an inner join, with a short example for beginners.",
        "Is <number> a prime, and how would I prove that for much larger numbers on my own machine?",
        "Our shop in <city> sells <product>; write three sentences for the newsletter, friendly and short.",
        "What changed between <product> <version> and the one before? I only find the notes for <version2>.",
        "Can I run <product> next to <product2> on one machine with 16 GB, or should I plan for two?",
    ),
    "email": (
        "Subject: Maintenance window\n\nHello all,\n\n<product> will be updated to <version> on Saturday between 22:00 and 23:30. The site in <city> is not affected. Reference <uuid>.\n\nThe infrastructure group",
        "Subject: newsletter\n\nDear customer,\n\nour branch in <city> has new opening hours. <product> is now in stock, article <order>. Questions go to <docmail>.\n\nYour service team",
    ),
    "log": (
        "Feb 12 08:14:09 gw-3 nginx: upstream <docip>:8443 took 1207 ms, request <uuid>",
        "08:14:09.221 INFO  [build-2] fetched <sha> for <product>, cache key <sha2>, 1700000000123 ns",
        "08:14:09 INFO scheduler job=<uuid> shard=17 offset=<number> lag=0 version=<version>",
        '08:14:09 DEBUG geo region="<city>" tiles=4096 zoom=12 etag="<sha>" took=<number>us',
    ),
    "json": (
        '{"id":"<uuid>","product":"<product>","version":"<version>","city":"<city>","checksum":"<sha>","article":"<order>"}',
        '{\n  "name": "<product>",\n  "homepage": "https://docs.example.org/start",\n  "support": "<docmail>",\n  "hosts": ["<docip>", "127.0.0.1"],\n  "build": <number>\n}',
    ),
    "sql": (
        "INSERT INTO releases (id, product, version, commit_sha, region) VALUES ('<uuid>', '<product>', '<version>', '<sha>', '<city>');",
        "DELETE FROM carts WHERE article = '<order>' AND updated_at < '2025-01-31 23:59:59' AND shop = '<city>';",
    ),
    "trace": (
        'Traceback (most recent call last):\n  File "/usr/lib/python3.12/site-packages/tiles/render.py", line 301, in draw\n    raise TileError(key)\ntiles.errors.TileError: <uuid> at <docip>, version <version>',
        "java.util.concurrent.TimeoutException: no answer from <docip>:5432 within 30000 ms\n\tat org.tiles.Pool.borrow(Pool.java:77)\n\tat org.tiles.Render.main(Render.java:12)\nCaused by: java.io.IOException: <sha>",
    ),
}

PRODUCTS = (
    "Fairphone Connect", "Dynamo Studio", "Nordic Oak Table", "Blue Yonder", "Monte Carlo Simulator", "Windows Subsystem", "Amber Falcon Cluster",
    "Apple Vision Pro", "Red Hat Enterprise Linux", "Grafana Tempo", "Victoria Metrics", "Julia Studio", "Maria Database Server", "Jenkins Pipeline",
    "Martin Guitar Tuner", "Galaxy Buds", "Mozilla Thunderbird", "Harvest Moon Planner", "Stainless Steel Kettle", "Baby Bjorn Carrier", "Visual Basic",
    "Ray Ban Sunglasses", "Ben Nevis Tent", "Charlotte Tilbury Lipstick", "Calvin Cycle Poster", "Murphy Bed Kit",
)  # fmt: skip
CITIES = (
    "Newcastle upon Tyne", "Milton Keynes", "Saint-Étienne", "Aix-en-Provence", "La Rochelle", "San Sebastián", "Palma de Mallorca", "Reggio Emilia",
    "La Spezia", "Den Haag", "'s-Hertogenbosch", "Nowy Sącz", "Zielona Góra", "Bielsko-Biała", "Västerås", "Örnsköldsvik", "Belo Horizonte", "Porto Alegre",
    "São José dos Campos", "Ribeirão Preto", "Kirkby Lonsdale", "Bury St Edmunds",
)  # fmt: skip

ENCODE = {"json": in_json, "sql": in_sql, "log": in_line, "chat": in_line, "trace": in_line}
STRUCTURED = ("email", "phone", "card", "iban", "ip", "national")
DISGUISES = ("zero-width", "homoglyph", "full-width", "spaced", "spelled", "base64", "percent")


def _born(rng: random.Random) -> tuple[int, int, int]:
    return rng.randint(1940, 1999), rng.randint(1, 12), rng.randint(1, 28)


def _nino(rng: random.Random) -> str:
    return pick(rng, ("AB", "JH", "PY", "SC", "WL")) + some(rng, string.digits, 6) + pick(rng, "ABCD")


def _nir(rng: random.Random) -> str:
    year, month, _ = _born(rng)
    body = f"{rng.randint(1, 2)}{year % 100:02d}{month:02d}{rng.randint(1, 95):02d}{rng.randint(1, 989):03d}{rng.randint(1, 999):03d}"
    return f"{body}{97 - int(body) % 97:02d}"


def _nif(rng: random.Random) -> str:
    number = rng.randint(1_000_000, 99_999_999)
    return f"{number:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _fiscal_code(rng: random.Random) -> str:
    year, month, day = _born(rng)
    body = (
        some(rng, "BCDFGLMNPRSTVZ", 6)
        + f"{year % 100:02d}{'ABCDEHLMPRST'[month - 1]}{day:02d}"
        + pick(rng, "ABCDFGHL")
        + some(rng, string.digits, 3)
    )
    odd = dict(
        zip(
            "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            (
                1,
                0,
                5,
                7,
                9,
                13,
                15,
                17,
                19,
                21,
                1,
                0,
                5,
                7,
                9,
                13,
                15,
                17,
                19,
                21,
                2,
                4,
                18,
                20,
                11,
                3,
                6,
                8,
                12,
                14,
                16,
                10,
                22,
                25,
                24,
                23,
            ),
            strict=True,
        )
    )
    even = {c: int(c) if c.isdecimal() else ord(c) - 65 for c in odd}
    return body + chr(65 + sum((even if place % 2 else odd)[c] for place, c in enumerate(body)) % 26)


def _bsn(rng: random.Random) -> str:
    while True:
        body = str(rng.randint(10_000_000, 99_999_999))
        check = sum(int(d) * w for d, w in zip(body, range(9, 1, -1), strict=True)) % 11
        if check < 10:
            return f"{body}{check}"


def _pesel(rng: random.Random) -> str:
    year, month, day = _born(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{some(rng, string.digits, 4)}"
    return body + str(-sum(int(d) * w for d, w in zip(body, (1, 3, 7, 9) * 3, strict=False)) % 10)


def _personnummer(rng: random.Random) -> str:
    year, month, day = _born(rng)
    body = f"{year % 100:02d}{month:02d}{day:02d}{some(rng, string.digits, 3)}"
    return f"{body[:6]}-{body[6:]}{luhn_digit(body)}"


def _cpf(rng: random.Random) -> str:
    digits = some(rng, string.digits, 9)
    for length in (10, 11):
        digits += str(sum(int(d) * w for d, w in zip(digits, range(length, 1, -1), strict=True)) * 10 % 11 % 10)
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


#: Faker makes dates of birth from today's date, which cannot be frozen: these are ours.
_NATIONAL: dict[str, Make] = {
    "en_GB": _nino,
    "fr_FR": _nir,
    "es_ES": _nif,
    "it_IT": _fiscal_code,
    "nl_NL": _bsn,
    "pl_PL": _pesel,
    "sv_SE": _personnummer,
    "pt_BR": _cpf,
}


class _Maker:
    """Makes the values of one text: all of one locale."""

    def __init__(self, fakers: dict[str, Faker], rng: random.Random) -> None:
        self.rng = rng
        self.locale = pick(rng, LOCALES)
        self.faker = fakers[self.locale]

    def value(self, slot: str) -> str:
        kind = slot.rstrip("2")
        return getattr(self, f"_{kind}")() if hasattr(self, f"_{kind}") else NEGATIVES[kind](self.rng)

    def _person(self) -> str:
        while True:
            first, last = self.faker.first_name(), self.faker.last_name()
            if first not in tuning_words.FIRST and last not in tuning_words.LAST:
                return f"{first} {last}"

    def _address(self) -> str:
        return self.faker.address()

    def _email(self) -> str:
        local = self.faker.user_name()
        return f"{local}@{pick(self.rng, ('orange-marine', 'studio-lumen', 'mail.kvarn', 'posta-nova', 'brightwater'))}.{pick(self.rng, ('fr', 'es', 'it', 'nl', 'pl', 'se', 'com.br', 'co.uk', 'eu'))}"

    def _phone(self) -> str:
        return self.faker.phone_number()

    def _card(self) -> str:
        number = self.faker.credit_card_number()
        if len(number) == 16 and self.rng.random() < 0.4:
            return " ".join(number[at : at + 4] for at in range(0, 16, 4))
        return number

    def _iban(self) -> str:
        number = self.faker.iban()
        return " ".join(number[at : at + 4] for at in range(0, len(number), 4)) if self.rng.random() < 0.4 else number

    def _ip(self) -> str:
        return (
            self.faker.ipv4_public()
            if self.rng.random() < 0.8
            else f"2a01:{self.rng.randint(1, 65000):x}:{self.rng.randint(1, 65000):x}::{self.rng.randint(1, 65000):x}"
        )

    def _national(self) -> str:
        return _NATIONAL[self.locale](self.rng)

    def _idname(self) -> str:
        names = {
            "en_GB": "National Insurance number", "fr_FR": "numéro de sécurité sociale", "es_ES": "NIF", "it_IT": "codice fiscale",
            "nl_NL": "BSN", "pl_PL": "PESEL", "sv_SE": "personnummer", "pt_BR": "CPF",
        }  # fmt: skip
        return names[self.locale]

    def _secret(self) -> str:
        return pick_secret(self.rng)


_ALNUM = string.ascii_letters + string.digits


def pick_secret(rng: random.Random) -> str:
    """A key of an issuer's published format, made of random characters."""
    makers: tuple[Make, ...] = (
        lambda r: "AKIA" + some(r, string.ascii_uppercase + "234567", 16),
        lambda r: pick(r, ("ghp_", "gho_", "ghs_")) + some(r, _ALNUM, 36),
        lambda r: "github_pat_" + some(r, _ALNUM, 22) + "_" + some(r, _ALNUM, 59),
        lambda r: "glpat-" + some(r, _ALNUM, 20),
        lambda r: "xoxb-" + some(r, string.digits, 12) + "-" + some(r, string.digits, 12) + "-" + some(r, _ALNUM, 24),
        lambda r: pick(r, ("sk_live_", "rk_live_")) + some(r, _ALNUM, 24),
        lambda r: "AIza" + some(r, _ALNUM + "_-", 35),
        lambda r: "npm_" + some(r, _ALNUM, 36),
        lambda r: "SG." + some(r, _ALNUM, 22) + "." + some(r, _ALNUM, 43),
        lambda r: "hf_" + some(r, string.ascii_letters, 34),
        lambda r: "sk-ant-api03-" + some(r, _ALNUM + "_-", 93) + "AA",
        lambda r: "dop_v1_" + some(r, "0123456789abcdef", 64),
        lambda r: "shpat_" + some(r, "0123456789abcdef", 32),
        lambda r: "postgresql://app:" + some(r, _ALNUM, 14) + "@db-2.internal:5432/ledger",
        lambda r: ".".join(
            base64.urlsafe_b64encode(part).rstrip(b"=").decode()
            for part in (b'{"alg":"RS256","typ":"JWT"}', b'{"sub":"%d"}' % r.randint(1, 10**9), r.randbytes(48))
        ),
        lambda r: (
            "-----BEGIN PRIVATE KEY-----\\n"
            + base64.b64encode(r.randbytes(96)).decode()
            + "\\n-----END PRIVATE KEY-----"
        ),
    )
    return makers[rng.randrange(len(makers))](rng)


def _failing(rng: random.Random) -> str:
    body = pick(rng, ("4", "53", "37", "60")) + some(rng, string.digits, 13)
    wrong = (int(luhn_digit(body)) + rng.randint(1, 9)) % 10
    return pick(
        rng,
        (
            f"{body}{wrong}",
            f"PO-{body[:6]}-{body[6:10]}",
            f"{body[:4]}-{body[4:8]}-{body[8:12]}-{wrong}",
            f"ART{body[:9]}",
        ),
    )


def _hex(length: int) -> Make:
    return lambda rng: some(rng, "0123456789abcdef", length)


NEGATIVES: dict[str, Make] = {
    "product": lambda rng: pick(rng, PRODUCTS),
    "city": lambda rng: pick(rng, CITIES),
    "version": lambda rng: pick(rng, (f"{rng.randint(1, 30)}.{rng.randint(0, 40)}.{rng.randint(0, 20)}", f"v{rng.randint(1, 9)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}.{rng.randint(1, 4000)}")),
    "sha": lambda rng: pick(rng, (_hex(40)(rng), _hex(8)(rng), "sha256:" + _hex(64)(rng))),
    "uuid": lambda rng: "-".join(some(rng, "0123456789abcdef", n) for n in (8, 4, 4, 4, 12)),
    "docmail": lambda rng: f"{pick(rng, ('support', 'jane.doe', 'hello', 'ops-team'))}@{pick(rng, ('example.com', 'example.org', 'shop.example', 'mail.example.net'))}",
    "docip": lambda rng: pick(rng, (f"198.51.100.{rng.randint(1, 254)}", f"203.0.113.{rng.randint(1, 254)}", f"2001:db8:{rng.randint(1, 9999):x}::{rng.randint(1, 255):x}")),
    "order": _failing,
    "number": lambda rng: str(rng.randint(10_000, 10**rng.randint(6, 13))),
}  # fmt: skip


def make(count: int = COUNT, seed: int = SEED) -> list[Sample]:
    """Makes the hold-out: of sixteen texts eight hold nothing, five a person's data, two a secret, one code."""
    rng = random.Random(seed)
    fakers = {locale: Faker(locale) for locale in LOCALES}
    for locale, faker in fakers.items():
        faker.seed_instance(seed + LOCALES.index(locale))
    return [_sample(number, fakers, rng) for number in range(count)]


def _sample(number: int, fakers: dict[str, Faker], rng: random.Random) -> Sample:
    turn = number % 16
    if turn % 2:
        return _from(NEGATIVE, fakers, rng, labelled=False)
    if turn == 14:
        text = pick(rng, CODE)
        return Sample(text, (), "code")
    sample = _from(SECRETS if turn in {6, 12} else PERSONAL, fakers, rng, labelled=True)
    return _disguised(sample, rng) if number // 16 % DISGUISED_EVERY == 0 and turn in {0, 6} else sample


def _from(
    carriers: dict[str, tuple[str, ...]], fakers: dict[str, Faker], rng: random.Random, *, labelled: bool
) -> Sample:
    maker = _Maker(fakers, rng)
    carrier = pick(rng, sorted(carriers))
    template = pick(rng, carriers[carrier])
    values = {slot: (_kind(slot) if labelled else "", maker.value(slot)) for slot in slots(template)}
    text, labels = fill(template, values, encode=ENCODE.get(carrier, str))
    return Sample(text, labels, carrier)


def _kind(slot: str) -> str:
    return "" if slot == "idname" else slot.rstrip("2")


def _disguised(sample: Sample, rng: random.Random) -> Sample:
    """The sample with every structured value and secret of it written in one disguise; as it is where there is none."""
    disguise = pick(rng, DISGUISES)
    pieces, values, position, touched = [], {}, 0, False
    for number, label in enumerate(sample.labels):
        value = sample.text[label.start : label.end]
        changed = _disguise(value, disguise, rng) if label.kind in (*STRUCTURED, "secret") else value
        touched = touched or changed != value
        pieces += (sample.text[position : label.start].replace("<", "\x02"), f"<v{number}>")
        values[f"v{number}"] = (label.kind, changed)
        position = label.end
    if not touched:
        return sample
    text, labels = fill("".join([*pieces, sample.text[position:].replace("<", "\x02")]), values)
    return Sample(text.replace("\x02", "<"), labels, sample.carrier, disguise)


_HOMOGLYPHS = str.maketrans("aeopcx", "аеорсх")
_DIGITS = "zero one two three four five six seven eight nine".split()


def _disguise(value: str, disguise: str, rng: random.Random) -> str:
    match disguise:
        case "zero-width":
            return "".join(c + ("\u200b" if rng.random() < 0.3 else "") for c in value)
        case "homoglyph":
            return value.translate(_HOMOGLYPHS)
        case "full-width":
            return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value)
        case "spaced":
            return " ".join(value.replace(" ", "")) if len(value) < 40 else value
        case "spelled" if sum(c.isdigit() for c in value) >= 0.8 * len(value):
            return " ".join(_DIGITS[int(c)] for c in value if c.isdecimal())
        case "base64":
            return base64.b64encode(value.encode()).decode()
        case "percent":
            return "".join(f"%{byte:02X}" for byte in value.encode())
    return value


def templates() -> Iterator[str]:
    """Every template."""
    for carriers in (PERSONAL, SECRETS, NEGATIVE):
        for group in carriers.values():
            yield from group
    yield from CODE
