"""The part of the client that trains models, and that stops the loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from headrace.training.v1 import service_pb2, training_pb2
from headrace.training.v1.service_pb2_grpc import LoopServiceStub, TrainingServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.training.v1.service_pb2_grpc import LoopServiceAsyncStub, TrainingServiceAsyncStub

#: Seconds that a call may take, that stopping everything may, and that a run may be followed.
_CALL_TIMEOUT = 30.0
_STOP_TIMEOUT = 120.0
_FOLLOW_TIMEOUT = 24 * 3600.0


class Training:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def start_training(
        self, request: service_pb2.StartTrainingRequest, *, timeout: float = _CALL_TIMEOUT
    ) -> service_pb2.StartTrainingResponse:
        """Asks for a run; it goes on by itself. While one waits, the cause is folded into that one."""
        callee, stub = self._training()
        return await callee.unary(stub.StartTraining, request, name="StartTraining", timeout=timeout)

    async def follow_training(
        self, run_id: str, *, tenant: str, timeout: float = _FOLLOW_TIMEOUT
    ) -> AsyncGenerator[training_pb2.TrainingRun, None]:
        """Yields a run whenever it has changed, and lastly as it ended; without its curve."""
        callee, stub = self._training()
        request = service_pb2.WatchTrainingRequest(tenant=tenant, run_id=run_id)
        stream = callee.follow(stub.WatchTraining, request, name="WatchTraining", timeout=timeout)
        async with aclosing(stream) as responses:
            async for response in responses:
                yield response.run

    async def get_training(
        self, run_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> training_pb2.TrainingRun:
        """One run, with its curve."""
        callee, stub = self._training()
        request = service_pb2.GetTrainingRequest(tenant=tenant, run_id=run_id)
        return (await callee.unary(stub.GetTraining, request, name="GetTraining", timeout=timeout)).run

    async def trainings(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> list[training_pb2.TrainingRun]:
        """A tenant's runs, newest first."""
        callee, stub = self._training()
        request = service_pb2.ListTrainingsRequest(tenant=tenant)
        return list((await callee.unary(stub.ListTrainings, request, name="ListTrainings", timeout=timeout)).runs)

    async def cancel_training(
        self, run_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> training_pb2.TrainingRun:
        """Stops a run. Its checkpoints are deleted."""
        callee, stub = self._training()
        request = service_pb2.CancelTrainingRequest(tenant=tenant, run_id=run_id)
        return (await callee.unary(stub.CancelTraining, request, name="CancelTraining", timeout=timeout)).run

    async def get_loop(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> service_pb2.GetLoopResponse:
        """The rules in force, the budget's use, and whether the loop is paused."""
        callee, stub = self._loop()
        request = service_pb2.GetLoopRequest(tenant=tenant)
        return await callee.unary(stub.GetLoop, request, name="GetLoop", timeout=timeout)

    async def put_loop_rules(
        self, rules: service_pb2.LoopRules, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> service_pb2.LoopRules:
        """Replaces the rules; returns them as stored."""
        callee, stub = self._loop()
        request = service_pb2.PutLoopRulesRequest(tenant=tenant, rules=rules)
        return (await callee.unary(stub.PutLoopRules, request, name="PutLoopRules", timeout=timeout)).rules

    async def pause_loop(
        self, *, tenant: str, reason: str = "", at_once: bool = False, timeout: float = _STOP_TIMEOUT
    ) -> service_pb2.PauseLoopResponse:
        """Has nothing start, and no canary go further; at once, what trains is stopped and canaries are taken out. An
        empty tenant is everybody."""
        callee, stub = self._loop()
        request = service_pb2.PauseLoopRequest(tenant=tenant, reason=reason, at_once=at_once)
        return await callee.unary(stub.PauseLoop, request, name="PauseLoop", timeout=timeout)

    async def resume_loop(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> None:
        """Takes that very pause away."""
        callee, stub = self._loop()
        request = service_pb2.ResumeLoopRequest(tenant=tenant)
        await callee.unary(stub.ResumeLoop, request, name="ResumeLoop", timeout=timeout)

    def _training(self) -> tuple[Callee, TrainingServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.TrainingService")
        return callee, TrainingServiceStub(callee.channel)

    def _loop(self) -> tuple[Callee, LoopServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.LoopService")
        return callee, LoopServiceStub(callee.channel)
