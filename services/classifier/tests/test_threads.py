"""A detector that fails or hangs makes the tier TIER_2 and costs no other text its turn; masking fails closed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from headrace_classifier.adapters import threads
from headrace_classifier.adapters.threads import (
    ABANDONED_AT_MOST,
    MaskingFailed,
    ThreadedInspector,
    TimeLimit,
    open_inspector,
)
from headrace_classifier.handlers import classify
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.submission import Provenance, Submission
from headrace_classifier.verdict import Finding, FindingKind, Masked, TierReason
from headrace_privacy import Tier
from headrace_privacy.policy import Policy

POLICY = Policy("1", {}, {})
SUBMISSION = Submission(Provenance("demo", declared=Tier.PUBLIC), "canary-text, password=hunter2")


class Finds:
    def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
        return ()


class Raises:
    def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
        raise RuntimeError(text)


class Hangs:
    """Hangs until released, on texts that say so."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
        if "canary-text" in text:
            self.release.wait(30)
        return ()


class MaskingRaises:
    def mask(self, text: str) -> Masked:
        raise ValueError(text)


Open = Callable[..., AbstractAsyncContextManager[ThreadedInspector]]


@pytest.fixture
def inspector(masker: SecretMasker) -> Open:
    @asynccontextmanager
    async def open_one(detector: object, mask: object = masker, count: int = 1) -> AsyncIterator[ThreadedInspector]:
        limit = TimeLimit(seconds=0.1, seconds_per_mebibyte=1.0)
        async with open_inspector(mask, detector, limit=limit, threads=count) as opened:  # type: ignore[arg-type]
            yield opened

    return open_one


@pytest.mark.parametrize(("detector", "rule"), [(Raises(), "detection-failed"), (Hangs(), "detection-too-slow")])
async def test_a_detector_that_fails_means_the_strictest_tier_and_masked_text(
    inspector: Open, detector: object, rule: str
) -> None:
    async with inspector(detector) as opened:
        verdict = await classify(SUBMISSION, policy=POLICY, inspector=opened)
    assert (verdict.tier, verdict.reason) == (Tier.TIER_2, TierReason.DETECTION_FAILED)
    assert Finding(rule, FindingKind.UNSURE, 1) in verdict.findings
    assert verdict.text.reveal() == "canary-text, password=[secret:password]"


async def test_a_hanging_detector_does_not_hold_up_the_next_text(inspector: Open) -> None:
    async with inspector(Hangs()) as opened:
        assert await opened.detect("canary-text") == threads.TOO_SLOW
        assert await opened.detect("another") == ()


async def test_the_event_loop_runs_on_while_a_detector_hangs(inspector: Open) -> None:
    async with inspector(Hangs()) as opened:
        detection = asyncio.create_task(opened.detect("canary-text"))
        longest, last = 0.0, time.monotonic()
        while not detection.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.09  # the limit is 0.1 s: had the loop waited for it, the gap would be at least that


async def test_a_detector_that_always_hangs_does_not_pile_up_threads(inspector: Open) -> None:
    hanging = Hangs()
    async with inspector(hanging, count=2) as opened:
        before = threading.active_count()
        for _ in range(ABANDONED_AT_MOST + 5):
            assert await opened.detect("canary-text") == threads.TOO_SLOW
        assert threading.active_count() <= before + ABANDONED_AT_MOST
        hanging.release.set()
        async with asyncio.timeout(5):
            while await opened.detect("another") != ():
                await asyncio.sleep(0.01)


async def test_masking_that_fails_passes_nothing_on_and_says_nothing(
    inspector: Open, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with inspector(Finds(), MaskingRaises()) as opened:
        with pytest.raises(MaskingFailed) as error:
            await classify(SUBMISSION, policy=POLICY, inspector=opened)
    assert "canary-text" not in repr(error.value) + caplog.text + "".join(capsys.readouterr())
    assert error.value.__cause__ is None


async def test_a_caller_that_gives_up_gets_its_thread_back_to_the_others(inspector: Open) -> None:
    hanging = Hangs()
    async with inspector(hanging) as opened:
        impatient = asyncio.create_task(opened.detect("canary-text"))
        await asyncio.sleep(0.02)
        impatient.cancel()
        hanging.release.set()
        assert await opened.detect("another") == ()


async def test_waiting_for_a_thread_does_not_use_up_the_time_limit(inspector: Open) -> None:
    class Slow:
        def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
            time.sleep(0.05)
            return ()

    async with inspector(Slow()) as opened:
        found = await asyncio.gather(*(opened.detect("text") for _ in range(6)))  # 0.3 s in all, 0.05 s each
    assert found == [()] * 6


def test_a_longer_text_has_more_time() -> None:
    limit = TimeLimit(seconds=2, seconds_per_mebibyte=10)
    assert limit.of("x" * (1 << 20)) == pytest.approx(12)
