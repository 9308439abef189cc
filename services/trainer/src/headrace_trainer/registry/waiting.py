"""Waiting until a neighbour has loaded a candidate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace_trainer.registry.ports import Loaded

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


async def until_up(
    ask: Callable[[], Awaitable[Loaded]], *, look: float, loading: float, failing: float, sleep: Sleep, clock: Clock
) -> Loaded:
    """How it stands in the end: up; or whatever it is after `loading` seconds, or after failing for `failing` seconds
    on end, since who serves it tries again what could not be loaded. Asked every `look` seconds."""
    began, failing_since = clock(), -1.0
    while (loaded := await ask()).state != "up":
        now = clock()
        failing_since = (now if failing_since < 0 else failing_since) if loaded.state == "failed" else -1.0
        if (failing_since >= 0 and now - failing_since > failing) or now - began > loading:
            break
        await sleep(look)
    return loaded
