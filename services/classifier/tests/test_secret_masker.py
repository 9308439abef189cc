"""Secrets are masked by span, with typed placeholders; what only looks like one stays."""

from __future__ import annotations

import base64
import json
import time

import pytest
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from headrace_classifier.masking import Span, mask, merge
from headrace_classifier.patterns import PatternSet, PatternsFailed, after, compile_pattern, scan, within
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.verdict import FindingKind
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1 << 20
B64 = "MIIEpAIBAAKCAQEAq7bq0d0Zk3yQ9vL1tWxR5sUe8n2PfGhJcVbNmKlOiUyTrEwQ"


def _jwt() -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "42"})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"])


# Put together from parts, so that no scanner of repositories takes this file for a leak.
SECRETS = [
    ("aws-access-key", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("github-token", "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    ("github-token", "github_pat_" + "11ABCDEFG0a1B2c3D4e5F6_g7H8i9J0"),
    ("gitlab-token", "glpat-" + "a1B2c3D4e5F6g7H8i9J0"),
    ("slack-token", "xoxb-" + "123456789012-123456789012-a1B2c3D4e5F6g7H8i9J0"),
    ("slack-webhook", "https://hooks.slack.com/services/" + "T00000000/B00000000/a1B2c3D4e5F6g7H8i9J0"),
    ("stripe-key", "sk_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2"),
    ("google-api-key", "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"),
    ("anthropic-key", "sk-ant-" + "api03-a1B2c3D4e5F6g7H8i9J0k1L2"),
    ("openai-key", "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0T3BlbkFJa1B2c3D4e5F6g7H8i9J0"),
    ("huggingface-token", "hf_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7"),
    ("npm-token", "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"),
    ("pypi-token", "pypi-" + "AgEIcHlwaS5vcmc" + "a1B2c3D4e5F6g7H8i9J0" * 4),
    ("sendgrid-key", "SG." + "a1B2c3D4e5F6g7H8i9J0kL." + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V"),
    ("json-web-token", _jwt()),
    ("artifactory-key", "AKC" + "p5budTFpbypBqbQGJPz3pGCi28pPivfWczqjfYjAR"),
    ("artifactory-key", "AP6" + "xp5budTFpbyBqbQGJPz3pGCi28pPivfWczqjf"),
    ("discord-token", "M" + "TA1NzY4OTg0MDQyMjA3MjMy.DqwPBg." + "yN4LfU1b2C3d4E5f6G7h8I9j0K1"),
    ("mailchimp-key", "343ea45721923ed956e2b38c31db76aa" + "-us30"),
    ("square-token", "sq0" + "csp-ABCDEFGHIJK_LMNOPQRSTUVWXYZ-0123456789ab" + "cde"),
    ("telegram-token", "110201543" + ":AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"),
    ("twilio-key", "SK" + "a1b2c3d4e5f60718293a4b5c6d7e8f90"),
    ("credit-card", "4111 1111 1111 1111"),
    ("credit-card", "5555-5555-5555-4444"),
    ("credit-card", "2223003122003222"),
    ("credit-card", "3782 822463 10005"),
    ("credit-card", "6011111111111117"),
    ("credit-card", "4111\u20111111\u20111111\u20111111"),
    ("private-key", f"-----BEGIN RSA PRIVATE KEY-----\n{B64}\n-----END RSA PRIVATE KEY-----"),
    ("private-key", f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{B64}\n-----END PGP PRIVATE KEY BLOCK-----"),
    ("private-key", f"-----BEGIN PRIVATE KEY-----\\n{B64}\\n-----END PRIVATE KEY-----"),
    ("private-key", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{B64}\n{B64}"),
]


@pytest.mark.parametrize(("rule", "secret"), SECRETS)
@pytest.mark.parametrize(("before", "behind"), [("", ""), ("Ünser Key: ", " – läuft"), ("(", ")"), ("\n", "\n")])
def test_masks_a_known_secret_and_nothing_beside_it(
    masker: SecretMasker, rule: str, secret: str, before: str, behind: str
) -> None:
    masked = masker.mask(f"{before}{secret}{behind}")
    assert masked.text == f"{before}[secret:{rule}]{behind}"
    assert [(f.rule, f.kind, f.count) for f in masked.findings] == [(rule, FindingKind.SECRET, 1)]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password='hunter2!'", "password='[secret:password]'"),
        ('DB_PASSWORD="correct horse battery"', 'DB_PASSWORD="[secret:password]"'),
        ("pwd=hunter2", "pwd=[secret:password]"),
        ("export API_KEY=9f8e7d6c5b4a", "export API_KEY=[secret:password]"),
        ('{"client_secret": "x7Kq9mZ2"}', '{"client_secret": "[secret:password]"}'),
        ("my password is hunter2, help", "my password is [secret:password] help"),
        ("postgres://bob:s3cr3t@db:5432/x", "postgres://bob:[secret:url-password]@db:5432/x"),
        ("https://bob:password@mail.acme.com/", "https://bob:[secret:url-password]@mail.acme.com/"),
        (
            "Authorization: Bearer abcDEF123456789012345xyz",
            "Authorization: Bearer [secret:authorization-header]",
        ),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [secret:aws-secret-key]",
        ),
    ],
)
def test_masks_the_value_that_is_assigned(masker: SecretMasker, text: str, masked: str) -> None:
    assert masker.mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "password = getpass()",
        "password = getpass.getpass(prompt='Password: ')",
        "password = config.password",
        "password = os.environ['DB_PASSWORD']",
        "password: str = None",
        "password = <your password here>",
        'password = "your-password"',
        'api_key="YOUR_API_KEY"',
        "secret = ${SECRET}",
        "token = tokenize.generate_tokens(readline)",
        "tokens: NAME, NUMBER, STRING",
        "The password is required.",
        "secrets.token_hex(16)",
        "https://{user}:{password}@host/",
        "http://localhost:8080/@scope",
        "550e8400-e29b-41d4-a716-446655440000",
        "e61f8b1c67f5b1498cb93e61f8b1c67f5b1498cb",
        "sk-learn-estimator-checks-and-more",
        "1234567890123456",
        "4111 1111 1111 1112",
        "DE14 6794 9547 0823 7222 72",
        "0000 0000 0000 0000",
        "141592653589793",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "eyJhYmNkZWZn.notatoken",
    ],
)
def test_leaves_what_only_looks_like_a_secret(masker: SecretMasker, text: str) -> None:
    masked = masker.mask(text)
    assert (masked.text, masked.findings) == (text, ())


def test_a_card_behind_another_group_of_digits_is_found(masker: SecretMasker) -> None:
    assert masker.mask("1234 4111 1111 1111 1111 99").text == "1234 [secret:credit-card] 99"


def test_a_card_behind_a_code_that_only_looks_like_an_account_is_found(masker: SecretMasker) -> None:
    assert masker.mask("AB12 4111 1111 1111 1111 99").text == "AB12 [secret:credit-card] 99"


def test_overlapping_hits_become_one_place_named_by_the_most_specific(masker: SecretMasker) -> None:
    masked = masker.mask("password=AKIA" + "IOSFODNN7EXAMPLE")
    assert masked.text == "password=[secret:aws-access-key]"
    assert [(f.rule, f.count) for f in masked.findings] == [("aws-access-key", 1)]


def test_merging_covers_every_span() -> None:
    spans = [Span(4, 9, "b", 2), Span(0, 5, "a", 3), Span(9, 12, "c", 1)]
    assert merge(spans) == [Span(0, 9, "b", 2), Span(9, 12, "c", 1)]


def test_a_span_that_cuts_a_character_raises_rather_than_pass_on() -> None:
    with pytest.raises(UnicodeDecodeError):
        mask("é".encode(), [Span(0, 1, "x")])


PIECES = st.sampled_from(
    [*(secret for _, secret in SECRETS), "password=", "secret: ", "é", "x", "'", '"', "@", "a://b:"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES), st.sampled_from([" ", "\n", "'", ", "]), st.text(st.characters(codec="utf-8"), max_size=40))
def test_masking_twice_changes_nothing(masker: SecretMasker, pieces: list[str], between: str, tail: str) -> None:
    once = masker.mask(between.join([*pieces, tail]))
    assert masker.mask(once.text).text == once.text


ASSIGNED = f"""
AccountKey={"a1B2c3D4" * 10}a1B2c3==
ibm_cloud_iam_key = "{"a1B2c3D4e5F6" * 3}a1B2c3D4"
secret_access_key = "{"a1b2c3d4e5f6" * 4}"
cloudant_password = "{"a1b2c3d4" * 8}"
softlayer_api_key = "{"a1b2c3d4" * 8}"
aws_secret_token = "{"a1B2c3D4e5" * 4}"
//packages.example/:_authToken=11111111-2222-4333-8444-abcdefabcdef
postgres://bob:s3cr3t@db/x
"""
SAMPLES = "\n".join(secret for _, secret in SECRETS) + ASSIGNED
FORMATS = {
    name: plugin()
    for name, plugin in get_mapping_from_secret_type_to_class().items()
    if issubclass(plugin, RegexBasedDetector) and name != "Public IP (ipv4)"  # that one is no secret
}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_format_that_detect_secrets_knows_is_left_after_masking(masker: SecretMasker, name: str) -> None:
    """Another tool's eyes: each of its plugins fires on the samples, and on none of them masked."""
    assert any(set(FORMATS[name].analyze_string(line)) for line in SAMPLES.splitlines())
    masked = masker.mask(SAMPLES).text
    assert not any(set(FORMATS[name].analyze_string(line)) for line in masked.splitlines())


def _hostile() -> dict[str, str]:
    return {
        "letters": "a" * MIB,
        "digits": "1" * MIB,
        "at signs": "@" * MIB,
        "spaces": " " * MIB,
        "colons": ":" * MIB,
        "quotes": "password='" * (MIB // 10),
        "unfinished assignments": "password=" * (MIB // 9),
        "unfinished addresses": "a://b:" * (MIB // 6),
        "unfinished keys": "-----BEGIN PRIVATE KEY-----\n" * (MIB // 28),
        "unfinished tokens": "eyJhbGciOiJI." * (MIB // 13),
        "wrong cards": "4111 1111 1111 1112 " * (MIB // 20),
    }


@pytest.mark.parametrize("name", sorted(_hostile()))
def test_a_mebibyte_made_to_be_slow_is_not(masker: SecretMasker, name: str) -> None:
    text = _hostile()[name]
    began = time.process_time()
    masker.mask(text)
    assert time.process_time() - began < 5  # measured: 0.004 to 0.9 s on a busy core; quadratic would take minutes


def test_the_set_finds_what_each_pattern_finds() -> None:
    patterns = [r"\bab+\b", r"\d{3}", r"x.y"]
    found = PatternSet(patterns).occurring("é ab x-y".encode())
    assert found == [place for place, p in enumerate(patterns) if compile_pattern(p).search("é ab x-y".encode())]


def test_a_set_that_gives_up_is_not_taken_for_an_all_clear() -> None:
    patterns = PatternSet(["a"])
    patterns._set = _GivesUp()
    with pytest.raises(PatternsFailed):
        patterns.occurring(b"a")


class _GivesUp:
    def Match(self, _data: bytes) -> list[int]:  # noqa: N802
        return []


def test_a_rejected_match_hides_another_only_behind_it() -> None:
    pattern = compile_pattern(r"\b\d \d\b")
    second_only = {"accept": lambda start, _end: start > 0}
    assert list(scan(pattern, b"1 2 3", resume=within, **second_only)) == [(2, 5)]
    assert list(scan(pattern, b"1 2 3", resume=after, **second_only)) == []
