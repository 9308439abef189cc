"""Training runs and the loop as people and programs read them."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from headrace.training.v1 import service_pb2, training_pb2

from headrace_client.cli.governance import moment

_STATES = {
    training_pb2.RUN_STATE_WAITING: "waiting",
    training_pb2.RUN_STATE_BUILDING: "building its dataset",
    training_pb2.RUN_STATE_TRAINING: "training",
    training_pb2.RUN_STATE_GATING: "before the gate",
    training_pb2.RUN_STATE_DONE: "done",
    training_pb2.RUN_STATE_REFUSED: "refused by the gate",
    training_pb2.RUN_STATE_CANCELLED: "cancelled",
    training_pb2.RUN_STATE_FAILED: "failed",
}
ENDED = (
    training_pb2.RUN_STATE_DONE,
    training_pb2.RUN_STATE_REFUSED,
    training_pb2.RUN_STATE_CANCELLED,
    training_pb2.RUN_STATE_FAILED,
)
_FAILURES = {
    "empty_dataset": "nothing is left to learn from: see headrace datasets build --purpose train with the same filters",
    "not_allowed": "the policy, or the lack of a grant, leaves nothing: headrace approvals request --purpose train",
    "no_such_dataset": "there is no such dataset",
    "grant_ended": "a grant that its dataset stands on ended in the middle; a run on the rest was asked for",
    "erased": "something in its dataset was erased in the middle; a run on the rest was asked for",
    "no_champion": "the variant that the rules name, or its prompt, is not there",
    "no_such_base": "the base is not on the trainer's machine",
    "corrupt_base": "the base's files cannot be read",
    "bad_rows": "no row can be learned from: no answer is supported by the passages that are left of it",
    "nan_loss": "the loss became no number: try a lower learning rate",
    "disk_full": "the disk is full",
    "corrupt_checkpoint": "a checkpoint cannot be read",
    "corrupt_weights": "what was written is not what was read back: see to the disk",
    "out_of_memory": "the worker had not enough memory: try a smaller context",
    "time_limit": "the recipe's most seconds were over",
    "unsupported": "this model cannot be trained in this way",
    "worker_failed": "the worker ended again and again: see the trainer's log",
    "gate_failed": "the gate could not be asked: see the trainer's log",
    "paused": "somebody paused the loop at once",
    "person": "somebody stopped it",
}
COLUMNS = ["Run", "Of", "State", "Because of", "Rows", "Step", "Loss", "Model", "Began"]


def state_word(run: training_pb2.TrainingRun) -> str:
    """ "training"."""
    return _STATES.get(run.state, "unknown")


def target_word(run: training_pb2.TrainingRun) -> str:
    """ "generator"."""
    return training_pb2.Target.Name(run.target).removeprefix("TARGET_").lower() if run.target else "generator"


def cause_word(cause: training_pb2.Cause.ValueType) -> str:
    """ "drift"."""
    return training_pb2.Cause.Name(cause).removeprefix("CAUSE_").lower()


def run_row(run: training_pb2.TrainingRun) -> list[str]:
    """A line of the list."""
    return [
        run.run_id,
        target_word(run),
        f"{state_word(run)}{f' ({run.failure})' if run.failure else ''}",
        ", ".join(map(cause_word, run.causes)),
        f"{run.rows:,}" if run.rows else "",
        f"{run.step:,} of {run.steps:,}" if run.steps else "",
        f"{run.loss:.3f}" if run.step else "",
        run.model,
        moment(run.created_at),
    ]


def run_lines(run: training_pb2.TrainingRun) -> list[str]:
    """A run in sentences."""
    lines = [
        f"Training {run.run_id}{_of(run)}: {state_word(run)}",
        f"because of {', '.join(map(cause_word, run.causes))}{_because(run)}; asked for by {run.created_by}",
    ]
    if run.failure:
        lines.append(_FAILURES.get(run.failure, run.failure.replace("_", " ")))
    if run.dataset_id:
        lines.append(f"dataset {run.dataset_id[:12]}: {run.rows:,} rows to learn from, {run.held_out_rows:,} held out")
    if run.without_grant:
        lines.append(f"{run.without_grant:,} rows were left out: there is no grant to train on them")
    if run.step:
        lines.append(progress_line(run))
    if run.model:
        lines.append(f"model {run.model}: headrace models show {run.model} --tenant {run.tenant}")
    if run.trace_id:
        lines.append(f"trace {run.trace_id}")
    return lines


def _of(run: training_pb2.TrainingRun) -> str:
    """Says what is trained where that is not what writes answers."""
    of = target_word(run)
    return "" if of == "generator" else f" of {'the kinds' if of == 'kinds' else f'the {of}'}"


def _because(run: training_pb2.TrainingRun) -> str:
    return f" ({', '.join(run.because)})" if run.because else ""


def progress_line(run: training_pb2.TrainingRun) -> str:
    """ "step 40 of 120, loss 1.234, …"."""
    held_out = f", {run.held_out_loss:.3f} on held-out rows" if run.held_out_loss else ""
    speed = f"{run.tokens_a_second:,.0f} tokens/s, {run.compute_seconds:,.0f} s of compute"
    return f"step {run.step:,} of {run.steps:,}, loss {run.loss:.3f}{held_out}; {speed}"


def run_json(run: training_pb2.TrainingRun) -> dict[str, Any]:
    """A run for programs."""
    told: dict[str, Any] = MessageToDict(
        run, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    told["target"] = target_word(run)
    told["state"] = training_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()
    told["causes"] = [cause_word(cause) for cause in run.causes]
    return told


def loop_lines(loop: service_pb2.GetLoopResponse) -> list[str]:
    """How the loop stands, in sentences."""
    rules = loop.rules
    lines = [_pause_line(loop), f"live {loop.live or 'the base'}; canary {loop.canary or 'none'}"]
    lines += [f"live {of} {model}" for of, model in sorted(loop.live_by_target.items()) if of != "generator"]
    if loop.run_id:
        lines.append(f"run {loop.run_id}")
    lines.append(
        f"in the last 24 hours {loop.runs_today} of {rules.runs_a_day} runs, "
        f"{loop.compute_seconds_today:,.0f} of {rules.compute_seconds_a_day:,} seconds of compute"
    )
    return [*lines, *rules_lines(rules)]


def _pause_line(loop: service_pb2.GetLoopResponse) -> str:
    if not loop.paused:
        return "The loop is on."
    because = f": {loop.paused_because}" if loop.paused_because else ""
    return f"The loop is paused since {moment(loop.paused_at)} by {loop.paused_by}{because}"


def rules_lines(rules: service_pb2.LoopRules) -> list[str]:
    """The rules in sentences."""
    starts = "drift, stewards, erasures and the schedule start runs" if rules.automatic else "nothing starts by itself"
    schedule = f"every {rules.schedule_seconds:,} s" if rules.schedule_seconds else "none"
    promoted = "by itself" if rules.promote_by_itself else "a person"
    targets = ", ".join(training_pb2.Target.Name(one).removeprefix("TARGET_").lower() for one in rules.targets)
    recipe, share = rules.recipe, f"{rules.canary_share:.0%} of queries, {rules.canary_least_answers} answers at least"
    method = training_pb2.Method.Name(recipe.method).removeprefix("METHOD_").lower()
    return [
        f"rules {rules.version}{f' by {rules.changed_by}' if rules.changed_by else ' (nobody has set any)'}: {starts}",
        f"a cause waits {rules.debounce_seconds:,} s for more; schedule: {schedule}; they train: {targets}",
        f"recipe: {method}, {recipe.epochs:g} epochs, learning rate {recipe.learning_rate:g}, rank {recipe.rank}",
        f"canary: {share}, {rules.canary_most_seconds:,} s at most, margin {rules.canary_margin:.0%}, then {promoted}",
        f"gate: {rules.gate_cases} held-out rows{f', must pass {rules.must_pass}' if rules.must_pass else ''}",
        f"erased rows leave the models within {rules.erasure_seconds:,} s",
    ]


def loop_json(loop: service_pb2.GetLoopResponse) -> dict[str, Any]:
    """The loop for programs."""
    told: dict[str, Any] = MessageToDict(
        loop, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told
