"""Personal data: how a candidate of each kind looks, who makes sure of it, and what looks the same but is not.

A rule's pattern is RE2's and cheap; its recogniser is asked only about what the pattern found, and its `means` says
whether the place can mean a person at all: documentation's addresses, version numbers and slices do not.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

#: Looks at a candidate and at the few characters before and behind it.
Means = Callable[[str, str, str], bool]


def _always(_candidate: str, _before: str, _behind: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class PersonalRule:
    """One way in which one kind of personal data is written.

    name: of the findings; several rules may share one. pattern: its first group, where it has one, is the candidate.
    recogniser: the key of the one who is asked. score: how sure it must be, 0 to 1; a rule whose pattern asks for the
    right words beside the number can do with less. longest: in bytes; what is longer is cut at its beginning.
    """

    name: str
    pattern: str
    recogniser: str
    score: float = 0.4
    means: Means = _always
    longest: int = 96


# -- mail ------------------------------------------------------------------------------------------------------------

#: Reserved for documentation and tests (RFC 2606, RFC 6761).
_RESERVED_DOMAINS = re.compile(r"(?i)(?:^|\.)(?:example(?:\.(?:com|net|org|edu))?|test|invalid|localhost|local)\.?\Z")


def _is_mailbox(candidate: str, _before: str, behind: str) -> bool:
    """Not a documentation domain, and not the `git@host:path` of a repository."""
    local, _, domain = candidate.rpartition("@")
    if local.lower() in {"git", "hg", "svn"} and behind.startswith((":", "/")):
        return False
    return not _RESERVED_DOMAINS.search(domain)


# -- addresses of machines -------------------------------------------------------------------------------------------

#: Reserved for documentation (RFC 5737, RFC 3849, RFC 9637) and for benchmarks (RFC 2544).
_RESERVED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32", "3fff::/20")
)
#: `requests==1.2.3.4` pins a version; `client=1.2.3.4` names a host.
_VERSION_BEFORE = re.compile(r"(?i)(?:\b(?:version|release|oid|v)[.:=]?\s*|\w(?:[=~<>!]=|[<>^])|[\w.]\.)\Z")


def _is_address(candidate: str, before: str, behind: str) -> bool:
    """An address that one machine can have: no loopback, netmask, documentation, slice or version number."""
    address = _parse_address(candidate)
    if address is None or any(address in network for network in _RESERVED_NETWORKS):
        return False
    # IPv6 calls all but 2000::/3 and the private ranges reserved: so `x[1::2]` is none, whatever it looks like.
    if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved:
        return False
    return not address.is_link_local and not _is_version(candidate, before, behind)


def _parse_address(candidate: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(candidate.split("/", maxsplit=1)[0].split("%", maxsplit=1)[0])
    except ValueError:
        return None


def _is_version(candidate: str, before: str, behind: str) -> bool:
    """Four small numbers are a version where the words say so, or where a fifth number follows. 0.x.y.z is no host."""
    if ":" in candidate:
        return False
    longer = re.match(r"\.\d", behind) is not None
    return longer or candidate.startswith(("0.", "255.")) or _VERSION_BEFORE.search(before) is not None


#: Ends before the full stop or colon of a sentence.
_IPV6 = r"(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|::)(?:[0-9A-Fa-f:.]*(?:[0-9A-Fa-f]|::))?(?:/\d{1,3}\b)?"

_EMPTY_MAC = frozenset({"000000000000", "FFFFFFFFFFFF"})


def _is_device(candidate: str, before: str, behind: str) -> bool:
    """A network card's address: not one of a longer row of bytes such as a fingerprint."""
    digits = re.sub(r"[^0-9A-Fa-f]", "", candidate).upper()
    return digits not in _EMPTY_MAC and not before.endswith((":", "-")) and not behind.startswith((":", "-"))


# -- telephones ------------------------------------------------------------------------------------------------------

_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])(?!\d)"
    r"|^\d{1,2}[-./]\d{1,2}[-./](?:\d\d|\d{4})\Z|^\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d(?!\d)"
)


def _is_number_to_call(candidate: str, before: str, behind: str) -> bool:
    """Not a date, not part of a longer number or of a dotted, dashed or hexadecimal one (a version, a UUID)."""
    if _DATE.search(candidate) or re.search(r"\w[-.]?\Z", before[-2:]):
        return False
    return re.match(r"[-.]?\w", behind) is None and len({c for c in candidate if c.isdigit()}) > 1


def _is_abroad(candidate: str, before: str, behind: str) -> bool:
    """No signed decimal, no offset of a time zone."""
    return re.fullmatch(r"\+\d+\.\d+", candidate) is None and _is_number_to_call(candidate, before, behind)


def _is_trunk_number(candidate: str, before: str, behind: str) -> bool:
    """Nine to thirteen digits after a trunk prefix, in groups, and no clock time or sum."""
    digits = [c for c in candidate if c.isdecimal()]
    if _COUNTING.search(before) or _COUNTED.match(behind):
        return False
    return 9 <= len(digits) <= 15 and len(set(digits)) > 3 and _is_number_to_call(candidate, before, behind)


#: What says that a row of digits counts, orders or versions something.
_COUNTING = re.compile(
    r"(?i)(?:\b(?:order|invoice|inv|ref|reference|id|ids|sku|part|item|serial|batch|lot|ticket|case|tracking|track|isbn|issn"
    r"|ean|gtin|asin|amount|total|sum|price|cost|count|rows?|bytes?|size|port|pid|build|error|code|version|page|pages"
    r"|step|offset|range|sequence|seq|population|coordinates?|lat|lon|lng|timestamp|epoch"
    r"|bestellung|auftrag|rechnung|artikel|commande|facture|pedido|factura|ordine|fattura|bestelling|zamówienie"
    r"|faktura|beställning|model|article|revision|rev|parcel|shipment|contract|policy)"
    r"(?:[ _-]?(?:no|nr|number|num|id))?\.?[\"']?[ ]?[:=#]?[ ]?[\"']?|[$€£¥#=/_.,-])\Z"
)
_COUNTED = re.compile(
    r"(?i)[ ]?(?:%|€|\$|£|(?:eur|usd|gbp|chf|sek|nok|dkk|pln|czk|rows?|bytes?|kb|mb|gb|ms|km|kg|cm|mm|px|people"
    r"|users|items"
    r"|records|requests|inhabitants|euros?|dollars?|pounds?|years?|days|hours|times|percent)\b|[=*/_])"
)


def _is_dialled(candidate: str, before: str, behind: str) -> bool:
    """A number in a plan's groups with no word around it that says what else it counts; no date, no sum."""
    if _COUNTING.search(before) or _COUNTED.match(behind) or re.match(r",\d", behind):
        return False
    if re.fullmatch(r"(?:19|20)\d\d\D(?:19|20)\d\d", candidate) or re.fullmatch(
        r"[1-9]\d{0,2}(?:\.\d{3})+|[1-9]\d?(?: \d{3})+", candidate
    ):
        return False
    return _is_number_to_call(candidate, before, behind)


def _is_dialled_bare(candidate: str, before: str, behind: str) -> bool:
    return len(set(candidate)) > 3 and _is_dialled(candidate, before, behind)


#: A key or a word whose value is a telephone number, in the languages that we meet most.
_PHONE_KEY = (
    r"(?i:(?:\b|_)(?:(?:tele)?phone|tel|telefon[oe]?|téléphone|mobile?|mobiltelefon|mobiel|cell|celular|móvil|handy"
    r"|cellulare|portable|komórka|fax|whatsapp|msisdn|rufnummer|telefonnummer|telefoonnummer|telefonszám|telefonnummer"
    r"|puhelin|puh|tlf|gsm|natel|mobilnummer|mobil|matkapuhelin|viber|signal|sms|pager|landline|hotline|caller"
    r"|callee|caller[_ ]?id|dial(?:led)?|telephone|phones"
    r"|(?:tele)?phone[_ ]?(?:number|num|no|nr)|(?:home|work|cell|mobile|office|day|evening)[_ ]?(?:phone|number|tel)"
    r"|contact[_ ]?(?:number|phone|no)|callback(?:[_ ]number)?|call[_ ]?back)\.?)"
)

#: What people write before a number to call. `call` alone is code's word as well: it needs somebody to be called.
_CALLING = (
    r"(?i:\b(?:tele)?phones?|\btel|\bmobile|\bcell(?:phone)?|\bfax|\bwhats ?app|\bsms|\bhandset|\bhotline"
    r"|\b(?:call|ring|text|reach|phone|contact|dial)(?:ed|ing|s)?"
    r"(?: (?:me|us|him|her|them|back|at|on|now|please|(?:the )?(?:customer|client|driver|shop|office)))+"
    r"|\b(?:my|his|her|their|our|your|contact|customer'?s?|client'?s?|new|old|home|work|office) (?:number|no\.?|cell)"
    r"|\b(?:please|pls|to|can|and|then|just) (?:call|phone|text|ring|dial)|\bdial(?:l?ed|ing)?|\bcall ?back"
    r"|\bvoicemail|\bvoice mail|\btelefon|\btéléphone|\bteléfono|\btelefono"
    r"|\brufen sie|\bruf (?:mich|uns)|\berreichbar unter|\bappel(?:ez|er|le)|\bllám(?:ame|eme|enos|ar)"
    r"|\bllame|\bchiam(?:ami|atemi|are|i)|\bzadzwoń|\bbel (?:me|mij|ons)|\bring (?:meg|mig)|\bligue)\b"
    r"(?:\.[ :]{0,2}|(?:[^\d+\n.;!?]|(?i:n[or]|tel)\.){0,24})"
)
_GAP = r"[ \x{A0}./\x{2010}-\x{2015}-]"

# -- national numbers ------------------------------------------------------------------------------------------------


def _stands_alone(_candidate: str, before: str, behind: str) -> bool:
    """Not part of a longer dotted, dashed or decimal number."""
    return re.search(r"\w[-.,:/]?\Z|[-+]\Z", before[-2:]) is None and re.match(r"[-.,:/]?\w", behind) is None


#: What may stand between the word and the number: of full stops only those of "no." and "nr.".
_WITHIN_SENTENCE = r"(?:\.[ :]{0,2}|(?:[^\d\n.;!?]|(?i:n[or]|num|acct)\.){0,32}?)"


def _said(name: str, words: str, number: str, score: float = 0.01, *, by: str = "") -> PersonalRule:
    """A rule for a number that means nothing without one of these words before it, in the same sentence.

    by: the recogniser that is asked, where it is not the rule's namesake.
    """
    pattern = rf"(?i:(?:\b|_)(?:{words})(?:\b|_)){_WITHIN_SENTENCE}\b({number})\b"
    return PersonalRule(name, pattern, by or name, score)


def _shaped(name: str, pattern: str, *, by: str = "") -> PersonalRule:
    """A rule for a number whose shape and check digits say enough, unless it is part of a longer one."""
    return PersonalRule(name, rf"\b{pattern}\b", by or name, means=_stands_alone)


#: What people and forms call the number by which a state knows them.
_IDENTITY_WORDS = (
    r"national[ _-]?(?:id|identification|identity|insurance)(?:[ _-]?(?:card|document))?"
    r"|(?:personal|identity|citizen|civil|fiscal|resident)[ _-]?(?:id|identification|code|card|document|number)"
    r"|(?:id|identity)[ _-]card|social[ _-]?(?:security|insurance)|tax[ _-]?(?:payer[ _-]?)?(?:id"
    r"|identification|number|no)"
    r"|passport|driv(?:er|ing)'?s?[ _-]?licen[cs]e|health[ _-]?(?:insurance|card|id)|insurance[ _-]?number"
    r"|ssn|nino|nif|dni|nss|numéro de sécu(?:rité sociale)?|sécurité sociale|carte vitale"
    r"|personalausweis(?:nummer)?|ausweisnummer|reisepass(?:nummer)?|steuer-?id|sozialversicherungsnummer|svnr|ahv"
    r"|bsn|burgerservicenummer|paspoort(?:nummer)?|rijksregisternummer|numéro national|codice fiscale|carta d'identità"
    r"|pesel|dowód osobisty|paszport|personnummer|samordningsnummer|fødselsnummer|cpr(?:-nummer)?|henkilötunnus|hetu"
    r"|kennitala|cpf|carteira de identidade|contribuinte|cartão de cidadão|bilhete de identidade|curp"
    r"|cuil|cuit|cédula|cedula|rodné číslo|občanský průkaz|cnp|egn|jmbg|emšo|oib|személyi(?: szám)?|tckn|tc kimlik"
    r"|kimlik no|amka|ppsn?|aadhaar|nric|mykad|hkid|cnic|snils|emirates id|teudat zehut|isikukood"
    r"|asmens kodas|personas kods|nhs"
)
_IDENTITY_VALUE = r"(?:[A-Z]{1,4}[ -]?)?\d[\dA-Z]{0,14}(?:[ ./-]{1,2}[\dA-Z]{1,11}){0,6}"


def _stands_uncounted(candidate: str, before: str, behind: str) -> bool:
    return _stands_alone(candidate, before, behind) and not (_COUNTING.search(before) or _COUNTED.match(behind))


def _bare(name: str, pattern: str) -> PersonalRule:
    """A rule for plain digits whose check digits pass by chance now and then: no word may say what else they count."""
    return PersonalRule(name, rf"\b{pattern}\b", name, means=_stands_uncounted)


PERSONAL_RULES: tuple[PersonalRule, ...] = (
    PersonalRule(
        "email",
        r"[\pL\pN.!#$%&*+^_~-]+@[\pL\pN](?:[\pL\pN-]*[\pL\pN])?(?:\.[\pL\pN](?:[\pL\pN-]*[\pL\pN])?)+",
        "email",
        means=_is_mailbox,
        longest=320,
    ),
    PersonalRule("ip-address", r"\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}\b)?", "ip-address", means=_is_address),
    PersonalRule("ip-address", _IPV6, "ip-address", means=_is_address),
    PersonalRule("mac-address", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b", "mac-address", means=_is_device),
    PersonalRule("mac-address", r"\b[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}\b", "mac-address", means=_is_device),
    PersonalRule(
        "phone",
        rf"(?:\b1{_GAP})?(?:\(\s?[2-9]\d\d\s?\){_GAP}?|\b[2-9]\d\d{_GAP})[2-9]\d\d{_GAP}\d{{4}}\b",
        "phone-national",
        means=_is_number_to_call,
    ),
    PersonalRule("phone", rf"\(?\b0\d{{1,4}}\)?{_GAP}\d{{3,4}}{_GAP}?\d{{3,4}}\b", "phone-national", means=_is_dialled),
    PersonalRule("phone", rf"\+\d(?:[()]|{_GAP}|\d){{6,20}}\d", "phone-plan", means=_is_abroad),
    PersonalRule("phone", rf"\b00[1-9](?:[()]|{_GAP}|\d){{7,20}}\d", "phone-said", means=_is_trunk_number),
    PersonalRule(
        "phone",
        rf"\(?\b0[1-9]\d{{0,4}}\)?(?:{_GAP}|{_GAP}{{3}})?\d{{2,4}}(?:{_GAP}\d{{2,4}}){{1,4}}\b"
        rf"|\(0\d{{1,4}}\) ?\d{{5,8}}\b|\b0\d{{1,4}}[-/ ]\d{{5,8}}\b",
        "phone-said",
        means=_is_trunk_number,
    ),
    PersonalRule(
        "phone",
        r"\(\d{2}\) ?9?\d{4}[- ]\d{4}\b|\b[6-9]\d{2} \d{2} \d{2} \d{2}\b",
        "phone-said",
        means=_is_dialled,
    ),
    PersonalRule(
        "phone",
        rf"{_PHONE_KEY}[\"']?\s{{0,2}}(?:[:=]|=>|is|was)?\s{{0,2}}[\"']?(\+?\(?\d(?:[()]|{_GAP}|\d){{5,20}}\d)",
        "phone-said",
        means=_is_number_to_call,
    ),
    PersonalRule("phone", rf"{_CALLING}(\(?\d(?:[()]|{_GAP}|\d){{5,20}}\d)", "phone-said", means=_is_number_to_call),
    PersonalRule(
        "phone",
        rf"(?:\b|\()\d{{1,5}}\)?(?:(?:{_GAP}| - )\(?\d{{1,5}}\)?){{1,5}}(?:\b|$)",
        "phone-written",
        means=_is_dialled,
    ),
    PersonalRule("phone", r"\b0[1-9]\d{8,9}\b", "phone-bare", means=_is_dialled_bare),
    PersonalRule(
        "phone",
        rf"(?:\b|\()(\d(?:[()]|{_GAP}|\d){{6,20}}\d)[\"']?[,;:]?[ ]{{0,2}}"
        r"(?:\((?:mobile|cell|home|work|office|tel|phone)|is (?:my|his|her|our|the|their) (?:\w+ )?(?:phone"
        r"|cell|mobile|number))",
        "phone-said",
        means=_is_number_to_call,
    ),
    PersonalRule("iban", r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b", "iban"),
    PersonalRule("crypto-wallet", r"\b(?:bc1[a-z0-9]{25,59}|[13][a-km-zA-HJ-NP-Z1-9]{25,34})\b", "crypto-wallet"),
    _shaped("us-ssn", r"\d{3}-\d{2}-\d{4}"),
    _said("us-ssn", r"ssns?|social security|soc\.? sec\.?", r"\d{3}[ .]?\d{2}[ .]?\d{4}"),
    _shaped("us-itin", r"9\d{2}-[5-9]\d-\d{4}"),
    _said("us-itin", r"itin|taxpayer(?: id(?:entification)?)?", r"9\d{2}[ -]?[5-9]\d[ -]?\d{4}"),
    _said("us-passport", r"passport", r"[A-Z]?\d{8,9}"),
    _said(
        "us-driver-license",
        r"driv(?:er|ing)(?:'?s)? licen[cs]e|licen[cs]e (?:no\.?|number)",
        r"[A-Z]{0,2}\d{4,14}",
    ),
    _said("us-bank-account", r"(?:bank|checking|savings) account|account (?:no\.?|number|#)", r"\d{8,17}"),
    _said("us-medical-license", r"dea", r"[A-Z]{2}\d{7}"),
    _shaped("uk-nhs", r"\d{3}[ -]\d{3}[ -]\d{4}"),
    _said("uk-nhs", r"nhs|patient|health (?:service|number)", r"\d{10}"),
    _shaped("uk-nino", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]"),
    _shaped("es-nif", r"\d{8}-?[A-HJ-NP-TV-Z]"),
    _shaped("es-nie", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]"),
    _shaped("it-fiscal-code", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"),
    _said("pl-pesel", r"pesel", r"\d{11}"),
    _said(
        "de-tax-id",
        r"steuer-?id(?:entifikationsnummer)?|steuernummer|idnr|tax id",
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
    ),
    _said("in-aadhaar", r"aadhaa?r|uidai", r"\d{4}[ -]?\d{4}[ -]?\d{4}"),
    _said("in-pan", r"pan|permanent account", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", 0.4),
    _shaped("sg-nric", r"[STFGM]\d{7}[A-Z]"),
    _shaped("fi-hetu", r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]"),
    _said("au-tfn", r"tfn|tax file", r"\d{3} ?\d{3} ?\d{3}"),
    _said("au-medicare", r"medicare", r"[2-6]\d{3} ?\d{5} ?\d"),
    _shaped("kr-rrn", r"\d{6}-[1-4]\d{6}"),
    _said("uk-nino", r"nino|national insurance|ni (?:number|no)", r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-Z]", by="nino"),
    _shaped("fr-nir", r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
    _said("nl-bsn", r"bsn|burgerservicenummer|sofi(?:nummer)?", r"\d{8,9}|\d{4}[. ]\d{2}[. ]\d{3}"),
    _shaped("pl-pesel", r"\d{2}(?:[02468][1-9]|[13579][0-2])(?:0[1-9]|[12]\d|3[01])\d{5}", by="pesel"),
    _shaped("se-personnummer", r"(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:[06][1-9]|[1278]\d|[39][01])[-+]\d{4}"),
    _said(
        "se-personnummer",
        r"person(?:al|ligt)?[ _]?(?:identity[ _]?)?(?:number|nummer|nr)|samordningsnummer",
        r"(?:19|20)?\d{6}-?\d{4}",
    ),
    _shaped("br-cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    _said("br-cpf", r"cpf", r"\d{11}"),
    _said("pt-nif", r"nif|contribuinte", r"[1-3]\d{2} ?\d{3} ?\d{3}"),
    _shaped("be-rrn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"),
    _shaped("ch-ahv", r"756\.?\d{4}\.?\d{4}\.?\d{2}"),
    _said("no-fnr", r"f(?:ø|oe)dselsnummer|fnr|d-nummer", r"\d{6} ?\d{5}"),
    _said("dk-cpr", r"cpr", r"\d{6}-?\d{4}"),
    _shaped("cz-rc", r"\d{2}(?:[05][1-9]|[16][0-2]|[27][1-9]|[38][0-2])(?:0[1-9]|[12]\d|3[01])/\d{4}"),
    _shaped(
        "it-fiscal-code", r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", by="fiscal-code"
    ),
    _bare("at-svnr", r"\d{4} (?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}"),
    _said("at-svnr", r"svnr|sozialversicherungsnummer|sv-?nummer|versicherungsnummer", r"\d{4} ?\d{6}"),
    _shaped("de-rvnr", r"\d{2} ?\d{6} ?[A-Z] ?\d{2} ?\d"),
    _bare("ro-cnp", r"[1-8]\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{6}"),
    _said("bg-egn", r"egn|егн", r"\d{10}"),
    _said("hr-oib", r"oib", r"\d{11}"),
    _bare("jmbg", r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])[089]\d{2}\d{6}"),
    _bare("tr-tckn", r"[1-9]\d{10}"),
    _bare("baltic-code", r"[1-6]\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{4}"),
    _shaped("lv-pk", r"(?:0[1-9]|[12]\d|3[012])(?:0[1-9]|1[0-2])\d{2}-[012]\d{4}"),
    _bare("ie-pps", r"\d{7}[A-W][A-IW]?"),
    _said("gr-amka", r"amka|αμκα", r"\d{11}"),
    _said("hu-taj", r"taj", r"\d{3}[ -]?\d{3}[ -]?\d{3}"),
    _bare("lu-matricule", r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{5}"),
    _shaped("is-kennitala", r"(?:[0-6]\d|7[01])(?:0[1-9]|1[0-2])\d{2}-\d{3}[089]"),
    _shaped("cn-rid", r"[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[0-9Xx]"),
    _bare("za-id", r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]) ?\d{4} ?[012][89]\d"),
    _shaped(
        "mx-curp", r"[A-Z][AEIOUX][A-Z]{2}\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[HMX][A-Z]{2}[A-Z]{3}[A-Z0-9]\d"
    ),
    _shaped("cl-rut", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]"),
    _said("cl-rut", r"rut|run", r"\d{7,8}-?[\dkK]"),
    _shaped("ar-cuil", r"2[0347]-\d{8}-\d"),
    _said("il-id", r"teudat zehut|mispar zehut|israeli id", r"\d{8,9}"),
    _shaped("tw-id", r"[A-Z][12]\d{8}"),
    PersonalRule("hk-id", r"\b[A-Z]{1,2}\d{6}\([0-9A]\)", "hk-id", means=_stands_alone),
    _shaped("th-id", r"\d-\d{4}-\d{5}-\d{2}-\d"),
    _shaped("my-kad", r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-\d{2}-\d{4}"),
    _shaped("ru-snils", r"\d{3}-\d{3}-\d{3}[ -]\d{2}"),
    _bare("ca-sin", r"\d{3}-\d{3}-\d{3}"),
    _said("ca-sin", r"sin|social insurance", r"\d{3} ?\d{3} ?\d{3}"),
    _bare("es-nss", r"\d{2}[ /-]\d{7,8}[ /-]\d{2}"),
    _said("es-nss", r"nuss|nss|seguridad social", r"\d{11,12}"),
    _said("jp-number", r"my number|individual number", r"\d{4}[ -]?\d{4}[ -]?\d{4}"),
    _shaped("pk-cnic", r"[1-7]\d{4}-\d{7}-\d"),
    _bare("br-cpf", r"\d{11}"),
    _bare("be-rrn", r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]) ?\d{3} ?\d{2}"),
    _bare("no-fnr", r"(?:[04][1-9]|[1256]\d|[37][01])(?:0[1-9]|1[0-2])\d{2} ?\d{5}"),
    _shaped("dk-cpr", r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}-\d{4}", by="birthday-number"),
    _shaped("fi-hetu", r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"),
    _said("es-nif", r"dni|nif|nie", r"[XYZ]?[ .-]?\d{1,2}\.?\d{3}\.?\d{3}[ .-]?[A-Z]", by="identity-said"),
    _said("identity-number", _IDENTITY_WORDS, _IDENTITY_VALUE, by="identity-said"),
    PersonalRule(
        "identity-number",
        rf"\b({_IDENTITY_VALUE})[\"']?(?:,| is| was|\)|) {{0,2}}"
        rf"(?:\(|my |his |her |their |the |as |our |customer's ){{0,2}}"
        rf"(?i:{_IDENTITY_WORDS})\b",
        "identity-said",
        0.01,
        means=_stands_alone,
    ),
)
