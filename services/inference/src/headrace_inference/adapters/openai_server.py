"""A model behind any server that speaks OpenAI's chat completions: vLLM, SGLang, TGI, llama.cpp, transformers serve."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import urlsplit

import openai
import stamina
from headrace_runtime.errors import Overloaded, Rejected, Unavailable, Violation
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from headrace_inference.domain import Decoding, Identity, Spent, Turn

# A tokenizer takes about four characters of English a token; three leaves room where the server's is not known.
CHARACTERS_A_TOKEN = 3
ATTEMPTS = 3

_RETRIED = (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError)


@contextmanager
def _failures(host: str) -> Iterator[None]:
    try:
        yield
    except openai.RateLimitError as error:
        raise Overloaded(host) from error
    except openai.BadRequestError as error:
        raise Rejected(Violation("turns", "unsupported", "The model's server does not take this request.")) from error
    except openai.APIError as error:
        raise Unavailable(host) from error


@dataclass(slots=True)
class ServerWriting:
    """See ports.Writing."""

    stream: AsyncStream[ChatCompletionChunk] = field(repr=False)
    host: str
    began: float
    clock: Callable[[], float]
    count: Callable[[str], int]
    text: str = field(default="", repr=False)
    reason: str = "stop"
    first: float | None = None
    usage: openai.types.CompletionUsage | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """See ports.Writing.pieces."""
        with _failures(self.host):
            async for chunk in self.stream:
                self.usage = chunk.usage or self.usage
                for choice in chunk.choices[:1]:
                    self.reason = choice.finish_reason or self.reason
                    if choice.delta.content:
                        self.first = self.first or self.clock()
                        self.text += choice.delta.content
                        yield choice.delta.content

    @property
    def spent(self) -> Spent:
        """As the server counted; estimated when we left before it said."""
        first = (self.first or self.began) - self.began
        if self.usage is None:
            return Spent(self.reason, output_tokens=self.count(self.text), time_to_first_token=first)
        details = self.usage.prompt_tokens_details
        return Spent(
            reason=self.reason,
            input_tokens=self.usage.prompt_tokens,
            cached_input_tokens=(details.cached_tokens or 0) if details else 0,
            output_tokens=self.usage.completion_tokens,
            time_to_first_token=first,
        )


@dataclass(frozen=True, slots=True)
class ServerModel:
    """See ports.Model."""

    client: AsyncOpenAI = field(repr=False)
    served: str  # the server's own name for it, which may be a path
    identity: Identity
    window: int
    clock: Callable[[], float]

    def count(self, text: str) -> int:
        """See ports.Model.count: a cautious estimate, since the server's tokenizer is not here."""
        return len(text) // CHARACTERS_A_TOKEN + 1

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[ServerWriting]:
        """See ports.Model.write. Tried again only before the first token; leaving closes the connection."""
        began = self.clock()
        host = self.identity.provider
        with _failures(host):
            stream = await self._begin(turns, decoding)
        async with stream:
            yield ServerWriting(stream, host, began, self.clock, self.count)

    async def _begin(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncStream[ChatCompletionChunk]:
        async for attempt in stamina.retry_context(on=_RETRIED, attempts=ATTEMPTS, wait_initial=0.1, wait_max=2.0):
            with attempt:
                return await self.client.chat.completions.create(
                    model=self.served,
                    messages=[_message(turn) for turn in turns],
                    max_tokens=decoding.max_output_tokens,
                    temperature=decoding.temperature,
                    top_p=decoding.top_p,
                    seed=decoding.seed,
                    stream=True,
                    stream_options={"include_usage": True},
                )
        raise AssertionError("stamina ends with a result or an error")


def _message(turn: Turn) -> ChatCompletionMessageParam:
    match turn.role:
        case "system":
            return {"role": "system", "content": turn.text}
        case "user":
            return {"role": "user", "content": turn.text}
        case "assistant":
            return {"role": "assistant", "content": turn.text}


@asynccontextmanager
async def open_server_model(
    base_url: str,
    *,
    model: str,
    key: str,
    window: int,
    timeout: float,
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncIterator[ServerModel]:
    """Connect to a server and learn what it runs; an empty `model` takes the first one that it lists.

    Raises Unavailable when it does not answer, or lists none where none is named.
    """
    host = urlsplit(base_url).netloc
    async with AsyncOpenAI(base_url=base_url, api_key=key or "none", timeout=timeout, max_retries=0) as client:
        with _failures(host):
            listed = await _listed(client, is_needed=not model)
        if not (served := model or next(iter(listed), "")):
            raise Unavailable(f"a model on {host}")
        # Servers report no hash; when the model was made is the nearest thing to a version that the protocol has, and
        # some list only models of their own cache.
        identity = Identity(PurePath(served).name, str(listed.get(served) or "unknown"), host)
        yield ServerModel(client, served, identity, window, clock)


async def _listed(client: AsyncOpenAI, *, is_needed: bool) -> dict[str, int]:
    """The server's models by name, and when each was made. A server that cannot list may still serve the named one:
    transformers' own fails where its download cache is empty."""
    try:
        return {m.id: m.created async for m in client.models.list()}
    except openai.APIStatusError:
        if is_needed:
            raise
        return {}
