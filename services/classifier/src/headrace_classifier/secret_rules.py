"""The secrets that we know: how each looks, and what makes sure that it is one.

The order is the rank: where two rules fire on one place, the first names the placeholder, so the specific ones come
before the general ones. Every pattern runs in linear time. The formats are the issuers' published ones.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from headrace_classifier.checksums import entropy, is_card_number, is_iban, luhn
from headrace_classifier.patterns import Resume, after, within

#: Looks at what a pattern matched and at the few characters before and behind it, and says whether it is a secret.
Accept = Callable[[str, str, str], bool]


def _always(_value: str, _before: str, _behind: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class SecretRule:
    """One kind of secret. `pattern` is RE2's; its first group, where it has one, is the part to mask."""

    name: str
    pattern: str
    accept: Accept = _always
    resume: Resume = after


def _is_random(value: str, _before: str = "", _behind: str = "") -> bool:
    """A key has letters and digits and no rhythm; a name such as "sk-learn-estimator-checks" has not."""
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and entropy(value) >= 3.0


def _is_key_id(value: str, _before: str = "", _behind: str = "") -> bool:
    """ASIA begins words as well; of real ones 1 in 28 has no digit."""
    return not value.startswith("ASIA") or any(c.isdigit() for c in value)


def _is_mixed(value: str, _before: str = "", _behind: str = "") -> bool:
    """Random in capitals, small letters and digits alike; after a prefix as short as "AP" less could be a word."""
    return _is_random(value) and any(c.islower() for c in value) and any(c.isupper() for c in value[3:])


def _is_json_web_token(value: str, _before: str = "", _behind: str = "") -> bool:
    """The first part of a token is a JSON object that names its algorithm (RFC 7515, section 4)."""
    head = value.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header)


def _is_url_password(value: str, _before: str = "", _behind: str = "") -> bool:
    """Whatever stands between colon and at-sign, "password" too, except what is filled in later: `{pw}`, `$PW`."""
    return value.isalpha() or not _PLACEHOLDERS.match(value)


def _is_card(value: str, before: str, behind: str) -> bool:
    return is_card_number("".join(c for c in value if c.isdigit())) and not _is_in_iban(value, before, behind)


def _is_said_card(value: str, before: str, behind: str) -> bool:
    """Somebody calls it a card: the check digit is enough."""
    digits = "".join(c for c in value if c.isdigit())
    return len(set(digits)) > 1 and luhn(digits) and not _is_in_iban(value, before, behind)


_IBAN_HEAD = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4})*[ -]?\Z")
_IBAN_TAIL = re.compile(r"(?:[ -]?[A-Z0-9]{4})*(?:[ -]?[A-Z0-9]{1,3}(?![A-Za-z0-9]))?")


def _is_in_iban(value: str, before: str, behind: str) -> bool:
    """Four groups of an account number can pass for a card; with its country and check digits around it is an IBAN."""
    head, tail = _IBAN_HEAD.search(before), _IBAN_TAIL.match(behind)
    if head is None or tail is None:
        return False
    return is_iban(re.sub("[^A-Z0-9]", "", head.group() + value + tail.group()))


#: Whoever writes one of these means "put yours here".
_PLACEHOLDERS = re.compile(
    r"""(?ix) ^(?: [x*.•?_-]+ | \.{3,} | <.*> | \[.*\] | \{.*\} | %[(s{].* | \$[a-z_({].* | @[a-z_{].*
    | (?:your|my|the|some|an?|new|old|example|sample|dummy|fake|test)?[\s_-]*
      (?:password|passwd|pwd|passphrase|secret|token|api[\s_-]?key|key|credential|value|string|here)s?
      (?:[\s_-]*(?:here|goes[\s_-]here|value|string))?
    | changeme | redacted | masked | hidden | none | null | nil | true | false | undefined | required | optional
    | str(?:ing)? | bytes | int(?:eger)? | bool(?:ean)? )\Z"""
)
#: A name, a call, an index or an attribute: code that fetches a secret, and is none.
_CODE = re.compile(r"^(?:[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)*)(?:[(\[{].*)?[)\],;]*\Z", re.DOTALL)


def is_secret_literal(value: str, _before: str = "", _behind: str = "") -> bool:
    """Says whether a quoted value that stands where a password belongs is one: not a placeholder, not a prompt."""
    text = value.strip()
    return len(text) >= 5 and not _PLACEHOLDERS.match(text) and not text.endswith(":") and entropy(text) >= 2.0


def is_secret_word(value: str, _before: str = "", _behind: str = "") -> bool:
    """Says whether an unquoted value that stands where a password belongs is one.

    It must hold both letters and something that names seldom have, and must not be code.
    """
    text = value.rstrip(".,;:!?)]}")
    if len(text) < 6 or _PLACEHOLDERS.match(text) or entropy(text) < 2.0:
        return False
    has_letter, has_other = any(c.isalpha() for c in text), any(not c.isalpha() and c not in "-_" for c in text)
    return has_letter and has_other and not _is_code(text)


def _is_code(text: str) -> bool:
    """`config.password`, `getpass()` and `db_password` are code; `hunter2` and `x7Kq9mZ2` are not."""
    return bool(_CODE.match(text)) and (any(c in text for c in "._([{") or not any(c.isdigit() for c in text))


#: What stands before a secret: a name that ends in, or is followed by the rest of, one of these words.
_NAME = (
    r"(?i:password|passwd|passphrase|pwd|pass_?phrase|secret|api[_-]?key|apikey|auth[_-]?key|access[_-]?key"
    r"|private[_-]?key|service[_-]?key|account[_-]?key|client[_-]?key|encryption[_-]?key|signing[_-]?key"
    r"|(?:access|auth|bearer|refresh|session|api|bot|id)[_-]?token|token|(?:[a-z0-9][_-]|db|key)pass)"
    r"(?i:[_-]?[a-z0-9_-]{0,20})"
)
_ASSIGNED = _NAME + r"[\"'`]?[ \t]{0,8}(?::=|=>|={1,3}|!=|:)[ \t]{0,8}"

_CARD_GAP = r"[ \x{A0}.\x{2010}-\x{2015}-]"
#: With one of these before it a number with the check digit is a card, whoever issued it.
_CARD_WORDS = (
    r"(?i:\b(?:credit|debit|bank|payment|charge)?[ _-]?(?:card|cc|pan|visa|master ?card|amex|american express"
    r"|diners(?: club)?|discover|jcb|maestro|union ?pay|kreditkarte|karte|carte(?: bancaire)?|tarjeta"
    r"|carta di credito|creditcard|karta"
    r"|kort|cartão)(?:[ _-]?(?:no|nr|number|num|nummer|numéro|número))?\b)[^\d\n.;!?]{0,16}"
)
_LITERAL = r"(?:[rbuf]|rb|@)?"


SECRET_RULES: tuple[SecretRule, ...] = (
    SecretRule("aws-access-key", r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16,32}", _is_key_id),
    SecretRule(
        "aws-secret-key",
        r"(?i:aws|amazon)[\w .-]{0,30}(?i:secret|key|token)[\w .-]{0,20}[\"':=\s>]{1,6}"
        r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)",
        _is_random,
    ),
    SecretRule("github-token", r"gh[opusr]_[A-Za-z0-9_]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"),
    SecretRule(
        "gitlab-token",
        r"(?:(?:glpat|gldt|glft|glsoat|glrt|glcbt|glptt|glimt|glagent|gloas)-|GR1348941)[A-Za-z0-9_-]{20,255}",
    ),
    SecretRule("slack-token", r"(?i:xox[abeoprs])-[A-Za-z0-9-]{10,255}"),
    SecretRule("slack-token", r"xapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,128}\b"),
    SecretRule("slack-webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9_/]{20,255}"),
    SecretRule("stripe-key", r"(?:[rs]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,255}"),
    SecretRule("google-api-key", r"AIza[A-Za-z0-9_-]{35}"),
    SecretRule("google-oauth-token", r"\b(?:ya29\.[A-Za-z0-9_-]{20,500}|GOCSPX-[A-Za-z0-9_-]{28})"),
    SecretRule("anthropic-key", r"\bsk-ant-[A-Za-z0-9_-]{20,255}", _is_random),
    SecretRule("openai-key", r"\bsk-[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9]{20,255}"),
    SecretRule("openai-key", r"\bsk-[A-Za-z0-9_-]{20,255}", _is_random),
    SecretRule("huggingface-token", r"\bhf_[A-Za-z0-9]{30,60}\b"),
    SecretRule("npm-token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    SecretRule("pypi-token", r"pypi-[A-Za-z0-9_-]{50,500}"),
    SecretRule("sendgrid-key", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    SecretRule("digitalocean-token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    SecretRule("docker-token", r"\bdckr_pat_[A-Za-z0-9_-]{20,60}"),
    SecretRule("shopify-token", r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b"),
    SecretRule("databricks-token", r"dapi[a-f0-9]{32}(?:-\d)?"),
    SecretRule("vault-token", r"\bhv[sb]\.[A-Za-z0-9_-]{24,255}", _is_random),
    SecretRule("artifactory-key", r"\b(?:AKC|AP[0-9A-F])[A-Za-z0-9]{10,255}\b", _is_mixed),
    SecretRule("discord-token", r"\b[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"),
    SecretRule("mailchimp-key", r"\b[0-9a-z]{32}-us\d{1,2}\b"),
    SecretRule("softlayer-key", r"api\.softlayer\.com/soap/v3(?:\.1)?/([a-z0-9]{64})\b"),
    SecretRule("square-token", r"sq0[a-z]{3}-[A-Za-z0-9\\_-]{22,43}"),
    SecretRule("telegram-token", r"\b\d{8,10}:[A-Za-z0-9_-]{35}\b"),
    SecretRule("twilio-key", r"\b(?:AC|SK)[a-z0-9]{32}\b", _is_random),
    SecretRule(
        "ibm-cloud-key",
        r"(?i:ibm|iam|cloud)[A-Za-z_-]{0,24}(?i:key|pwd|pass|password|token)[\"'`]?\s{0,4}(?::=|=>|={1,3}|:)\s{0,4}"
        r"[\"'`]?([A-Za-z0-9_-]{44})\b",
        _is_random,
    ),
    SecretRule("age-key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"),
    SecretRule("azure-storage-key", r"(?i:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{42,88}={0,2})"),
    SecretRule(
        "json-web-token",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){0,3}",
        _is_json_web_token,
    ),
    SecretRule(
        "credit-card",
        rf"(?:\b|_)(\d{{12,19}}|\d{{4}}(?:{_CARD_GAP}{{1,2}}\d{{4}}){{2,3}}|\d{{4}}{_CARD_GAP}{{1,2}}\d{{6}}{_CARD_GAP}{{1,2}}\d{{4,5}}"
        rf"|\d{{6}}{_CARD_GAP}\d{{6,13}})(?:\b|_)",
        _is_card,
        within,
    ),
    SecretRule(
        "credit-card",
        rf"\b\d{{4}}(?:{_CARD_GAP}\d{{4}}){{2,3}}{_CARD_GAP}\d{{1,3}}\b|\b\d{{4}}{_CARD_GAP}\d{{5}}{_CARD_GAP}\d{{6}}\b"
        rf"|\b\d{{4}}{_CARD_GAP}\d{{4}}{_CARD_GAP}\d{{5}}\b",
        _is_card,
        within,
    ),
    SecretRule("credit-card", rf"{_CARD_WORDS}(\d(?:{_CARD_GAP}?\d){{11,18}})\b", _is_said_card),
    SecretRule(
        "authorization-header",
        r"(?i:\b(?:authorization|bearer)[\"']?\s*[:=]?\s*(?:bearer|basic|token)?\s+)([A-Za-z0-9+/_.~=-]{20,})",
        _is_random,
    ),
    SecretRule(
        "url-password",
        r"://[^\s:/?#@\[\]\"'<>]{0,128}:([^\s/@\"'<>]{1,256})@",
        _is_url_password,
    ),
    SecretRule("password", rf"{_ASSIGNED}{_LITERAL}\"([^\"\n]{{5,256}})\"", is_secret_literal),
    SecretRule("password", rf"{_ASSIGNED}{_LITERAL}'([^'\n]{{5,256}})'", is_secret_literal),
    SecretRule("password", rf"{_ASSIGNED}([^\s\"'`<>{{}}\[\]()|,;]{{6,256}})", is_secret_word),
    SecretRule(
        "password",
        r"(?i:\b(?:password|passwd|passphrase|pwd|passcode|api key|secret key|access token)\s+(?:is|was)\s*:?\s+)"
        r"[\"'`]?([^\s\"'`]{6,256})",
        is_secret_word,
    ),
)
