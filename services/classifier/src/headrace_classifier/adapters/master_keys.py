"""Master keys in a file of their own, and from the environment."""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from headrace_privacy.sealing import NONCE_BYTES, fresh_nonce
from headrace_runtime.errors import Conflict

from headrace_classifier.keys import KEY_BYTES, DestroyedMaster, NewSecret, UnknownMaster, Wrapped, new_secret

_ENVIRONMENT = "HEADRACE_CLASSIFIER_MASTER_KEY"
#: Replacing the file takes less, in seconds.
REPLACED_SECONDS = 0.1
_MEND = "make one with `openssl rand -base64 32`"


def version_of(key: bytes) -> str:
    """Returns a master key's version: 16 hex digits that tell nothing of 32 random bytes."""
    return hashlib.sha256(b"headrace master key" + key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Ring:
    """The versions of the master key, and those that were destroyed."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)
    destroyed: frozenset[str] = frozenset()

    def wrap(self, secret: bytes, *, context: bytes, nonce: bytes) -> Wrapped:
        """AES-256-GCM under the current version; the nonce leads. `nonce`: 12 bytes, never used with it before."""
        sealed = AESGCM(self.keys[self.current]).encrypt(nonce, secret, context)
        return Wrapped(self.current, nonce + sealed)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        """As MasterKeys.unwrap. Raises Conflict for what is not what it wrapped."""
        if wrapped.version in self.destroyed:
            raise DestroyedMaster
        if wrapped.version not in self.keys:
            raise UnknownMaster
        nonce, sealed = wrapped.content[:NONCE_BYTES], wrapped.content[NONCE_BYTES:]
        try:
            return AESGCM(self.keys[wrapped.version]).decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError):
            raise Conflict(f"a data key was not wrapped by master key {wrapped.version}: its row was changed") from None

    def renewed(self, key: bytes) -> Ring:
        """The ring with a fresh current version."""
        return Ring(version_of(key), {**self.keys, version_of(key): key}, self.destroyed)

    def without(self, version: str) -> Ring:
        """The ring with a version destroyed."""
        left = {name: key for name, key in self.keys.items() if name != version}
        return Ring(self.current, left, self.destroyed | {version})


class FileMasterKeys:
    """See keys.MasterKeys. One file for all instances of the classifier on a machine, 0600; written as a whole."""

    def __init__(self, path: Path, *, secret: NewSecret = new_secret, nonce: NewSecret = fresh_nonce) -> None:
        self._path = path
        self._secret = secret
        self._nonce = nonce
        self._ring: Ring | None = None

    async def exist(self) -> bool:
        return await asyncio.to_thread(self._path.exists)

    async def create(self) -> None:
        key = self._secret()
        content = _to_json(Ring(version_of(key), {version_of(key): key}))
        await asyncio.to_thread(_create, self._path, content)

    async def current(self) -> str:
        return (await self._read()).current

    async def versions(self) -> frozenset[str]:
        return frozenset((await self._read()).keys)

    async def wrap(self, secret: bytes, *, context: bytes) -> Wrapped:
        ring = self._ring or await self._read()
        return ring.wrap(secret, context=context, nonce=self._nonce())

    async def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        ring = self._ring or await self._read()
        if wrapped.version not in ring.keys:  # made by another instance, a moment ago
            ring = await self._read()
        return ring.unwrap(wrapped, context=context)

    async def renew(self) -> str:
        key = self._secret()
        return (await self._change(lambda ring: ring.renewed(key))).current

    async def destroy(self, version: str) -> bool:
        await self._change(lambda ring: ring.without(version))
        return True

    async def _read(self) -> Ring:
        self._ring = await asyncio.to_thread(_read, self._path)
        return self._ring

    async def _change(self, change: Callable[[Ring], Ring]) -> Ring:
        self._ring = await asyncio.to_thread(_changed, self._path, change)
        return self._ring


class EnvironmentMasterKeys:
    """See keys.MasterKeys. What is in the environment can be neither made nor destroyed here: whoever put it there
    puts a new key before it, rotates, and takes the old one out."""

    def __init__(self, keys: Iterable[bytes], *, nonce: NewSecret = fresh_nonce) -> None:
        """Takes the keys; the first one wraps."""
        ring = {version_of(key): key for key in keys}
        self._ring = Ring(next(iter(ring)), ring)
        self._nonce = nonce

    async def exist(self) -> bool:
        return True

    async def create(self) -> None:
        """There is one."""

    async def current(self) -> str:
        return self._ring.current

    async def versions(self) -> frozenset[str]:
        return frozenset(self._ring.keys)

    async def wrap(self, secret: bytes, *, context: bytes) -> Wrapped:
        return self._ring.wrap(secret, context=context, nonce=self._nonce())

    async def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        return self._ring.unwrap(wrapped, context=context)

    async def renew(self) -> str:
        raise Conflict(
            f"the master key is in the environment: set {_ENVIRONMENT}=NEW,OLD, start the classifier anew, and rotate"
        )

    async def destroy(self, version: str) -> bool:  # noqa: ARG002 - whichever it is
        return False


def parse_master_keys(value: str) -> list[bytes]:
    """Reads keys in base64, separated by commas, the current one first. Raises Conflict, never with a key in it."""
    keys = [_decoded(part, origin=_ENVIRONMENT) for part in value.split(",") if part.strip()]
    if not keys:
        raise Conflict(f"{_ENVIRONMENT} holds no key: {_MEND}")
    return keys


def _decoded(text: str, *, origin: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Conflict(f"{origin} is not base64: {_MEND}") from None
    if len(key) != KEY_BYTES:
        raise Conflict(f"{origin} holds a key of {len(key)} bytes, not {KEY_BYTES}: {_MEND}")
    return key


def _to_json(ring: Ring) -> bytes:
    keys = {version: base64.b64encode(key).decode() for version, key in ring.keys.items()}
    content = {"current": ring.current, "keys": keys, "destroyed": sorted(ring.destroyed)}
    return json.dumps(content, indent=2).encode() + b"\n"


def _read(path: Path) -> Ring:
    """Reads the file, once more where it was replaced and wiped meanwhile."""
    try:
        return _parsed(path)
    except Conflict:
        time.sleep(REPLACED_SECONDS)
        return _parsed(path)


def _parsed(path: Path) -> Ring:
    """Raises Conflict, which names the file and never what is in it."""
    try:
        found = json.loads(path.read_bytes())
        keys = {version: _decoded(key, origin=str(path)) for version, key in found["keys"].items()}
        ring = Ring(found["current"], keys, frozenset(found["destroyed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Conflict(f"{path} is no keyring of master keys ({type(error).__name__})") from None
    if ring.current not in ring.keys:
        raise Conflict(f"{path} lacks the master key that it calls the current one")
    return ring


def _create(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = _write_beside(path, content)
    try:
        os.link(written, path)  # of two instances that start at once, one makes the file
    except FileExistsError:
        pass
    finally:
        written.unlink()
    _sync(path.parent)


def _changed(path: Path, change: Callable[[Ring], Ring]) -> Ring:
    """Changes the file, one process at a time."""
    with os.fdopen(os.open(path.with_name(f"{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        ring = change(_read(path))
        _replace(path, _to_json(ring))
    return ring


def _replace(path: Path, content: bytes) -> None:
    """Puts a new file in the old one's place, and writes over what the old one held."""
    written = _write_beside(path, content)
    with path.open("r+b") as old:
        written.replace(path)
        _sync(path.parent)
        old.write(b"\x00" * os.fstat(old.fileno()).st_size)
        old.flush()
        os.fsync(old.fileno())


def _write_beside(path: Path, content: bytes) -> Path:
    beside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def master_keys_of(path: Path | None, value: str) -> FileMasterKeys | EnvironmentMasterKeys:
    """The master keys that the settings name: a file's, or else those of the value. Raises Conflict."""
    if path is not None:
        return FileMasterKeys(path)
    return EnvironmentMasterKeys(parse_master_keys(value))
