"""A model behind any server that speaks OpenAI's chat completions: vLLM, SGLang, TGI, llama.cpp, transformers serve."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import urlsplit

import httpx2
import openai
import stamina
from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Failure, Overloaded, Rejected, Unavailable, Violation
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from headrace_inference.domain import Decoding, Identity, Spent

# A tokenizer takes about four characters of English a token; three leaves room where the server's is not known.
CHARACTERS_A_TOKEN = 3
ATTEMPTS = 3
#: How long a connection may take to be made, in seconds: who is down is found out soon, who thinks has `timeout`.
CONNECT_SECONDS = 5.0
#: Longer than this nobody waits to try again, in seconds: another backend answers sooner.
LONGEST_WAIT = 2.0


def _is_worth_another_try(error: Exception) -> bool:
    """What was turned away, or never arrived. A server that is only slow may still be writing, and be paid for it."""
    if isinstance(error, openai.APITimeoutError):
        return isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
    if isinstance(error, openai.RateLimitError):
        return _asked_to_wait(error) <= LONGEST_WAIT
    return isinstance(error, openai.APIConnectionError | openai.InternalServerError)


def _asked_to_wait(error: openai.APIStatusError) -> float:
    """Seconds that the server asks for; 0 where it does not say."""
    try:
        return float(error.response.headers.get("retry-after", "0"))
    except ValueError:  # a date: whoever says one means long
        return float("inf")


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
    asked: int
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
        """As the server counted; estimated when we left before it said, since it is paid all the same."""
        first = (self.first or self.began) - self.began
        if self.usage is None:
            return Spent(self.reason, self.asked, output_tokens=self.count(self.text), time_to_first_token=first)
        details = self.usage.prompt_tokens_details
        return Spent(
            reason=self.reason,
            input_tokens=self.usage.prompt_tokens,
            cached_input_tokens=(details.cached_tokens or 0) if details else 0,
            output_tokens=self.usage.completion_tokens,
            time_to_first_token=first,
        )


@dataclass(slots=True)
class ServerModel:
    """See ports.Model. asked: the server's own name for the model, which may be a path; empty takes the first listed.

    It knows which weights it has once it was told: until then their version is "unknown".
    """

    client: AsyncOpenAI = field(repr=False)
    asked: str
    host: str
    window: int
    clock: Callable[[], float]
    attempts: int = ATTEMPTS
    is_up: bool = False
    served: str = ""
    version: str = "unknown"
    #: A server's model learned from nobody here.
    tier: Tier = Tier.PUBLIC

    @property
    def identity(self) -> Identity:
        """See ports.Model.identity."""
        return Identity(PurePath(self.served or self.asked).name or "unknown", self.version, self.host)

    def count(self, text: str) -> int:
        """See ports.Model.count: a cautious estimate, since the server's tokenizer is not here."""
        return len(text) // CHARACTERS_A_TOKEN + 1

    async def learn(self) -> None:
        """Asks the server what it runs. Raises Unavailable when it does not answer, or has none."""
        try:
            with _failures(self.host):
                listed = await _listed(self.client, is_needed=not self.asked)
            if not (served := self.asked or next(iter(listed), "")):
                raise Unavailable(f"a model on {self.host}")
        except Failure:
            self.is_up = False
            raise
        self.served, self.is_up = served, True
        # Servers report no hash; when the model was made is the nearest thing to a version that the protocol has, and
        # some list only models of their own cache.
        self.version = str(listed.get(served) or "unknown")

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[ServerWriting]:
        """See ports.Model.write. Tried again only before the first token; leaving closes the connection."""
        began = self.clock()
        with _failures(self.host):
            stream = await self._begin(turns, decoding)
        asked = sum(self.count(turn.text) for turn in turns)
        async with stream:
            yield ServerWriting(stream, self.host, began, self.clock, self.count, asked)

    async def _begin(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncStream[ChatCompletionChunk]:
        if not (model := self.served or self.asked):
            raise Unavailable(self.host)
        async for attempt in stamina.retry_context(
            on=_is_worth_another_try, attempts=self.attempts, wait_initial=0.1, wait_max=LONGEST_WAIT
        ):
            with attempt:
                return await self.client.chat.completions.create(
                    model=model,
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
async def open_server(
    base_url: str,
    *,
    model: str,
    key: str,
    window: int,
    timeout: float,
    attempts: int = ATTEMPTS,
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncIterator[ServerModel]:
    """A model behind a server that need not be up yet; an empty `model` takes the first one that it lists."""
    host = urlsplit(base_url).netloc.rpartition("@")[2]
    patience = httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
    async with AsyncOpenAI(base_url=base_url, api_key=key or "none", timeout=patience, max_retries=0) as client:
        yield ServerModel(client, model, host, window, clock, attempts)


@asynccontextmanager
async def open_server_model(
    base_url: str, *, model: str, key: str, window: int, timeout: float
) -> AsyncIterator[ServerModel]:
    """As open_server, of one that must be up. Raises Unavailable when it does not answer, or lists none."""
    async with open_server(base_url, model=model, key=key, window=window, timeout=timeout) as server:
        await server.learn()
        yield server


async def _listed(client: AsyncOpenAI, *, is_needed: bool) -> dict[str, int]:
    """The server's models by name, and when each was made. A server that cannot list may still serve the named one:
    transformers' own fails where its download cache is empty."""
    try:
        return {m.id: m.created async for m in client.models.list()}
    except openai.APIStatusError:
        if is_needed:
            raise
        return {}
