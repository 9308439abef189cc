"""`headrace review next|label|release|stats|sampling`: the queue of answers that experts look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from headrace.feedback.v1 import reviews_pb2
from headrace.feedback.v1.reviews_pb2 import Agreement, ReviewItem, SamplingReason, SamplingRule
from headrace.feedback.v1.rubrics_pb2 import Rubric

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.review import review, shown
from headrace_client.cli.rubrics import rubric_json, rubric_lines
from headrace_client.cli.running import DONE, run
from headrace_client.client import Client
from headrace_client.errors import NotConfigured, NotFound, TimedOut, Unavailable, Unreachable
from headrace_client.tiers import tier_label, tier_word

__all__ = ["review"]

_ROLE = "reviewer"
_OTHER = "other"
_REASON = "SAMPLING_REASON_"
_METHODS = {
    "cohen_kappa": "Cohen's kappa",
    "weighted_kappa": "weighted kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
}


@review.command("next")
def next_one(
    query_id: Annotated[
        str, typer.Argument(show_default=False, help="This query's answer, sampled or not. Without it: the next.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take the next answer from the queue, with its question, the passages that it cites, and the rubric.

    It is yours for half an hour; then, or after `headrace review release`, it is anybody's again.
    """
    run(_next(query_id, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _next(query_id: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        claimed = await client.claim_review(tenant=tenant, query_id=query_id)
        named = claimed.item.rubric
        rubric = await client.rubric(named.name, tenant=tenant, version=int(named.version))
        kinds = await _kinds_if_any(client, tenant)
    if as_json:
        told = {"waiting": claimed.waiting, "rubric": rubric_json(rubric), "kinds": kinds}
        say_json({**item_json(claimed.item), **told})
    else:
        say(*item_lines(claimed.item, rubric, kinds), f"{claimed.waiting:,} more wait for you.")
    return DONE


async def _kinds_if_any(client: Client, tenant: str) -> list[str]:
    """What a reviewer may name. They can label without: nobody waits for inference here."""
    try:
        return await _kinds(client, tenant)
    except (NotConfigured, NotFound, Unreachable, Unavailable, TimedOut):
        return []


async def _kinds(client: Client, tenant: str) -> list[str]:
    return [*(kind.name for kind in (await client.kinds(tenant=tenant)).kinds), _OTHER]


@review.command()
def label(
    item_id: Annotated[str, typer.Argument(show_default=False, help="Which, as `headrace review next` printed it.")],
    labels: Annotated[
        list[str], typer.Argument(metavar="CRITERION=LABEL...", show_default=False, help="One for each criterion.")
    ],
    *,
    comment: Annotated[str, typer.Option("--comment", show_default=False, help="Why.")] = "",
    correction: Annotated[
        str, typer.Option("--correction", show_default=False, help="What the answer should have said.")
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            show_default=False,
            help='What kind of query it is: one of the tenant\'s kinds, or "other". Kinds are learned from it.',
        ),
    ] = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Label an answer that you hold, against its rubric. Your last labels count, and the kind that you name with them.

    Example: headrace review label 5f0c… correct=pass supported=pass helpful=partly --kind how-to
    """
    given = dict(_labels(labels))
    said = {"comment": comment, "correction": correction, "kind": kind}
    run(_label(item_id, given, said, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _label(
    item_id: str,
    labels: dict[str, str],
    said: dict[str, str],
    *,
    tenant: str,
    person: str,
    stated: str,
    as_json: bool,
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        if said["kind"]:
            _check_kind(said["kind"], await _kinds(client, tenant))
        finished = await client.label_review(
            item_id,
            labels,
            tenant=tenant,
            comment=said["comment"],
            correction=said["correction"],
            kind=said["kind"],
        )
    if as_json:
        say_json({"item_id": item_id, "finished": finished})
    else:
        say("Labelled. It has all the labels that it needs." if finished else "Labelled. Others are still to label it.")
    return DONE


def _check_kind(kind: str, kinds: Sequence[str]) -> None:
    """A slip of the keyboard would be a kind that nothing is ever learned for."""
    if kind not in kinds:
        raise typer.BadParameter(f"{kind!r} is none of the tenant's kinds: {', '.join(kinds)}.", param_hint="--kind")


def _labels(given: Sequence[str]) -> Iterator[tuple[str, str]]:
    for pair in given:
        criterion, equals, word = pair.partition("=")
        if not (criterion and equals and word):
            raise typer.BadParameter("Say each as criterion=label, for example correct=pass.", param_hint="LABELS")
        yield criterion, word


@review.command()
def release(
    item_id: Annotated[str, typer.Argument(show_default=False, help="Which.")],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give an answer back unlabelled."""
    run(_release(item_id, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _release(item_id: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        await client.release_review(item_id, tenant=tenant)
    say_json({"item_id": item_id}) if as_json else say("Given back.")
    return DONE


@review.command()
def stats(
    rubric: Annotated[str, typer.Option("--rubric", show_default=False, help="Which; the sampled one if not.")] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how full the queue is, who labelled how much, and how far the reviewers agree beyond chance."""
    run(_stats(rubric, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _stats(rubric: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.review_stats(tenant=tenant, rubric=rubric)
    if as_json:
        say_json(_stats_json(found))
        return DONE
    say(f"{found.waiting:,} wait, {found.claimed:,} are held, {found.finished:,} are finished.")
    counted = [*found.sampled_for.items()]
    if counted:
        say("Sampled for " + ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in sorted(counted)))
    if found.labelled_by:
        say_table(
            ["reviewer", "answers"], [[name, f"{number:,}"] for name, number in sorted(found.labelled_by.items())]
        )
    if found.agreement:
        say_table(
            ["criterion", "labelled twice", "same", "beyond chance", "95 % interval", "by"],
            [_agreement_row(one) for one in found.agreement],
        )
    return DONE


def _agreement_row(one: Agreement) -> list[str]:
    if not one.defined:
        return [one.criterion, f"{one.answers:,}", f"{one.raw:.0%}" if one.answers else "", "can't tell", "", ""]
    interval = f"{one.low:.2f} to {one.high:.2f}"
    return [
        one.criterion,
        f"{one.answers:,}",
        f"{one.raw:.0%}",
        f"{one.coefficient:.2f}",
        interval,
        _METHODS.get(one.method, one.method),
    ]


def _stats_json(found: reviews_pb2.GetReviewStatsResponse) -> dict[str, Any]:
    return {
        "waiting": found.waiting,
        "claimed": found.claimed,
        "finished": found.finished,
        "labelled_by": dict(found.labelled_by),
        "sampled_for": dict(found.sampled_for),
        "agreement": [
            {
                "criterion": one.criterion,
                "answers": one.answers,
                "raw": one.raw,
                "coefficient": one.coefficient if one.defined else None,
                "low": one.low if one.defined else None,
                "high": one.high if one.defined else None,
                "method": one.method,
            }
            for one in found.agreement
        ],
    }


@review.command()
def sampling(
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            show_default=False,
            help="Which answers come in, as REASON:SHARE[:A_DAY], for example thumb_down:1 or random:.05:20. "
            "Repeatable; replaces all rules. Reasons: random, low_groundedness, thumb_down, new_vocabulary, and "
            "low_score with an evaluator, as low_score(groundedness<.5):1.",
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Take every rule away.")] = False,
    rubric: Annotated[str, typer.Option("--rubric", help="What is labelled against.")] = "answer-quality",
    reviewers: Annotated[int, typer.Option("--reviewers", min=1, max=5, help="How many label each answer.")] = 1,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show which answers come into the queue, or say it anew.

    Example: headrace review sampling --rule thumb_down:1 --rule random:.02:20 --reviewers 2
    """
    wanted = None if rules is None and not stop else [read_rule(rule) for rule in rules or ()]
    run(_sampling(wanted, rubric, reviewers, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _sampling(
    wanted: list[SamplingRule] | None,
    rubric: str,
    reviewers: int,
    *,
    tenant: str,
    person: str,
    stated: str,
    as_json: bool,
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        if wanted is not None:
            await client.put_sampling(wanted, tenant=tenant, rubric=rubric, reviewers=reviewers)
        found = await client.sampling(tenant=tenant)
    if as_json:
        rules = [{"rule": rule_word(rule), "share": rule.share, "a_day": rule.a_day} for rule in found.rules]
        say_json({"rules": rules, "rubric": found.rubric, "reviewers": found.reviewers})
    elif not found.rules:
        say("Nothing is sampled. Say what is: headrace review sampling --rule random:.05")
    else:
        say_table(["what", "share", "a day"], [_rule_row(rule) for rule in found.rules])
        say(f"Labelled against {found.rubric}, by {found.reviewers} each.")
    return DONE


def read_rule(text: str) -> SamplingRule:
    """Reads "thumb_down:1", "random:.05:20" or "low_score(groundedness<.5):1". Raises BadParameter."""
    what, _, numbers = text.partition(":")
    share, _, a_day = numbers.partition(":")
    reason, _, inner = what.partition("(")
    evaluator, _, below = inner.rstrip(")").partition("<")
    try:
        return SamplingRule(
            reason=SamplingReason.Value(f"{_REASON}{reason.upper()}"),
            share=float(share),
            a_day=int(a_day or 0),
            evaluator=evaluator,
            below=float(below or 0),
        )
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no rule; say REASON:SHARE[:A_DAY].", param_hint="--rule") from None


def rule_word(rule: SamplingRule) -> str:
    """ "low_score(groundedness<0.5)"."""
    reason = reason_word(rule.reason)
    return f"{reason}({rule.evaluator}<{rule.below:g})" if rule.evaluator else reason


def reason_word(reason: SamplingReason.ValueType) -> str:
    """ "thumb_down"."""
    return SamplingReason.Name(reason).removeprefix(_REASON).lower()


def _rule_row(rule: SamplingRule) -> list[str]:
    return [rule_word(rule), f"{rule.share:.3g}", f"{rule.a_day:,}" if rule.a_day else "no limit"]


def item_lines(item: ReviewItem, rubric: Rubric, kinds: Sequence[str] = ()) -> list[str]:
    """An answer to be labelled, for people. A stranger's words are indented and cannot steer the terminal."""
    why = ", ".join(reason_word(reason).replace("_", " ") for reason in item.reasons) or "asked for"
    lines = [
        f"{item.item_id}   {item.kind}, {tier_word(item.tier)}, {why}; yours until {moment(item.claimed_until)} UTC"
    ]
    lines += ["", "Question", *shown(item.question), "", "Answer", *shown(item.answer)]
    for passage in item.passages:
        lines += ["", f"[{passage.number}]", *shown(passage.title), *shown(passage.text or "(no longer indexed)")]
    lines += ["", *rubric_lines(rubric), "", f"headrace review label {item.item_id} {_template(rubric)}"]
    # Not filled in: what was recognised is no answer to what it is.
    return [*lines, *([f"  and --kind {'|'.join(kinds)}, if you can tell"] if kinds else []), ""]


def _template(rubric: Rubric) -> str:
    return " ".join(f"{criterion.name}={criterion.labels[-1]}" for criterion in rubric.criteria)


def item_json(item: ReviewItem) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "item_id": item.item_id,
        "query_id": item.query_id,
        "reasons": [reason_word(reason) for reason in item.reasons],
        "tier": tier_label(item.tier),
        "kind": item.kind,
        "claimed_until": json_moment(item.claimed_until),
        "question": item.question,
        "answer": item.answer,
        "passages": [{"number": one.number, "title": one.title, "text": one.text} for one in item.passages],
    }
