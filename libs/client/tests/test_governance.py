"""What the privacy team's commands say, and a policy's file that is checked with nothing running."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from headrace.privacy.v1.approvals_pb2 import Grant
from headrace.privacy.v1.audit_pb2 import AuditEntry
from headrace_client.cli.app import build_app
from headrace_client.cli.approvals import scope_words, state_word
from headrace_client.cli.audit import sentence
from headrace_client.cli.governance import parse_moment
from typer import BadParameter
from typer.testing import CliRunner

GRANT = "4e1b0c9e-7c39-4b8e-9a53-0d8f0e0a6f10"


def entry(action: str, **fields: Any) -> AuditEntry:
    return AuditEntry(**{"action": action, "role": "privacy", "actor": "maria", "tenant": "acme", **fields})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            entry("grant.approved", object=GRANT, purpose=4, tier=3, reason="of wiki until tomorrow"),
            "maria (privacy) approved grant 4e1b0c9e: review of acme's tier-2 records of wiki until tomorrow",
        ),
        (
            entry("read.allowed", role="reviewer", actor="rita", purpose=4, tier=3, records=["q1"], reason="grant x"),
            "rita (reviewer) read 1 tier-2 record of acme to review: grant x",
        ),
        (
            entry("read.denied", purpose=5, tier=2, records=["a", "b"], reason="no"),
            "maria (privacy) was refused 2 tier-1 records of acme to train: no",
        ),
        (
            entry("tier.decided", reason="source wiki is public"),
            "maria (privacy) decided for acme: source wiki is public",
        ),
        (
            entry("dictionary.changed", reason="2 identifiers"),
            "maria (privacy) changed the dictionary of acme: 2 identifiers",
        ),
        (
            entry("policy.loaded", policy_version="2", object="0123456789abcdef"),
            "policy 2 came into force (sha256 0123456789ab…)",
        ),
        (
            entry("key.rotated", reason="7 keys wrapped anew"),
            "maria (privacy) replaced the master key: 7 keys wrapped anew",
        ),
        (entry("erasure.closed", object=GRANT), "maria (privacy) closed erasure 4e1b0c9e of acme"),
        (entry("access.denied", reason="four eyes"), "maria (privacy) was refused: four eyes"),
        (
            entry(
                "access.denied",
                object="headrace.feedback.v1.FeedbackService/Export",
                reason="the role may not; 17 times",
            ),
            "maria (privacy) was refused FeedbackService/Export, speaking for acme: the role may not; 17 times",
        ),
        (
            entry("access.denied", tenant="", object="headrace.query.v1.QueryService/Get", reason="the role may not"),
            "maria (privacy) was refused QueryService/Get: the role may not",
        ),
        (
            entry("access.denied", object="several", reason="12 calls more than it could tell apart"),
            "maria (privacy) refused 12 calls more than it could tell apart",
        ),
        (entry("new.word", object="x", reason="y"), "maria (privacy) new word x of acme: y"),
        (
            entry(
                "route.changed",
                role="developer",
                actor="dana",
                object="how-to",
                reason="version 3, before it version 2",
            ),
            "dana (developer) changed who answers how-to queries of acme: version 3, before it version 2",
        ),
        (
            entry("route.changed", role="developer", actor="dana", object="*", reason="taken away"),
            "dana (developer) changed who answers all other queries of acme: taken away",
        ),
        (
            entry("label.moved", role="developer", actor="dana", object="greet", reason="label production: version 2"),
            "dana (developer) moved a label of acme's prompt greet: label production: version 2",
        ),
        (
            entry("variant.changed", role="developer", actor="dana", object="short", reason="version 1"),
            "dana (developer) changed acme's variant short: version 1",
        ),
        (
            entry("kinds.changed", role="developer", actor="dana", reason="version 1"),
            "dana (developer) changed acme's kinds of query: version 1",
        ),
        (
            entry(
                "model.promoted",
                role="service:trainer",
                actor="trainer",
                object="acme@01",
                reason="what was seen of it decided",
            ),
            "trainer (service:trainer) had model acme@01 answer acme's queries: what was seen of it decided",
        ),
        (
            entry("model.condemned", object="m@1", records=[GRANT], reason="something that it learned from was erased"),
            "maria (privacy) condemned model m@1 of acme: something that it learned from was erased (erasure 4e1b0c9e)",
        ),
        (
            entry("erasure.completed", object=GRANT, reason="an end user"),
            "maria (privacy) completed erasure 4e1b0c9e of acme, an end user: no model that learned from it is left",
        ),
        (entry("read.denied", actor="", reason="r"), "somebody (privacy) was refused 0 records of acme: r"),
    ],
)
def test_every_row_reads_like_a_sentence(row: AuditEntry, told: str) -> None:
    assert sentence(row) == told


def test_a_grant_is_told_in_words() -> None:
    grant = Grant(tenant="acme", purpose="PURPOSE_TRAIN", tier="TIER_2", sources=["crm", "wiki"], state=2)
    assert scope_words(grant) == "training on acme's records up to tier-2, of crm and wiki"
    assert state_word(grant.state) == "live"
    assert state_word(99) == "unknown"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01", "2026-12-01T00:00:00+00:00"),
        ("2026-12-01T09:00", "2026-12-01T09:00:00+00:00"),
        ("2026-12-01T09:00+01:00", "2026-12-01T09:00:00+01:00"),
    ],
)
def test_a_moment_without_a_zone_is_utc(text: str, moment: str) -> None:
    assert parse_moment(text).isoformat() == moment


def test_a_moment_that_is_none_is_told_how_to_write_one() -> None:
    with pytest.raises(BadParameter, match="2026-12-01"):
        parse_moment("next week")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), list(arguments), env={"HEADRACE_ENDPOINTS": "", "COLUMNS": "160"})


def test_the_shipped_file_is_explained_with_nothing_running(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(files("headrace_privacy").joinpath("policy.yaml").read_text())
    whole = run("policy", "explain", "--file", str(file))
    assert whole.exit_code == 0
    assert "Everybody else: denied." in whole.stdout
    cell = run("policy", "explain", "--file", str(file), "--purpose", "train", "--tier", "tier_2")
    assert "purposes.train.tier_2 allows it to service:trainer under a grant" in " ".join(cell.stdout.split())
    assert "does not list them" in cell.stdout
    role = run("policy", "explain", "--file", str(file), "--role", "reviewer", "--json")
    assert '"role": "reviewer", "ruling": "grant"' in role.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["policy", "explain", "--file", "/there/is/none"], "/there/is/none cannot be read"),
        (["policy", "explain", "--purpose", "fun"], "say answer, log, evaluate, review, train, share"),
        (["policy", "explain", "--role", "boss"], "say one of product, developer"),
        (["policy", "decide-tier", "--tenant", "t", "--reason", "r", "--tier", "tier-1"], "--source or --product"),
        (["policy", "decide-tier", "--tenant", "t", "--reason", "r", "--source", "s"], "--take-back"),
        (["policy", "dictionary", "put", "/there/is/none", "--tenant", "t"], "cannot be read"),
        (["approvals", "decide", GRANT], "--approve or --refuse"),
    ],
)
def test_what_is_used_wrongly_says_so(arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert said in " ".join(ran.stderr.replace("│", " ").split())
