"""The steps of the tour of variants: two prompts, questions with known answers, and a report that decides.

Each step returns what the next ones need. The questions, the halves and the model's words are the same in every run:
sampling is greedy, and what draws takes a seed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from importlib import resources
from typing import Any

import yaml
from headrace.feedback.v1.datasets_pb2 import SPLIT_TEST, SPLIT_TRAIN, Dataset, DatasetRow, ImportDatasetRequest
from headrace.feedback.v1.evaluation_pb2 import Judge
from headrace.feedback.v1.reports_pb2 import CompareRequest, Side
from headrace.feedback.v1.runs_pb2 import Run, RunArm, StartRunRequest
from headrace.inference.v1.prompts_pb2 import Prompt, PromptExample
from headrace.inference.v1.routes_pb2 import Arm, Kind, KindQuality, Route, VariantReference
from headrace.inference.v1.variants_pb2 import Reading, Variant
from headrace.privacy.v1.privacy_pb2 import TIER_PUBLIC
from headrace.query.v1.answer_pb2 import Decoding, Versioned
from headrace.query.v1.query_pb2 import TRIAL_SETTING_UNCHECKED, TRIAL_SETTING_UNSPECIFIED, TrialSetting
from headrace_client.client import Client
from headrace_client.errors import Overloaded, Unavailable
from headrace_client.updates import Answered

from headrace_embedded.demo.corpus import SOURCE, TENANT
from headrace_embedded.demo.questions import SEED, KnownQuestion
from headrace_embedded.demo.tour import PRODUCT
from headrace_embedded.errors import NotReady

#: What is compared against, and what might be better: files in demo/prompts, and variants of the same names.
A, B = "bare-answer", "quoted-answer"
#: So many questions are asked as a product asks them, this many at a time.
LIVE, AT_ONCE = 100, 8
#: One or two sentences: a small model says nothing better in more.
OUTPUT_TOKENS = 64
PASSAGES = 3
JUDGE = "small-judge"
#: Rows are classified as the words of the product that their dataset is named after: the policy knows this one.
DATASET = PRODUCT
ANSWER_S = 300.0

Advance = Callable[[], None]


async def learn_kinds(client: Client, questions: Iterable[KnownQuestion]) -> Sequence[KindQuality]:
    """Tells what kinds of question there are, by those that are not measured on."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for question in questions:
        by_kind[question.kind].append(question.question)
    kinds = [Kind(name=name, examples=examples) for name, examples in sorted(by_kind.items())]
    return (await client.put_kinds(kinds, tenant=TENANT)).quality


async def put_variants(client: Client) -> list[VariantReference]:
    """Stores both prompts, and a variant of each that is the same in all else."""
    return [await put_variant(client, name, passages=PASSAGES) for name in (A, B)]


async def put_variant(client: Client, name: str, *, passages: int) -> VariantReference:
    """Stores a prompt of ours, and the variant of the same name that reads so many passages."""
    prompt = (await client.put_prompt(_prompt(name), tenant=TENANT)).prompt
    variant = Variant(
        name=name,
        prompt=prompt.name,
        prompt_version=prompt.version,
        reading=Reading(passages=passages),
        decoding=Decoding(max_output_tokens=OUTPUT_TOKENS, top_p=1.0),
    )
    version = (await client.put_variant(variant, tenant=TENANT)).variant.version
    return VariantReference(name=name, version=version)


def _prompt(name: str) -> Prompt:
    files = resources.files(__package__) / "prompts"
    parsed = yaml.safe_load((files / f"{name}.1.yaml").read_text(encoding="utf-8"))
    examples = [PromptExample(asked=one["asked"], answered=one["answered"]) for one in parsed["examples"]]
    return Prompt(name=name, system=parsed["system"], examples=examples, question=parsed["question"])


async def split_the_traffic(client: Client, variants: Sequence[VariantReference]) -> Route:
    """Sends half of all questions to each."""
    arms = [Arm(variant=variant, weight=1) for variant in variants]
    route = Route(kind="*", arms=arms, reason="Which prompt does better on the reference?")
    return await client.put_route(route, tenant=TENANT)


async def take_the_route_away(client: Client) -> None:
    """Leaves the traffic as it was."""
    await client.delete_route("*", tenant=TENANT, reason="The tour is over.")


async def ask_live(client: Client, questions: Sequence[KnownQuestion], advance: Advance) -> Counter[str]:
    """Asks as a product does, and counts who answered. A conversation's questions go one after the other."""
    chosen = random.Random(SEED).sample(questions, LIVE)  # noqa: S311 - a draw to repeat, no secret
    conversations: defaultdict[str, list[KnownQuestion]] = defaultdict(list)
    for question in sorted(chosen, key=questions.index):
        conversations[question.conversation or question.id].append(question)
    places, answered = asyncio.Semaphore(AT_ONCE), Counter[str]()

    async def hold(conversation: str) -> None:
        async with places:
            for question in conversations[conversation]:
                answered[await _ask(client, question, conversation)] += 1
                advance()

    await asyncio.gather(*map(hold, conversations))
    return answered


async def _ask(client: Client, question: KnownQuestion, conversation: str) -> str:
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0):
        try:
            return await _answered_by(client, question, conversation)
        except (Overloaded, Unavailable):
            await asyncio.sleep(pause)
    raise NotReady(f"{question.id} got no answer: the services are not keeping up")


async def _answered_by(client: Client, question: KnownQuestion, conversation: str) -> str:
    updates = client.ask(
        question.question, tenant=TENANT, product=PRODUCT, conversation_id=conversation, timeout=ANSWER_S
    )
    async with aclosing(updates):
        async for update in updates:
            if isinstance(update, Answered):
                return update.answer.variant.name
    raise NotReady(f"the stream of {question.id} ended without an answer")


async def store_the_questions(client: Client, halves: dict[Any, list[KnownQuestion]]) -> Dataset:
    """Makes a dataset of the questions with their known answers; the half to measure on is held out."""
    splits = {"tune": SPLIT_TRAIN, "test": SPLIT_TEST}
    rows = [to_row(question, splits[half], source=SOURCE) for half, some in halves.items() for question in some]
    return await store_rows(client, rows)


async def store_rows(client: Client, rows: Sequence[DatasetRow]) -> Dataset:
    """Makes a dataset of rows that are public."""
    request = ImportDatasetRequest(tenant=TENANT, name=DATASET, rows=rows, seed=SEED, declared_tier=TIER_PUBLIC)
    return (await client.import_dataset(request)).dataset


def to_row(question: KnownQuestion, split: Any, *, source: str) -> DatasetRow:
    """A question with what is known of its answer, which documents of that source give."""
    return DatasetRow(
        row_id=question.id,
        split=split,
        kind=question.kind,
        tier=TIER_PUBLIC,
        question=question.question,
        answer=question.answer,
        key_facts=question.facts,
        documents=[f"{source}/{document}" for document in sorted(question.documents)],
        unanswerable=not question.answerable,
    )


async def put_the_judge(client: Client) -> Judge:
    """A judge: the same small model, asked both ways round."""
    rubric = Versioned(name="answer-quality")
    judge = Judge(name=JUDGE, rubric=rubric, mode="pairwise", votes=1)
    return (await client.put_judge(judge, tenant=TENANT)).judge


async def measure(
    client: Client, dataset: Dataset, variants: Sequence[VariantReference], *, judges: Sequence[str], most: int
) -> Run:
    """Starts a run over the held-out half: each prompt by itself, without the check that mends what it writes."""
    arms = [
        RunArm(variant=Versioned(name=one.name, version=str(one.version)), setting=TRIAL_SETTING_UNCHECKED)
        for one in variants
    ]
    request = StartRunRequest(
        tenant=TENANT, dataset_id=dataset.dataset_id, arms=arms, limit=most, seed=SEED, judges=judges
    )
    return await client.start_run(request)


async def waiting(client: Client) -> int:
    """How many answers, and pairs for the judge, are still to be measured."""
    return (await client.evaluation(tenant=TENANT)).waiting


async def measured(client: Client, total: int, advance: Advance) -> None:
    """Waits until nothing is left to measure; `total` is what was. Raises NotReady when nothing goes on."""
    left, since = total, 0.0
    while left:
        await asyncio.sleep(1.0)
        now = await waiting(client)
        for _ in range(left - now):
            advance()
        since = 0.0 if now < left else since + 1.0
        left = min(left, now)
        if since > ANSWER_S:
            raise NotReady(f"{left} answers were not measured within {ANSWER_S:.0f} s")


def over_live(variants: Sequence[VariantReference]) -> CompareRequest:
    """The two over what was asked live."""
    a, b = (_side(variant, TRIAL_SETTING_UNSPECIFIED) for variant in variants)
    return CompareRequest(tenant=TENANT, a=a, b=b, seed=SEED)


def over_pairs(variants: Sequence[VariantReference], run: Run) -> CompareRequest:
    """The two over a run, pair by pair."""
    a, b = (_side(variant, TRIAL_SETTING_UNCHECKED) for variant in variants)
    return CompareRequest(tenant=TENANT, a=a, b=b, run_id=run.run_id, seed=SEED)


def _side(variant: VariantReference, setting: TrialSetting.ValueType) -> Side:
    return Side(variant=Versioned(name=variant.name, version=str(variant.version)), setting=setting)
