"""Files of each kind become Markdown; what cannot be read is refused, and holds up nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_ingest.adapters.parsing import MAX_UNPACKED_BYTES, ProcessParser, open_parser
from headrace_runtime.errors import Rejected

from services.ingest.tests.files import docx, misbehave, pdf, zipped

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest_asyncio.fixture(scope="module")
async def parser() -> AsyncIterator[ProcessParser]:
    async with open_parser(seconds=60) as opened:
        yield opened


@pytest_asyncio.fixture
async def impatient() -> AsyncIterator[ProcessParser]:
    """A parser whose process does what its file says, and has a second and a half for it."""
    async with open_parser(seconds=1.5, convert=misbehave) as opened:
        await opened.markdown(b"a first file", "text/html")
        yield opened


async def refusal(parser: ProcessParser, content: bytes, media_type: str) -> str:
    with pytest.raises(Rejected) as caught:
        await parser.markdown(content, media_type)
    return str(caught.value)


async def test_text_is_taken_as_it_is(parser: ProcessParser) -> None:
    assert await parser.markdown("# Ä\r\n".encode(), "text/markdown") == "# Ä\r\n"
    assert await parser.markdown(b"\xef\xbb\xbfplain", "text/plain") == "plain"
    assert await refusal(parser, b"\xff\xfe\x00", "text/plain") == "content.data: not_utf8"
    assert await refusal(parser, b"a\x00b", "text/markdown") == "content.data: has_nul"


async def test_html_becomes_markdown(parser: ProcessParser) -> None:
    page = b"<html><head><script>alert(1)</script></head><body><h1>Leave</h1><p>30 <b>days</b>.</p></body></html>"
    assert (await parser.markdown(page, "text/html")).split() == ["#", "Leave", "30", "**days**."]


async def test_a_word_document_is_read(parser: ProcessParser) -> None:
    assert (await parser.markdown(docx("Leave", "Thirty days."), WORD)).split() == ["Leave", "Thirty", "days."]


async def test_a_pdf_is_read(parser: ProcessParser) -> None:
    assert (await parser.markdown(pdf("Thirty days of leave."), "application/pdf")).strip() == "Thirty days of leave."


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"this is no zip", WORD),
        (docx("Leave")[:-30], WORD),
        (zipped({"hello.txt": "no document"}), WORD),
        (zipped({"word/document.xml": "<not-xml"}), WORD),
        (b"this is no PDF", "application/pdf"),
        (pdf("Leave")[:120], "application/pdf"),
    ],
)
async def test_what_is_broken_is_refused(parser: ProcessParser, content: bytes, media_type: str) -> None:
    assert await refusal(parser, content, media_type) == "content.data: undecodable"


async def test_a_file_is_read_as_what_its_media_type_says(parser: ProcessParser) -> None:
    """Not as what it looks like: a PDF with a broken head is no text, and a zip file is no document."""
    assert await refusal(parser, b"# Leave", "application/pdf") == "content.data: undecodable"
    assert await refusal(parser, pdf("Leave"), WORD) == "content.data: undecodable"
    assert "Leave" not in await parser.markdown(b"<!-- Leave -->", "text/html")


async def test_a_bomb_is_refused_before_it_is_unpacked(parser: ProcessParser) -> None:
    bomb = zipped({"word/document.xml": bytes(MAX_UNPACKED_BYTES + 1)})
    assert len(bomb) < 100_000
    assert await refusal(parser, bomb, WORD) == "content.data: too_large"


async def test_a_file_that_hangs_is_refused_and_the_next_is_read(impatient: ProcessParser) -> None:
    started = time.monotonic()
    assert await refusal(impatient, b"hang", "text/html") == "content.data: undecodable"
    assert time.monotonic() - started < 3
    assert await impatient.markdown(b"next", "text/html") == "read next"


async def test_a_file_that_hangs_takes_no_time_and_no_process_from_those_that_wait(impatient: ProcessParser) -> None:
    hanging, *others = [
        asyncio.create_task(impatient.markdown(order, "text/html")) for order in (b"hang", b"slow1", b"slow2", b"slow3")
    ]
    assert await asyncio.gather(*others) == ["read slow1", "read slow2", "read slow3"]
    with pytest.raises(Rejected):
        await hanging


async def test_a_file_that_ends_its_process_is_refused_and_the_next_is_read(impatient: ProcessParser) -> None:
    assert await refusal(impatient, b"die", "text/html") == "content.data: undecodable"
    assert await impatient.markdown(b"next", "text/html") == "read next"


async def test_a_reader_that_is_cancelled_leaves_the_process_to_nobody(impatient: ProcessParser) -> None:
    given_up = asyncio.create_task(impatient.markdown(b"hang", "text/html"))
    await asyncio.sleep(0.1)
    given_up.cancel()
    assert await impatient.markdown(b"next", "text/html") == "read next"


async def test_what_no_text_may_hold_is_left_out(impatient: ProcessParser) -> None:
    text = await impatient.markdown(b"half a pair", "text/html")
    assert text.encode() == b"a?bc"


async def test_what_cannot_be_converted_is_refused(impatient: ProcessParser) -> None:
    assert await refusal(impatient, b"broken", "text/html") == "content.data: undecodable"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_service_that_is_killed_leaves_no_parser_behind() -> None:
    code = (
        "import asyncio, sys\n"
        "from headrace_ingest.adapters.parsing import open_parser\n"
        "from services.ingest.tests.files import misbehave\n"
        "async def main():\n"
        "    async with open_parser(seconds=30, convert=misbehave) as parser:\n"
        "        print(await parser.markdown(b'who', 'text/html'), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, cwd=root) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        assert is_alive(pid)
        service.send_signal(signal.SIGKILL)
        service.wait(10)
    deadline = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < deadline, "the parser's process outlived its service"
        time.sleep(0.05)
