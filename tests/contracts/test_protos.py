"""The messages: linted, and readable by whoever still holds yesterday's.

protos/released.binpb is the image of the contracts as last released. It is renewed with a release, and only then:

    cd protos && ../.venv/bin/buf build --exclude-source-info -o released.binpb
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BUF = Path(sys.executable).with_name("buf")


def buf(folder: Path, *arguments: str) -> str:
    """What buf complains about; empty when content."""
    done = subprocess.run([BUF, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The contracts, to be tampered with."""
    shutil.copytree(PROTOS / "headrace", tmp_path / "headrace")
    for name in ("buf.yaml", "released.binpb"):
        shutil.copy(PROTOS / name, tmp_path / name)
    return tmp_path


def tamper(folder: Path, file: str, *, old: str, new: str) -> None:
    path = folder / "headrace" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_messages_are_linted(copy: Path) -> None:
    assert buf(copy, "lint") == ""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("THUMB_UNSPECIFIED = 0", "THUMB_NONE = 0", "_UNSPECIFIED"),
        ("  // Good.\n", "", "comment"),
        ("string feedback_id = 1", "string feedbackId = 1", "lower_snake_case"),
    ],
)
def test_a_careless_message_is_caught(copy: Path, old: str, new: str, rule: str) -> None:
    tamper(copy, "feedback/v1/feedback.proto", old=old, new=new)
    assert rule in buf(copy, "lint")


def test_yesterdays_readers_can_read_todays_messages(copy: Path) -> None:
    assert buf(copy, "breaking", "--against", "released.binpb") == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string query_id = 3;", "string query_id = 30;"),
        ("uint32 rating = 7;", "string rating = 7;"),
        ("THUMB_DOWN = 2;", "THUMB_DOWN = 3;"),
    ],
)
def test_a_breaking_change_is_caught(copy: Path, old: str, new: str) -> None:
    tamper(copy, "feedback/v1/feedback.proto", old=old, new=new)
    assert "feedback.proto" in buf(copy, "breaking", "--against", "released.binpb")


def test_a_new_field_is_no_breaking_change(copy: Path) -> None:
    added = "  // New.\n  string added = 99;\n}\n\n// Up or down.\nenum"
    tamper(copy, "feedback/v1/feedback.proto", old="}\n\n// Up or down.\nenum", new=added)
    assert buf(copy, "breaking", "--against", "released.binpb") == ""
