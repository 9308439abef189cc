"""The steps up to the steward's change: traffic, its shift, what the drift monitor makes of it, what is missing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from headrace.drift.v1.drift_pb2 import ALERT_STATE_OPEN, Alert
from headrace.inference.v1.routes_pb2 import Arm, Route, VariantReference
from headrace.training.v1.service_pb2 import StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    CAUSE_STEWARD,
    RUN_STATE_GATING,
    RUN_STATE_TRAINING,
    RUN_STATE_WAITING,
    TrainingRun,
)
from headrace_client.errors import NotFound, Overloaded, Refused, Unavailable

from headrace_embedded.demo import contest, corpus, sql_guide, tour
from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.loop import asking, rules, words
from headrace_embedded.demo.loop.asking import Asking, Heard
from headrace_embedded.demo.loop.stage import Facts, Stage
from headrace_embedded.demo.questions import KnownQuestion, halves, known_questions
from headrace_embedded.errors import NotReady

#: The variant that answers at first: the prompt of that name, and as many passages as hold the answer.
CHAMPION, PASSAGES = contest.A, 2
#: Questions about Python: as many as a baseline wants, and some more.
BASELINE = 70
#: The one who will ask to be forgotten, and how many questions they ask.
ERASED_ASKS = 6
#: Seconds until an alert must have been raised: some looks of the monitor.
ALERT_S = 120.0
UNDER_WAY = (RUN_STATE_WAITING, RUN_STATE_TRAINING, RUN_STATE_GATING)


def champion(stage: Stage) -> VariantReference:
    """The variant that answered before the model."""
    return VariantReference(name=CHAMPION, version=stage.known("prepare", "version"))


def erased(stage: Stage) -> str:
    """The end user who asks to be forgotten."""
    return f"ada-{stage.round}"


async def put_rules(stage: Stage, *, debounce_seconds: int) -> None:
    """Tells the loop what to learn from, once the questions have turned."""
    since = datetime.fromisoformat(stage.known("shift", "began"))
    told = rules.loop_rules(champion(stage), debounce_seconds=debounce_seconds, since=since)
    await stage.client.put_loop_rules(told, tenant=TENANT)


async def prepare(stage: Stage) -> Facts:
    """Loads the reference, takes away what an earlier round left, and tells who answers and how the loop decides."""
    reference = corpus.reference()
    with stage.bar("Documents", len(reference)) as advance:
        await tour.put_documents(stage.client, reference, advance)
    await _clear(stage)
    await contest.learn_kinds(stage.client, halves(known_questions())["tune"])
    variant = await contest.put_variant(stage.client, CHAMPION, passages=PASSAGES)
    route = Route(kind="*", arms=[Arm(variant=variant, weight=1)], reason="Who answers before the tour of the loop")
    await stage.client.put_route(route, tenant=TENANT)
    told = rules.loop_rules(variant, debounce_seconds=rules.SOONEST)
    stored = await stage.client.put_loop_rules(told, tenant=TENANT)
    stage.say(
        f"{variant.name}@{variant.version} answers. A canary gets {stored.canary_share:.0%} of the questions, and is "
        f"promoted by itself once it is proven not worse by {stored.canary_margin:.0%}.",
    )
    return {"version": variant.version, "documents": len(reference)}


async def _clear(stage: Stage) -> None:
    """Takes the guide, and the model of an earlier round, away."""
    try:
        left = [listed.document.document_id async for listed in stage.client.source(sql_guide.SOURCE, tenant=TENANT)]
    except NotFound:
        left = []
    for name in left:
        await stage.client.delete_document(name, tenant=TENANT, source=sql_guide.SOURCE)
    while live := (await stage.client.get_loop(tenant=TENANT)).live:
        stage.say(f"{live} answered since an earlier tour; it is taken back.")
        back = await stage.client.roll_back_model(live, tenant=TENANT, reason="The tour of the loop begins anew")
        if back.live == live:
            raise NotReady(f"{live} could not be taken back: see headrace models show {live}")


async def baseline(stage: Stage) -> Facts:
    """Users ask about Python, and the time that they took becomes the baseline."""
    began = stage.now()
    heard = await _ask(stage, asking.askings(_answered(), occasion="baseline", round_=stage.round)[:BASELINE])
    ended = stage.now()
    for pause in (1, 2, 4, 8, 16, 16):
        try:
            set_ = await stage.client.set_drift_baseline(tenant=TENANT, since=began, until=ended)
        except (Refused, Unavailable, Overloaded) as error:
            reason = str(error)
            await asyncio.sleep(pause)
        else:
            stage.say(f"The baseline: {set_.samples} questions, {began:%H:%M:%S} to {ended:%H:%M:%S} UTC.")
            await _until_past(stage, set_.until.ToDatetime(UTC))
            return _shares(heard)
    raise NotReady(f"the drift monitor did not take the baseline: {reason}")


async def _until_past(stage: Stage, moment: datetime) -> None:
    """Waits until then: a baseline holds whole buckets, and what is asked in its last one counts in no window."""
    await asyncio.sleep(max(0.0, (moment - stage.now()).total_seconds()))


def _answered() -> list[KnownQuestion]:
    return [question for question in known_questions() if question.answerable]


async def shift(stage: Stage) -> Facts:
    """They ask about SQL, of which the index holds nothing."""
    began = stage.now()
    asked = [*sql_guide.traffic(), *sql_guide.beyond()]
    heard = await _ask(stage, asking.askings(asked, occasion="shift", round_=stage.round))
    return {"began": began.isoformat(), "first_query": heard[0].query_id, **_shares(heard)}


async def drift(stage: Stage) -> Facts:
    """Waits for the alert, and tells it."""
    before = {alert.alert_id for alert in await _open_alerts(stage) if _until(alert) < _shifted(stage)}
    end = asyncio.get_running_loop().time() + ALERT_S
    while asyncio.get_running_loop().time() < end:
        found = [alert for alert in await _open_alerts(stage) if alert.alert_id not in before]
        if found:
            alert = await stage.client.drift_alert(max(found, key=_weight).alert_id, tenant=TENANT)
            stage.say(*words.alert_lines(alert))
            waited = alert.opened_at.ToDatetime().timestamp() - stage.now().timestamp()
            return {"alert": alert.alert_id, "opened": alert.opened_at.ToJsonString(), "waited": round(-waited, 1)}
        await asyncio.sleep(1.0)
    raise NotReady(f"no alert within {ALERT_S:.0f} s: headrace drift report shows what was measured")


async def _open_alerts(stage: Stage) -> Sequence[Alert]:
    return await stage.client.drift_alerts(tenant=TENANT, state=ALERT_STATE_OPEN)


def _until(alert: Alert) -> str:
    return alert.window_until.ToDatetime().isoformat()


def _shifted(stage: Stage) -> str:
    return str(stage.known("shift", "began")).removesuffix("+00:00")


def _weight(alert: Alert) -> tuple[int, int]:
    """The widest slice tells most: that of the tenant, then that of the product; then the one with most readings."""
    return -len([part for part in (alert.slice.product, alert.slice.kind) if part]), len(alert.readings)


async def refresh(stage: Stage) -> Facts:
    """The steward finds what is missing on their shelf, puts it, and asks for a model that knows it."""
    alert = await stage.client.drift_alert(stage.known("drift", "alert"), tenant=TENANT)
    shelf = sql_guide.guide()
    examples = [await _question(stage, query_id) for query_id in alert.explanation.query_ids]
    named = words.named_documents(examples, shelf)
    stage.say(
        f"The monitor names {len(examples)} questions. On the steward's shelf they point at {len(named)} documents:",
        *words.shelf_lines(named),
    )
    await put_rules(stage, debounce_seconds=rules.LATEST)
    began = stage.now()
    with stage.bar("Documents", len(shelf)) as advance:
        outcomes = await tour.put_documents(stage.client, shelf, advance, source=sql_guide.SOURCE)
    run = await _asked_for(stage) or await ask_for_a_model(stage)
    stage.say(
        f"{len(shelf)} documents are in the index, {outcomes['chunks']} chunks. Run {run.run_id[:8]} waits for what "
        "users ask meanwhile."
    )
    return {"began": began.isoformat(), "run": run.run_id, "documents": len(shelf)}


async def _question(stage: Stage, query_id: str) -> str:
    """What was asked, as it is logged: for whoever may read it."""
    return (await stage.client.interaction(tenant=TENANT, query_id=query_id)).interaction.question.plain


async def _asked_for(stage: Stage) -> TrainingRun | None:
    """The run that was asked for already, when the tour was left just then."""
    runs = await stage.client.trainings(tenant=TENANT)
    return next((run for run in runs if CAUSE_STEWARD in run.causes and run.state in UNDER_WAY), None)


async def ask_for_a_model(stage: Stage) -> TrainingRun:
    """Asks for what `headrace documents put --refresh` asks for."""
    changed = [f"document {sql_guide.SOURCE}/{topic.name}" for topic in sql_guide.guide()]
    request = StartTrainingRequest(tenant=TENANT, cause=CAUSE_STEWARD, because=changed)
    return (await stage.client.start_training(request)).run


async def again(stage: Stage) -> Facts:
    """They ask again: the sources know now, and users say which answers are right, or what would have been.

    Without corrections a model could at best learn to repeat what is served, and the gate would hold it against that.
    """
    wanted = asking.askings(
        sql_guide.traffic(), occasion="again", round_=stage.round, erased=erased(stage), erased_asks=ERASED_ASKS
    )
    experts = asking.with_corrections(wanted, sql_guide.quoted)
    heard = await _ask(stage, experts)
    await asking.until_recorded(stage.client, experts, heard)
    corrected = sum(bool(asking.correction(one, said.text)) for one, said in zip(experts, heard, strict=True))
    stage.say(
        f"{corrected} answers were corrected: to the one sentence that says it. Of these questions {ERASED_ASKS} are "
        f"{erased(stage)}'s. That is enough to learn from: what waits need not wait for more."
    )
    await put_rules(stage, debounce_seconds=rules.SOONEST)
    return {"corrected": corrected, **_shares(heard)}


async def _ask(stage: Stage, wanted: Sequence[Asking]) -> list[Heard]:
    with stage.bar("Questions", len(wanted)) as advance:
        heard = await asking.ask_all(stage.client, wanted, advance)
    shares = _shares(heard)
    groundings = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in shares["groundings"].items())
    stage.say(f"{len(heard)} questions: {groundings}; {shares['right']:.0%} of the answers are right.")
    return heard


def _shares(heard: Sequence[Heard]) -> Facts:
    right = sum(one.is_right for one in heard) / max(len(heard), 1)
    return {"groundings": dict(Counter(one.grounding for one in heard).most_common()), "right": round(right, 3)}
