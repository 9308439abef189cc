"""Files to Markdown, by markitdown in a process of its own: a slow or hostile file holds up nothing else."""

from __future__ import annotations

import asyncio
import io
import logging
import multiprocessing
import os
import struct
import threading
import warnings
import zipfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from multiprocessing.connection import wait
from typing import Any

from headrace_runtime.errors import Rejected, Unavailable, Violation

from headrace_ingest.checks import MEDIA_TYPES

# What a zipped document may hold when unpacked: a bomb is refused before it is opened.
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
# How long the parser's process may take to come up.
START_SECONDS = 60.0
AS_THEY_ARE = ("text/markdown", "text/plain")


#: From a file and its extension to Markdown, in the parser's process; None when it cannot be read.
Convert = Callable[[bytes, str], str | None]


class ProcessParser:
    """See ports.Parser. The process is started with the first file that needs it, and replaced when it hangs."""

    def __init__(self, *, seconds: float, convert: Convert) -> None:
        self._convert = convert
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._pool: ProcessPoolExecutor | None = None

    async def markdown(self, content: bytes, media_type: str) -> str:
        """Returns a file's text as Markdown. Raises Rejected when it cannot be read, or not in time."""
        if media_type in AS_THEY_ARE:
            return _decoded(content)
        if media_type.endswith("document"):
            _check_unpacked_size(content)
        # One file at a time, so that each has its own time and none ends with another's process.
        async with self._turn:
            text = await self._converted(content, MEDIA_TYPES[media_type])
        if text is None:
            raise Rejected(Violation("content.data", "undecodable", "The file is not what its media type says."))
        # A PDF can name characters that no text may hold: NUL, and halves of pairs, which are not UTF-8.
        return text.replace("\x00", "").encode(errors="replace").decode()

    async def _converted(self, content: bytes, extension: str) -> str | None:
        pool = await self._started()
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(pool, self._convert, content, extension), self._seconds)
        except (TimeoutError, BrokenProcessPool):
            self.close()
            raise Rejected(Violation("content.data", "undecodable", "The file could not be read in time.")) from None
        except asyncio.CancelledError:
            self.close()  # nobody waits for what it does now, and the next file must not
            raise

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in (pool._processes or {}).values():
                process.kill()
            pool.shutdown(wait=False, cancel_futures=True)

    async def _started(self) -> ProcessPoolExecutor:
        """Returns the process, up. Its start is no part of a file's time: on a busy machine it takes seconds."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            pool = self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_prepare)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, os.getpid), START_SECONDS)
            except (TimeoutError, BrokenProcessPool):
                self.close()
                raise Unavailable("the parser") from None
            except asyncio.CancelledError:
                self.close()
                raise
        return self._pool


@asynccontextmanager
async def open_parser(*, seconds: float, convert: Convert | None = None) -> AsyncIterator[ProcessParser]:
    """Opens a parser; `seconds` bounds each file. `convert` is markitdown's unless given: a function of a module."""
    parser = ProcessParser(seconds=seconds, convert=convert or _convert)
    try:
        yield parser
    finally:
        parser.close()


def _decoded(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Rejected(Violation("content.data", "not_utf8", "The file is not UTF-8.")) from None
    if "\x00" in text:
        raise Rejected(Violation("content.data", "has_nul", "The character NUL is not allowed."))
    return text


def _check_unpacked_size(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        raise Rejected(Violation("content.data", "undecodable", "The file is not what its media type says.")) from None
    if size > MAX_UNPACKED_BYTES:
        raise Rejected(Violation("content.data", "too_large", f"Unpacked it has {size} bytes."))


def _prepare() -> None:
    """Runs in the parser's process: its libraries log what is in a file, and a killed service must not leave it."""
    logging.disable()
    warnings.simplefilter("ignore")
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _convert(content: bytes, extension: str) -> str | None:
    """Runs in the parser's process. None when the file cannot be read: a parser's own errors can quote it."""
    # Slow to import, and for this process only.
    from markitdown import MarkItDown, MarkItDownException, StreamInfo  # noqa: PLC0415
    from markitdown.converters import DocxConverter, HtmlConverter, PdfConverter  # noqa: PLC0415

    # One converter, the media type's: with all of them a broken PDF would be read as plain text.
    engine = MarkItDown(enable_builtins=False, enable_plugins=False)
    converter: Any = {".html": HtmlConverter, ".pdf": PdfConverter, ".docx": DocxConverter}[extension]
    engine.register_converter(converter())
    try:
        result = engine.convert_stream(io.BytesIO(content), stream_info=StreamInfo(extension=extension))
    except (MarkItDownException, ValueError, OSError, MemoryError, RecursionError):
        return None
    return str(result.markdown)
