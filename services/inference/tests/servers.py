"""A server that speaks as much of OpenAI's protocol as a backend needs, in this process's loop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

TEXT = "The pour statement hands a value to the basin that called the sluice. "


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Speaking:
    """Lists one model and writes one text. status, headers: of what it answers instead. silence: seconds before it."""

    text: str = TEXT
    model: str = "org/m"
    created: int = 17
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    silence: float = 0.0
    port: int = 0
    prompts: list[list[dict[str, str]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.keys.append(headers.get("authorization", ""))
        answer, kind = self.listed(), "application/json"
        if head.startswith("POST"):
            self.prompts.append(json.loads(body)["messages"])
            await asyncio.sleep(self.silence)
            answer, kind = self.written(), "text/event-stream"
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        status = self.status if head.startswith("POST") else 200
        writer.write(
            f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n"
            f"{more}connection: close\r\n\r\n{answer}".encode()
        )
        try:
            await writer.drain()
            writer.close()
        except ConnectionError:  # whoever asked has left
            pass

    def listed(self) -> str:
        model = {"id": self.model, "object": "model", "created": self.created, "owned_by": "x"}
        return json.dumps({"object": "list", "data": [model]})

    def written(self) -> str:
        if self.status != 200:
            return json.dumps({"error": {"message": "no"}})
        words = [self.chunk({"content": f"{word} "}) for word in self.text.split()]
        usage = {"prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140}
        last = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
        parts = [*words, self.chunk({}, reason="stop"), last]
        return "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"

    def chunk(self, delta: dict[str, str], *, reason: str | None = None) -> dict[str, object]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


@asynccontextmanager
async def speaking(server: Speaking | None = None) -> AsyncIterator[Speaking]:
    """Runs it until the context is left."""
    speaker = server or Speaking()
    listening = await asyncio.start_server(speaker.serve, "127.0.0.1", speaker.port)
    speaker.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield speaker
