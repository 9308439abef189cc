from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace_client.scanning import MAX_BYTES, Found, Skipped, read, scan


def reasons(folder: Path) -> dict[str, str]:
    return {item.path.name: item.reason for item in scan([folder]) if isinstance(item, Skipped)}


def ids(*paths: Path) -> list[str]:
    return [item.document_id for item in scan(list(paths)) if isinstance(item, Found)]


def test_a_documents_id_is_its_path_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("z.md", "a/y.HTML", "a/b/x.docx"):
        (tmp_path / name).write_text("x")
    assert ids(tmp_path) == ["a/b/x.docx", "a/y.HTML", "z.md"]
    assert ids(tmp_path / "a" / "y.HTML") == ["y.HTML"]


def test_what_is_left_out_has_its_reason(tmp_path: Path) -> None:
    (tmp_path / ".hidden.md").write_text("x")
    (tmp_path / "none").write_text("x")
    (tmp_path / "empty.md").touch()
    (tmp_path / "dangling.md").symlink_to(tmp_path / "gone.md")
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "large.pdf").open("wb") as large:
        large.truncate(MAX_BYTES + 1)
    with (tmp_path / "just.pdf").open("wb") as just:
        just.truncate(MAX_BYTES)
    assert reasons(tmp_path) == {
        ".hidden.md": "hidden",
        "none": "unsupported type (no extension)",
        "empty.md": "empty",
        "dangling.md": "unreadable: no such file or directory",
        "loop": "a link to a folder",
        "large.pdf": "too large: 4.0 MiB, at most 4 MiB",
    }
    assert ids(tmp_path) == ["just.pdf"]


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path / "a") + b"\xff.md")).write_text("x")
    assert set(reasons(tmp_path).values()) == {"its name cannot be written as text"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("x")
    path.chmod(0)
    [found] = scan([path])
    assert isinstance(found, Found)
    assert read(found) == Skipped(path, "unreadable: permission denied")


def test_a_file_that_vanished_is_unreadable(tmp_path: Path) -> None:
    gone = Found(tmp_path / "a.md", "a.md", "text/markdown")
    assert read(gone) == Skipped(tmp_path / "a.md", "unreadable: no such file or directory")


def test_a_path_that_is_named_is_taken_though_hidden(tmp_path: Path) -> None:
    (tmp_path / ".notes").mkdir()
    (tmp_path / ".notes" / "a.md").write_text("x")
    assert ids(tmp_path / ".notes") == ["a.md"]
