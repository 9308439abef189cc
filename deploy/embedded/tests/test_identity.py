"""The keys of a Headrace on one machine: made once, readable by nobody else, limited to whom they belong to."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from headrace_embedded import checks
from headrace_embedded.errors import NotReady
from headrace_embedded.identity import CALLERS, ensure_keys, keys_of
from headrace_identity import Limit, open_identities, read_private_key


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    before = files_of(keys.folder)
    assert set(before) == {
        "issuer.jwk",
        "publisher.jwk",
        "identities.json",
        *(f"services/{name}.jwk" for name in CALLERS),
    }
    assert ensure_keys(tmp_path) == keys == keys_of(tmp_path)
    assert files_of(keys.folder) == before


def test_nobody_else_reads_them(tmp_path: Path) -> None:
    folder = ensure_keys(tmp_path).folder
    folder.chmod(0o755)
    ensure_keys(tmp_path)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_each_key_speaks_for_its_own(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    everybody = frozenset({"*"})
    expected: dict[Path, Limit | None] = {
        keys.folder / "issuer.jwk": None,
        keys.folder / "publisher.jwk": Limit(frozenset({"product", "steward"}), everybody),
        **{keys.service(name): Limit(frozenset({f"service:{name}"}), everybody) for name in CALLERS},
    }
    async with open_identities(str(keys.identities)) as identities:
        for path, limit in expected.items():
            believed = identities.known(read_private_key(path).kid)
            assert believed is not None
            assert believed.limit == limit
    assert "d" not in {name for key in json.loads(keys.identities.read_text())["keys"] for name in key}


def test_a_key_that_is_taken_away_is_made_anew_and_others_keys_stay(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    content = json.loads(keys.identities.read_text())
    content["keys"].append({"kty": "OKP", "kid": "a product's"})
    keys.identities.write_text(json.dumps(content))
    old = read_private_key(keys.folder / "publisher.jwk").kid
    (keys.folder / "publisher.jwk").unlink()
    ensure_keys(tmp_path)
    listed = {key["kid"] for key in json.loads(keys.identities.read_text())["keys"]}
    assert {"a product's", read_private_key(keys.folder / "publisher.jwk").kid} <= listed
    assert old in listed  # whoever rotates a key says when the old one is believed no more


def test_the_doctor_finds_keys_that_others_may_read(tmp_path: Path) -> None:
    assert checks.keys(tmp_path).found.startswith("to be made")
    folder = ensure_keys(tmp_path).folder
    assert checks.keys(tmp_path).verdict is checks.Verdict.OK
    (folder / "issuer.jwk").chmod(0o640)
    exposed = checks.keys(tmp_path)
    assert exposed.verdict is checks.Verdict.FAILS
    assert "issuer.jwk" in exposed.found


def test_a_broken_key_is_said(tmp_path: Path) -> None:
    (ensure_keys(tmp_path).folder / "issuer.jwk").write_text("{}")
    with pytest.raises(NotReady, match=r"issuer.jwk is not a private key"):
        ensure_keys(tmp_path)
