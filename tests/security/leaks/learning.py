"""The doors of those who measure answers: prompts, kinds, rubrics, reviews, datasets, replays, judges and shadows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.feedback.v1 import datasets_pb2, evaluation_pb2, reviews_pb2, rubrics_pb2, runs_pb2
from headrace.inference.v1 import prompts_pb2, routes_pb2, variants_pb2
from headrace.privacy.v1.privacy_pb2 import PURPOSE_EVALUATE, PURPOSE_REVIEW, TIER_2
from headrace.query.v1.answer_pb2 import Decoding, Versioned
from headrace_client import Client, Endpoints
from headrace_client.bus import open_reader
from headrace_client.credentials import MintedTokens, open_maker
from headrace_client.errors import NotFound

from tests.security.leaks.canaries import Canary

#: The name of what developers make here: a prompt, a variant, a rubric, a judge.
NAME = "canary"
SHORT = Decoding(max_output_tokens=24)
#: How long one thing may take to come about, in seconds.
PATIENCE = 60.0
#: What must have been written for this to have been a test of it.
PLACES = frozenset(
    {
        *(f"topic {name}" for name in ("query.replayed", "query.shadowed", "answer.trialed", "answer.evaluated")),
        *(f"topic {name}" for name in ("dataset.built", "routing.changed")),
        *(f"table feedback.{name}" for name in ("review_labels", "run_cases", "trial_answers", "snapshot_rows")),
        *(f"table feedback.{name}" for name in ("scores", "rubrics")),
        *(f"table inference.{name}" for name in ("tenant_prompts", "prompt_labels", "kinds", "routes")),
    }
)


class Learning:
    """Goes through them once, after the questions have been answered."""

    def __init__(self, endpoints: Endpoints, client: Client, canaries: Sequence[Canary], *, tenant: str) -> None:
        words = {canary.name: canary.text for canary in canaries}
        self._endpoints = endpoints
        self._client = client
        self._tenant = tenant
        #: What a developer writes, and what experts and askers do.
        self._authored, self._learned = words["authored"], words["learned"]

    async def use(self, query_id: str, *, product: str, subject: str) -> None:
        """query_id: of a TIER_2 question that has ended."""
        await self._until_logged(query_id)
        for purpose in (PURPOSE_REVIEW, PURPOSE_EVALUATE):
            await self._grant(purpose)
        await self._author()
        await self._review(query_id)
        await self._gather(product)
        await self._replay(query_id)
        await self._shadow(product, subject)

    async def _until_logged(self, query_id: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._client.interaction(tenant=self._tenant, query_id=query_id)
                except NotFound:
                    await asyncio.sleep(0.2)
                else:
                    return

    async def _grant(self, purpose: int) -> None:
        """One asks, and another decides."""
        soon = datetime.now(UTC) + timedelta(hours=1)
        asked = await self._client.request_grant(
            tenant=self._tenant,
            purpose=purpose,  # type: ignore[arg-type]
            reason="A look for leaks",
            expires_at=soon,
        )
        other = MintedTokens(open_maker(Path(self._endpoints.keys)), person="another")
        async with Client.connect(self._endpoints, credentials=other) as decider:
            await decider.decide_grant(asked.grant_id, approve=True)

    async def _author(self) -> None:
        """What developers write: prompts, kinds, rubrics, judges, and why."""
        words, client, tenant = self._authored, self._client, self._tenant
        example = prompts_pb2.PromptExample(asked=f"Is {words} one?", answered=f"{words} is.")
        prompt = prompts_pb2.Prompt(
            name=NAME,
            system=f"Answer for {words}.",
            examples=[example],
            question="{passages}\n\n{question}",
            note=f"Asked for by {words}",
        )
        await client.put_prompt(prompt, tenant=tenant)
        await client.label_prompt(NAME, "candidate", 1, tenant=tenant, reason=f"Because of {words}")
        variant = variants_pb2.Variant(name=NAME, prompt=NAME, prompt_version=1, decoding=SHORT)
        await client.put_variant(variant, tenant=tenant)
        examples = [f"How do I {verb} {words}?" for verb in ("open", "close", "find")]
        await client.put_kinds(
            [routes_pb2.Kind(name="how-to", description=f"About {words}", examples=examples)], tenant=tenant
        )
        criterion = rubrics_pb2.Criterion(name="true", question=f"Is {words} named?", labels=["fail", "pass"])
        rubric = rubrics_pb2.Rubric(name=NAME, instructions=f"Judge as {words} would.", criteria=[criterion])
        await client.put_rubric(rubric, tenant=tenant)
        judge = evaluation_pb2.Judge(name=NAME, rubric=Versioned(name=NAME, version="1"), mode="pairwise", votes=1)
        await client.put_judge(judge, tenant=tenant)

    async def _review(self, query_id: str) -> None:
        rule = reviews_pb2.SamplingRule(reason=reviews_pb2.SAMPLING_REASON_RANDOM, share=1.0)
        await self._client.put_sampling([rule], tenant=self._tenant, rubric=NAME)
        claimed = await self._client.claim_review(tenant=self._tenant, query_id=query_id)
        await self._client.label_review(
            claimed.item.item_id,
            {"true": "fail"},
            tenant=self._tenant,
            comment=f"{self._learned} says no",
            correction=f"Ask {self._learned} instead",
        )

    async def _gather(self, product: str) -> None:
        """A snapshot of what was asked, corrections included, and one of rows that somebody wrote."""
        query = datasets_pb2.DatasetQuery(purpose=PURPOSE_EVALUATE)
        build = datasets_pb2.BuildDatasetRequest(tenant=self._tenant, name=product, query=query, seed=1)
        # A developer's snapshot: the privacy team, who may build others, measures nothing.
        role = MintedTokens(open_maker(Path(self._endpoints.keys)), person="developer", role="developer")
        async with Client.connect(self._endpoints, credentials=role) as developer:
            async for _ in developer.build_dataset(build, timeout=PATIENCE):
                pass
        words = self._learned
        row = datasets_pb2.DatasetRow(
            question=f"Who is {words}?",
            answer=f"{words} is a customer.",
            passages=[f"{words} has been a customer for long."],
            key_facts=[words],
            split=datasets_pb2.SPLIT_TEST,
        )
        request = datasets_pb2.ImportDatasetRequest(tenant=self._tenant, name=product, rows=[row], declared_tier=TIER_2)
        await self._client.import_dataset(request)

    async def _replay(self, query_id: str) -> None:
        arms = [runs_pb2.RunArm(variant=Versioned(name=NAME, version="1"))]
        queries = runs_pb2.QueryFilter(query_ids=[query_id])
        request = runs_pb2.StartRunRequest(tenant=self._tenant, queries=queries, arms=arms, seed=1, judges=[NAME])
        begun = await self._client.start_run(request)
        async for run in self._client.follow_run(begun.run_id, tenant=self._tenant, timeout=PATIENCE):
            begun = run
        assert (begun.answered, begun.failed) == (1, 0), begun.exclusions
        async with asyncio.timeout(PATIENCE):
            while begun.evaluated < begun.answered:
                await asyncio.sleep(0.3)
                begun = await self._client.get_run(begun.run_id, tenant=self._tenant)

    async def _shadow(self, product: str, subject: str) -> None:
        mine = routes_pb2.VariantReference(name=NAME, version=1)
        route = routes_pb2.Route(
            kind="*",
            arms=[routes_pb2.Arm(variant=routes_pb2.VariantReference(name="default"), weight=1)],
            shadows=[routes_pb2.Shadow(variant=mine, share=1.0)],
            reason=f"As {self._authored} wished",
        )
        await self._client.put_route(route, tenant=self._tenant)
        text = f"Who is {self._learned}?"
        async with asyncio.timeout(PATIENCE):
            # The replay went through both topics too, once.
            while await self._records("query.shadowed") < 2:
                await self._client.answer(
                    text, tenant=self._tenant, product=product, subject=subject, declared_tier=TIER_2
                )
            while await self._records("answer.trialed") < 2:
                await asyncio.sleep(0.5)

    async def _records(self, topic: str) -> int:
        async with open_reader(self._endpoints.bus()) as reader:
            return len([record async for record in reader.until_now([topic])])
