"""Files that are brought to this machine: names in folders, and addresses below a root. The rest is tested with
inference, which fetched first (services/inference/tests/test_trained_folders.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from headrace_models.fetching import FetchFailed, fetch, is_below


def hashes_of(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"numbers")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


def test_a_folder_within_is_brought_where_it_is_expected(made: Path, tmp_path: Path) -> None:
    found = fetch(str(made), hashes_of(made), tmp_path / "shelf" / "it", depth=2)
    assert hashes_of(found) == hashes_of(made)


@pytest.mark.parametrize("name", ["a/b.json", "../evil.json", "/etc/x.json", ".hidden.json", "a/../b.json", "./a.json"])
def test_a_name_that_leads_elsewhere_is_unsupported(name: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="unsupported"):
        fetch(str(made), {"model.safetensors": hashes_of(made)["model.safetensors"], name: "0" * 64}, tmp_path / "it")


def test_a_name_of_too_many_parts_is_unsupported(made: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="unsupported"):
        fetch(str(made), {**hashes_of(made), "a/b/c.json": "0" * 64}, tmp_path / "it", depth=2)


@pytest.mark.parametrize(
    ("address", "root", "expected"),
    [
        ("file:///models/own@aa", "/models", True),
        ("/models/own@aa", "file:///models/", True),
        ("memory://models/own@aa", "memory://models", True),
        ("memory:///models/own@aa", "memory://models/", True),
        ("/models", "/models", False),
        ("/modelsandmore/own@aa", "/models", False),
        ("/elsewhere/own@aa", "/models", False),
        ("/models/../etc/own@aa", "/models", False),
        ("file:///models/../etc", "/models", False),
        ("memory://models/own@aa", "/models", False),
        ("nosuch://models/own@aa", "/models", False),
        ("/models/own@aa", "", False),
        ("", "/models", False),
    ],
)
def test_only_what_lies_below_the_root_does(address: str, root: str, expected: bool) -> None:
    assert is_below(address, root) is expected
