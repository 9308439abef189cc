"""An OpenAI-compatible server that answers after a fixed time, without work: the rest is Headrace's own time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MODEL = "paced"
# How long each answer takes, in seconds. With queries one after the other it would otherwise be measured how many
# queries the processor can take, not what one of them waits for.
SECONDS = 0.25
# A sentence of the document that the question is about, so that the answer is found grounded.
ANSWER = (
    "When the nonlocal statement is used, names refer to previously bound variables in the nearest enclosing scope [1]."
)


@contextmanager
def serving() -> Iterator[str]:
    """Serves in a process of its own, on a free port of the loopback interface, and gives the base address."""
    command = [sys.executable, "-m", "bench.paced_model"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


async def _serve() -> None:
    server = await asyncio.start_server(_converse, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await _head(reader):
            length = next((int(line[15:]) for line in head if line.lower().startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            if body:
                await asyncio.sleep(SECONDS)
            writer.write(_respond(head[0], body))
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> list[str]:
    lines: list[str] = []
    while (line := (await reader.readline()).decode("latin-1").rstrip("\r\n")) or (not lines and not reader.at_eof()):
        lines.append(line)
    return lines


def _respond(request: str, body: bytes) -> bytes:
    if request.startswith("GET"):
        return _http(json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}), "application/json")
    if json.loads(body).get("stream"):
        return _http(_events(), "text/event-stream")
    return _http(json.dumps({**_base("chat.completion"), "choices": [_whole()], "usage": _USAGE}), "application/json")


_USAGE = {"prompt_tokens": 400, "completion_tokens": 24, "total_tokens": 424}


def _base(kind: str) -> dict[str, object]:
    return {"id": "x", "object": kind, "created": 0, "model": MODEL}


def _whole() -> dict[str, object]:
    return {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}


def _events() -> str:
    chunk = _base("chat.completion.chunk")
    text = {"index": 0, "delta": {"role": "assistant", "content": ANSWER}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    parts = [{**chunk, "choices": [text]}, {**chunk, "choices": [end]}, {**chunk, "choices": [], "usage": _USAGE}]
    return "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"


def _http(body: str, content_type: str) -> bytes:
    content = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


if __name__ == "__main__":
    asyncio.run(_serve())
