"""An erasure on the whole of Headrace: canaries go in through every door, and are nowhere afterwards.

Everything below the state folder is read: the bus's logs, the database's files with its write-ahead log, the services'
logs, the spans. So is a copy of the database from before, with the master keys of now.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from headrace.feedback.v1.datasets_pb2 import (
    DATASET_STATE_ERASED,
    DATASET_STATE_USABLE,
    BuildDatasetRequest,
    Dataset,
    DatasetQuery,
)
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.feedback.v1.reviews_pb2 import SAMPLING_REASON_THUMB_DOWN, SamplingRule
from headrace.feedback.v1.rubrics_pb2 import Criterion, Rubric
from headrace.feedback.v1.runs_pb2 import QueryFilter, RunArm, StartRunRequest
from headrace.privacy.v1.privacy_pb2 import PURPOSE_EVALUATE, PURPOSE_TRAIN, Purpose
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TRIAL_SETTING_ZERO_SHOT
from headrace.query.v1.service_pb2 import QUERY_STATE_ERASED
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    CAUSE_PERSON,
    RUN_STATE_CANCELLED,
    RUN_STATE_FAILED,
    TARGET_GENERATOR,
    Recipe,
)
from headrace_client import Client
from headrace_client.credentials import find_credentials
from headrace_client.errors import NotFound, Refused
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres as postgres_server
from headrace_embedded.trial import Trial, running

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(600)]

TENANT = "demo"
QUICKLY = {"HEADRACE_INFERENCE_CONTEXT": "512"}
#: How long the broker may take to remove the files that were trimmed, in seconds.
FILES_SECONDS = 30.0


def canary(what: str) -> str:
    """A word that is nowhere else."""
    return f"zq{what}{uuid.uuid4().hex[:12]}qz"


def disguises(word: str) -> dict[str, bytes]:
    """How a word may look in a file."""
    hidden = {f"base64+{shift}": base64.b64encode(b"x" * shift + word.encode())[4:-4] for shift in range(3)}
    return {
        "plain": word.encode(),
        "upper": word.upper().encode(),
        "utf-16": word.encode("utf-16-le"),
        "reversed": word[::-1].encode(),
        "url": quote("".join(f"%{byte:02x}" for byte in word.encode())).replace("%25", "%").encode(),
        "hex": word.encode().hex().encode(),
        **hidden,
    }


def found_in(folder: Path, words: list[str]) -> list[str]:
    """Which words stand readable in which files below a folder."""
    looks = {(word[:6], how): look for word in words for how, look in disguises(word).items()}
    hits = []
    for path in sorted(folder.rglob("*")):
        try:
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        except OSError:
            continue  # a file of the database that has gone meanwhile
        hits += [f"{path.relative_to(folder)}: {what}" for what, look in looks.items() if look in content]
    return hits


async def until_nowhere(folder: Path, words: list[str]) -> list[str]:
    """Reads again until nothing is found, or the time is up; returns what is found then."""
    end = time.monotonic() + FILES_SECONDS
    while (hits := await asyncio.to_thread(found_in, folder, words)) and time.monotonic() < end:
        await asyncio.sleep(1.0)
    return hits


def headrace(trial: Trial, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a member of the privacy team would."""
    return subprocess.run(
        [Path(sys.executable).parent / "headrace", *words],
        env={**os.environ, "HEADRACE_HOME": str(trial.home), "HEADRACE_ENDPOINTS": str(trial.home / "endpoints.json")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


async def until_logged(client: Client, query_id: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await client.interaction(tenant=TENANT, query_id=query_id)
            except NotFound:
                await asyncio.sleep(0.1)
            else:
                return


class Person:
    """Somebody with canaries in all that they leave."""

    def __init__(self) -> None:
        self.subject = f"user-{uuid.uuid4().hex[:8]}"
        self.query_id = str(uuid.uuid4())
        self.asked, self.judged = canary("asked"), canary("judged")

    @property
    def words(self) -> list[str]:
        return [self.asked, self.judged]

    async def leave_traces(self, client: Client) -> None:
        text = f"What does the nonlocal statement do? My name is {self.asked}."
        question = {"tenant": TENANT, "product": "docs-search", "query_id": self.query_id, "subject": self.subject}
        await client.answer(text, declared_tier=3, **question)  # type: ignore[arg-type]
        await until_logged(client, self.query_id)
        judgement = FeedbackSubmitted(tenant=TENANT, query_id=self.query_id, subject=self.subject)
        judgement.comment = f"Thanks, says {self.judged}."
        await client.record_feedback(judgement)


class Paper:
    """A document with a canary in its text and in its title."""

    def __init__(self) -> None:
        self.document_id = f"paper-{uuid.uuid4().hex[:8]}"
        self.said, self.title = canary("said"), canary("title")

    @property
    def words(self) -> list[str]:
        return [self.said, self.title]

    @property
    def data(self) -> bytes:
        return f"# {self.title}\n\nThe escalation code of the northern depot is {self.said}.\n".encode()

    async def put(self, client: Client, document_id: str = "") -> Any:
        return await client.put_document(
            self.data,
            tenant=TENANT,
            source="contracts",
            document_id=document_id or self.document_id,
            media_type="text/markdown",
            title=self.title,
            declared_tier=3,
        )


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with running(QUICKLY) as up:
        yield up


async def test_an_end_user_is_erased_everywhere(trial: Trial, put_topics: Any) -> None:
    person, other = Person(), Person()
    async with Client.connect(trial.endpoints) as client:
        await put_topics(client)
        await other.leave_traces(client)
        await person.leave_traces(client)
        hits_before = await asyncio.to_thread(found_in, trial.home, person.words)
        assert hits_before, "the search must find what is there"
        with backup_of(trial) as backup:
            done = await asyncio.to_thread(
                headrace,
                trial,
                "erase",
                "--tenant",
                TENANT,
                "--subject",
                person.subject,
                "--yes",
                "--json",
                "--as",
                "ann",
            )
            assert done.returncode == 0, done.stderr
            receipt = json.loads(done.stdout)
            assert await until_nowhere(trial.home, person.words) == []
            assert await asyncio.to_thread(found_in, backup, person.words) == []
            assert await opens_nothing(trial, backup, person.subject)
        again = await asyncio.to_thread(
            headrace, trial, "erase", "--tenant", TENANT, "--subject", person.subject, "--yes"
        )
        assert again.returncode == 1, again.stderr
        await check_gone(client, person)
        interaction = await client.interaction(tenant=TENANT, query_id=other.query_id)
        assert other.asked in interaction.interaction.question.plain
    check_receipt(trial, receipt)
    shown = await asyncio.to_thread(headrace, trial, "erase", "show", receipt["erasure_id"])
    assert person.subject not in shown.stdout
    audit = await asyncio.to_thread(headrace, trial, "audit", "verify")
    assert audit.returncode == 0, audit.stdout + audit.stderr


async def check_gone(client: Client, person: Person) -> None:
    with pytest.raises(NotFound):
        await client.interaction(tenant=TENANT, query_id=person.query_id)
    assert (await client.get(person.query_id, tenant=TENANT)).state == QUERY_STATE_ERASED
    with pytest.raises(Refused):
        await client.submit("Again?", tenant=TENANT, product="docs-search", query_id=person.query_id)
    with pytest.raises(NotFound):
        await client.record_feedback(FeedbackSubmitted(tenant=TENANT, query_id=person.query_id, thumb=1))
    later = str(uuid.uuid4())
    await client.answer(
        "What does the pass statement do?", tenant=TENANT, product="docs-search", query_id=later, subject=person.subject
    )
    await until_logged(client, later)


def check_receipt(trial: Trial, erasure: dict[str, Any]) -> None:
    file = trial.home / "receipt.json"
    file.write_text(json.dumps(erasure))
    verified = headrace(trial, "erase", "verify", str(file))
    assert verified.returncode == 0, verified.stderr
    head, payload, signature = erasure["receipt"].split(".")
    other = "A" if payload[10] != "A" else "B"
    file.write_text(".".join((head, payload[:10] + other + payload[11:], signature)))
    assert headrace(trial, "erase", "verify", str(file)).returncode == 1


async def test_a_document_is_erased_and_refused_from_then_on(trial: Trial, put_topics: Any) -> None:
    paper, kept = Paper(), Paper()
    asked = str(uuid.uuid4())
    async with Client.connect(trial.endpoints) as client:
        await put_topics(client)
        await kept.put(client)
        await paper.put(client)
        question = "What is the escalation code of the northern depot?"
        await client.answer(
            question, tenant=TENANT, product="docs-search", query_id=asked, sources=["contracts"], subject="reader"
        )
        await until_logged(client, asked)
        done = await asyncio.to_thread(
            headrace,
            trial,
            *("erase", "--tenant", TENANT, "--source", "contracts", "--document", paper.document_id, "--yes"),
        )
        assert done.returncode == 0, done.stderr
        assert await until_nowhere(trial.home, paper.words) == []
        found = await client.search(question, tenant=TENANT, sources=["contracts"])
        assert {chunk.reference.document_id for chunk in found.chunks} == {kept.document_id}
        for document_id in (paper.document_id, "under-another-name"):
            with pytest.raises(Refused):
                await paper.put(client, document_id)
        with pytest.raises(NotFound):
            await client.interaction(tenant=TENANT, query_id=asked)
        assert (await client.get(asked, tenant=TENANT)).state == QUERY_STATE_ERASED


async def test_a_source_is_erased_whole_and_may_be_filled_anew(trial: Trial, put_topics: Any) -> None:
    papers, fresh = [Paper() for _ in range(3)], Paper()
    async with Client.connect(trial.endpoints) as client:
        await put_topics(client)
        for paper in papers:
            await paper.put(client)
        done = await asyncio.to_thread(headrace, trial, "erase", "--tenant", TENANT, "--source", "contracts", "--yes")
        assert done.returncode == 0, done.stderr
        assert await until_nowhere(trial.home, [word for paper in papers for word in paper.words]) == []
        await fresh.put(client)
        found = await client.search("escalation code", tenant=TENANT, sources=["contracts"])
        assert {chunk.reference.document_id for chunk in found.chunks} == {fresh.document_id}


#: How long a tiny run may take on a busy machine, and how long a condemned model may go on answering, in seconds.
TRAINING_SECONDS, ERASURE_SECONDS = 800.0, 5
PRODUCT = f"erasing-{uuid.uuid4().hex[:8]}"
#: What was made of an answer, by the stores of a receipt.
MADE_OF_IT = {
    "datasets",
    "feedback.feedback",
    "feedback.interactions",
    "feedback.review_items",
    "feedback.review_labels",
    "feedback.run_cases",
    "feedback.scores",
    "feedback.snapshot_rows",
    "feedback.trial_answers",
}


def speaking_as(trial: Trial, role: str) -> Client:
    """A client that speaks for a role."""
    own = find_credentials(os.environ, trial.endpoints, role=role)
    return Client.connect(trial.endpoints, credentials=own)


async def reviewed(trial: Trial, query_id: str) -> None:
    """A reviewer labels an answer by a rubric, and corrects it."""
    criterion = Criterion(name="true", question="Is it?", labels=["fail", "pass"])
    rule = SamplingRule(reason=SAMPLING_REASON_THUMB_DOWN, share=1.0)
    async with speaking_as(trial, "developer") as developer, speaking_as(trial, "reviewer") as reviewer:
        rubric = Rubric(name="erasing", instructions="Judge.", criteria=[criterion])
        await developer.put_rubric(rubric, tenant=TENANT)
        await developer.put_sampling([rule], tenant=TENANT, rubric="erasing")
        claimed = await reviewer.claim_review(tenant=TENANT, query_id=query_id)
        assert await reviewer.label_review(claimed.item.item_id, {"true": "pass"}, tenant=TENANT)


async def replayed(trial: Trial, query_id: str) -> str:
    """The question is asked again, and the answer is scored; returns the run's id."""
    request = StartRunRequest(
        tenant=TENANT,
        queries=QueryFilter(query_ids=[query_id]),
        arms=[RunArm(variant=Versioned(name="default"), setting=TRIAL_SETTING_ZERO_SHOT)],
    )
    async with speaking_as(trial, "developer") as developer:
        begun = await developer.start_run(request)
        run = [one async for one in developer.follow_run(begun.run_id, tenant=TENANT, timeout=120)][-1]
        assert (run.answered, run.failed) == (1, 0)
        async with asyncio.timeout(60):
            while run.evaluated < run.answered:
                await asyncio.sleep(0.2)
                run = await developer.get_run(run.run_id, tenant=TENANT)
    return run.run_id


async def built(trial: Trial, purpose: Purpose.ValueType = PURPOSE_EVALUATE) -> Dataset:
    """A snapshot of all that this test's product asked."""
    query = DatasetQuery(purpose=purpose, products=[PRODUCT], near_duplicates=2)
    request = BuildDatasetRequest(tenant=TENANT, name="erasing", query=query)
    async with speaking_as(trial, "developer") as developer:
        return [one.dataset async for one in developer.build_dataset(request)][-1]


def claims_of(erasure: dict[str, Any]) -> dict[str, Any]:
    """What a receipt says."""
    payload = erasure["receipt"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


async def test_what_was_made_of_an_answer_goes_with_it(trial: Trial, put_topics: Any) -> None:
    """Reviewed and labelled, asked again, scored, and a row of a dataset: all of it is gone, and read back."""
    person, other = Person(), Person()
    async with Client.connect(trial.endpoints) as client:
        await put_topics(client)
        async with speaking_as(trial, "developer") as developer:
            await developer.put_evaluation(tenant=TENANT, share=1.0)
        for one in (person, other):
            question = f"What does the nonlocal statement do, {one.asked}?"
            await client.answer(
                question,
                tenant=TENANT,
                product=PRODUCT,
                query_id=one.query_id,
                subject=one.subject,
                declared_tier=1,
            )
            await until_logged(client, one.query_id)
        await client.record_feedback(
            FeedbackSubmitted(tenant=TENANT, query_id=person.query_id, subject=person.subject, rating=5)
        )
        await reviewed(trial, person.query_id)
        await replayed(trial, person.query_id)
        snapshot = await built(trial)
        assert (snapshot.rows, snapshot.state) == (2, DATASET_STATE_USABLE)
        words = ("erase", "--tenant", TENANT, "--subject", person.subject, "--yes", "--json")
        done = await asyncio.to_thread(headrace, trial, *words)
        assert done.returncode == 0, done.stderr
        claims = claims_of(json.loads(done.stdout))
        assert {line["left"] for line in claims["stores"]} == {0}
        removed = {line["store"] for line in claims["stores"] if line["removed"]}
        assert removed >= MADE_OF_IT
        assert claims["to_retrain"] == [], "nothing was trained on it"
        async with speaking_as(trial, "developer") as developer:
            ended = await developer.dataset(snapshot.dataset_id, tenant=TENANT)
            assert (ended.state, ended.ended_by) == (DATASET_STATE_ERASED, f"erasure {claims['erasure_id']}")
            assert (await built(trial)).rows == 1
        assert await until_nowhere(trial.home, [person.asked]) == []
        await client.interaction(tenant=TENANT, query_id=other.query_id)


@pytest.mark.long
async def test_documents_become_rows_and_go_with_their_source(trial: Trial) -> None:
    said = canary("manual")
    query = DatasetQuery(purpose=PURPOSE_TRAIN, document_sources=["manuals"], documents_only=True)
    request = BuildDatasetRequest(tenant=TENANT, name="corpus", query=query)
    async with Client.connect(trial.endpoints) as client, speaking_as(trial, "developer") as developer:
        for number in range(3):
            await client.put_document(
                f"# Gate {number}\n\nThe gate of weir {number} is opened by hand, says {said}.\n".encode(),
                tenant=TENANT,
                source="manuals",
                document_id=f"gate-{number}",
                media_type="text/markdown",
                declared_tier=1,
            )
        corpus = [one.dataset async for one in developer.build_dataset(request)][-1]
        assert dict(corpus.kinds) == {"document": corpus.rows}
        responses = developer.read_dataset(corpus.dataset_id, tenant=TENANT)
        rows = [row async for response in responses for row in response.rows]
        assert {document for row in rows for document in row.documents} == {f"manuals/gate-{n}" for n in range(3)}
        assert all(said in row.text for row in rows)
        done = await asyncio.to_thread(headrace, trial, "erase", "--tenant", TENANT, "--source", "manuals", "--yes")
        assert done.returncode == 0, done.stderr
        assert (await developer.dataset(corpus.dataset_id, tenant=TENANT)).state == DATASET_STATE_ERASED


async def trained(trial: Trial, dataset_id: str) -> str:
    """A model that learned from a snapshot, by name; whether the gate lets it through does not matter here."""
    recipe = Recipe(epochs=1, context=256, tokens_a_step=512, rank=4)
    request = StartTrainingRequest(
        tenant=TENANT, target=TARGET_GENERATOR, dataset=dataset_id, recipe=recipe, cause=CAUSE_PERSON
    )
    async with speaking_as(trial, "developer") as developer:
        await developer.put_loop_rules(LoopRules(erasure_seconds=ERASURE_SECONDS), tenant=TENANT)
        run = (await developer.start_training(request)).run
        async with asyncio.timeout(TRAINING_SECONDS):
            while not run.model:
                assert run.state not in (RUN_STATE_FAILED, RUN_STATE_CANCELLED), run.failure
                await asyncio.sleep(1.0)
                run = await developer.get_training(run.run_id, tenant=TENANT)
    return run.model


async def until_completed(trial: Trial, erasure_id: str) -> dict[str, Any]:
    """The erasure as `headrace erase show` has it once its completion is signed."""
    end = time.monotonic() + ERASURE_SECONDS + 60
    while True:
        shown = await asyncio.to_thread(headrace, trial, "erase", "show", erasure_id, "--json")
        erasure: dict[str, Any] = json.loads(shown.stdout)
        if erasure["completion"]:
            return erasure
        assert time.monotonic() < end, erasure["models"]
        await asyncio.sleep(0.5)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_model_that_learned_from_it_goes_and_the_receipt_is_completed(trial: Trial, put_topics: Any) -> None:
    person = Person()
    async with Client.connect(trial.endpoints) as client:
        await put_topics(client)
        for topic, subject, query_id in (
            ("nonlocal", person.subject, person.query_id),
            ("pass", "somebody", str(uuid.uuid4())),
            ("del", "somebody", str(uuid.uuid4())),
        ):
            await client.answer(
                f"What does the {topic} statement do?",
                tenant=TENANT,
                product=PRODUCT,
                query_id=query_id,
                subject=subject,
                declared_tier=1,
            )
            await until_logged(client, query_id)
    model = await trained(trial, (await built(trial, PURPOSE_TRAIN)).dataset_id)
    assert weights_of(trial, model), "its weights are there"
    words = ("erase", "--tenant", TENANT, "--subject", person.subject, "--yes", "--json")
    done = await asyncio.to_thread(headrace, trial, *words)
    assert done.returncode == 0, done.stderr
    receipt = claims_of(json.loads(done.stdout))
    assert [reached["model"] for reached in receipt["to_retrain"]] == [model]
    erasure = await until_completed(trial, receipt["erasure_id"])
    assert [(one["model"], one["replaced_by"]) for one in erasure["models"]] == [(model, "base")]
    assert weights_of(trial, model) == []
    check_receipt(trial, erasure)
    audit = await asyncio.to_thread(headrace, trial, "audit", "show", "--last", "0")
    for told in (f"condemned model {model}", f"deleted the weights of model {model}", "no model that learned from it"):
        assert told in audit.stdout


def weights_of(trial: Trial, model: str) -> list[Path]:
    """The files of a model's weights, wherever they lie."""
    version = model.partition("@")[2]
    return [path for path in trial.home.rglob("*.safetensors") if version in str(path.parent)]


async def test_what_was_never_there_is_an_error(trial: Trial) -> None:
    for words in (("--subject", "nobody"), ("--source", "none"), ("--source", "none", "--document", "none")):
        done = await asyncio.to_thread(headrace, trial, "erase", "--tenant", TENANT, *words, "--yes")
        assert done.returncode == 1, done.stdout
        assert "no such" in done.stderr.lower(), done.stderr
    without = await asyncio.to_thread(headrace, trial, "erase", "--tenant", TENANT)
    assert without.returncode == 2


class backup_of:  # noqa: N801 - reads as a verb
    """A copy of the database's files, as somebody would keep it, taken before an erasure."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._copy = trial.home.parent / f"{trial.home.name}-backup"

    def __enter__(self) -> Path:
        shutil.copytree(self._trial.home / "postgres", self._copy / "postgres", ignore=_sockets_and_pids, symlinks=True)
        return self._copy

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._copy, ignore_errors=True)


def _sockets_and_pids(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(".pid") or (Path(folder) / name).is_socket()}


async def opens_nothing(trial: Trial, backup: Path, subject: str) -> bool:
    """Brings the copy up, and tries each of its wrapped keys with the master keys of now."""
    await asyncio.to_thread(hand_over, backup, like=trial.home / "postgres" / "data")
    server = postgres_server.open_server(backup / "postgres", 0, lifetime=Lifetime.PARENTS)
    await asyncio.to_thread(server.start)
    try:
        connection = await asyncpg.connect(server.dsn("headrace"))
        wrapped = await connection.fetch("SELECT master_version FROM classifier.data_keys")
        named = await connection.fetchval("SELECT count(*) FROM feedback.interactions WHERE subject = $1", subject)
        await connection.close()
    finally:
        await asyncio.to_thread(server.stop)
    ring = json.loads((trial.home / "keys" / "master.json").read_text())
    return bool(wrapped) and named == 1 and not any(row["master_version"] in ring["keys"] for row in wrapped)


def hand_over(folder: Path, *, like: Path) -> None:
    """Gives a folder to whoever the original belongs to: root's Postgres runs as another user."""
    owner = like.stat()
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
