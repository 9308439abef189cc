"""An OpenAI-compatible server as the model: transformers' own, and none at all."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_inference.adapters.backends import told
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.openai_server import ServerModel, open_server_model
from headrace_inference.backend_file import PriceFile
from headrace_inference.domain import Decoding, Grounding, Question
from headrace_inference.handlers import answer_question
from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Unavailable

from services.inference.tests.passages import PASSAGES, anything
from services.inference.tests.test_backends import entry, opened

CACHE = Path(__file__).parents[3] / "build" / "models"
START_SECONDS = 240
BRIEF = [Turn("system", "You are brief."), Turn("user", "What is the capital of France?")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, str]]:
    """A base URL and the model that is served there."""
    from headrace_models.generation import wheel_weights

    folder, port = str(wheel_weights(CACHE).folder.resolve()), free_port()
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        folder,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}/v1", folder
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, "the server did not start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the server took too long to start")


@pytest_asyncio.fixture
async def model(served: tuple[str, str]) -> AsyncIterator[ServerModel]:
    url, folder = served
    async with open_server_model(url, model=folder, key="", window=2048, timeout=120) as opened:
        yield opened


@pytest.mark.models
@pytest.mark.timeout(400)
async def test_a_real_server_writes(model: ServerModel) -> None:
    assert model.identity.name.startswith("SmolLM2-135M-Instruct")
    assert model.identity.provider.startswith("127.0.0.1:")
    async with model.write(BRIEF, Decoding(24)) as writing:
        text = "".join([piece async for piece in writing.pieces()])
    assert text.strip()
    assert writing.spent.reason in {"stop", "length"}
    assert 0 < writing.spent.output_tokens <= 24
    assert writing.spent.input_tokens > 10
    assert writing.spent.time_to_first_token > 0


@pytest.mark.models
@pytest.mark.timeout(400)
async def test_a_real_server_answers_a_question(model: ServerModel) -> None:
    async def emit(piece: str) -> None: ...

    question = Question("What does the pour statement do?", Tier.PUBLIC, PASSAGES)
    variant = read_catalogue().variant(DEFAULT)
    answer = await answer_question(question, variant, model=model, admit=anything, emit=emit)
    assert answer.grounding in {Grounding.GROUNDED, Grounding.EXTRACTED}
    assert "pour" in answer.text
    assert answer.spent.output_tokens > 0


@pytest.mark.models
@pytest.mark.timeout(400)
async def test_a_real_server_beside_one_that_is_down(served: tuple[str, str]) -> None:
    url, folder = served
    prices = PriceFile(input=Decimal(1), output=Decimal(10))
    real = entry("real", url, model=folder, timeout=120.0, attempts=3, prices=prices)
    gone = entry("gone", f"http://127.0.0.1:{free_port()}/v1", model="m", rest_after=1)
    async with opened(real, gone) as backends:
        model = backends.default.model_for("acme", DEFAULT, prompt=DEFAULT)
        async with model.write(BRIEF, Decoding(24)) as writing:
            assert [piece async for piece in writing.pieces()]
        with pytest.raises(Unavailable):
            async with backends.by_name["gone"].model.write(BRIEF, Decoding(24)):
                pass
        told_real, told_gone = told(backends)
        expected = backends.default.expected("acme", DEFAULT)
    spent = writing.spent
    assert spent.cost_micro_usd == spent.input_tokens + 10 * spent.output_tokens > 0
    assert (told_real.state, told_real.completions, told_real.failures) == ("up", 1, 0)
    assert (told_gone.state, told_gone.completions, told_gone.failures) == ("resting", 1, 1)
    assert expected.cost_micro_usd == spent.cost_micro_usd
    assert expected.ms > spent.time_to_first_token * 1000


@pytest.mark.models
@pytest.mark.timeout(400)
async def test_leaving_a_real_server_early_is_fine(model: ServerModel) -> None:
    # The last of these: the server may go on writing for whoever has left, and fail others meanwhile.
    async with model.write(BRIEF, Decoding(200)) as writing:
        async for _ in writing.pieces():
            break
    assert writing.spent.output_tokens >= 1
    async with model.write(BRIEF, Decoding(4)) as writing:
        assert [piece async for piece in writing.pieces()]


async def test_no_server_is_unavailable_at_the_start() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        async with open_server_model(f"http://127.0.0.1:{free_port()}/v1", model="m", key="", window=512, timeout=2):
            pass


class Scripted:
    """A server that answers each connection with the next of its responses."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")), 0
        )
        await reader.readexactly(length)
        self.requests += 1
        writer.write(self.responses.pop(0))
        await writer.drain()
        writer.close()


def response(status: str, body: str, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return (head + body).encode()


def event(text: str, *, reason: str = "null") -> str:
    choice = f'{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{reason}}}'
    return f'data: {{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{choice}]}}\n\n'


MODELS = response("200 OK", '{"object":"list","data":[{"id":"org/m","object":"model","created":17,"owned_by":"x"}]}')
WHOLE = response("200 OK", event("Water ") + event("falls.", reason='"stop"') + "data: [DONE]\n\n", "text/event-stream")
TORN = WHOLE[: WHOLE.index(b"falls")]
DOWN = response("503 Service Unavailable", '{"error":{"message":"loading"}}')
BUSY = response("429 Too Many Requests", '{"error":{"message":"later"}}')
WRONG = response("400 Bad Request", '{"error":{"message":"no such parameter"}}')


async def write(*responses: bytes) -> tuple[str, Scripted]:
    scripted = Scripted(MODELS, *responses)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with open_server_model(url, model="", key="k", window=512, timeout=5) as model:
            assert (model.identity.name, model.identity.version) == ("m", "17")
            async with model.write(BRIEF, Decoding(9)) as writing:
                return "".join([piece async for piece in writing.pieces()]), scripted


async def test_it_is_tried_again_before_the_first_token() -> None:
    text, scripted = await write(DOWN, BUSY, WHOLE)
    assert text == "Water falls."
    assert scripted.requests == 4


async def test_it_is_not_tried_again_after_the_first_token() -> None:
    with pytest.raises(Unavailable):
        await write(TORN, WHOLE)


async def test_what_the_server_refuses_is_rejected() -> None:
    with pytest.raises(Rejected):
        await write(WRONG)
