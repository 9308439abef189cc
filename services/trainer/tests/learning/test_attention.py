"""Rows that share a sequence are computed as if each stood alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from headrace_trainer.learning import attention
from headrace_trainer.learning.attention import Batch, Layout, batch
from headrace_trainer.learning.order import Pack, Sample
from transformers import AutoModelForCausalLM

SHARED = (5, 6, 7, 8, 9)
SAMPLES = tuple(
    Sample((*SHARED, *own), len(SHARED), len(SHARED) + 2) for own in (range(20, 29), range(40, 44), range(60, 67))
)
ALONE = tuple(replace(s, shared=0) for s in SAMPLES)


def model(base: Path, implementation: str) -> Any:
    attention.register()
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=implementation)


def loss(net: Any, made: Batch) -> torch.Tensor:
    logits = net(input_ids=made.ids, position_ids=made.positions, layout=made.layout, logits_to_keep=made.at).logits[0]
    return F.cross_entropy(logits, made.learned, reduction="sum")


def packed(samples: Sequence[Sample]) -> Batch:
    return batch(Pack(tuple(samples)), groups=2, dtype=torch.float32, device=torch.device("cpu"))


def expected(base: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """transformers' own attention and loss, row by row: the peer."""
    net = model(base, "eager")
    total = torch.zeros(())
    for sample in SAMPLES:
        ids = torch.tensor([sample.ids])
        labels = ids.clone()
        labels[:, : sample.start] = -100
        total = total + net(input_ids=ids, labels=labels).loss * sample.learned
    total.backward()
    return total.detach(), {name: p.grad.clone() for name, p in net.named_parameters()}


@pytest.mark.parametrize("samples", [SAMPLES, ALONE], ids=["sharing", "apart"])
def test_loss_and_gradients_are_those_of_rows_alone(base: Path, samples: Sequence[Sample]) -> None:
    wanted, gradients = expected(base)
    net = model(base, attention.NAME)
    found = loss(net, packed(samples))
    found.backward()
    torch.testing.assert_close(found.detach(), wanted)
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], msg=name)


def leaking(made: Batch) -> Batch:
    """A layout in which each row sees those before it, as one without masks would."""
    total = made.ids.shape[1]
    blocks = attention._blocks([(0, total, 0)], groups=2, dtype=torch.float32, device=torch.device("cpu"))
    return replace(made, layout=Layout(blocks))


def running_on(made: Batch) -> Batch:
    """Positions that do not begin anew with each row."""
    return replace(made, positions=torch.arange(made.ids.shape[1])[None])


@pytest.mark.parametrize("bug", [leaking, running_on])
def test_a_row_that_sees_another_is_noticed(base: Path, bug: Any) -> None:
    net = model(base, attention.NAME)
    right = packed(SAMPLES)
    with torch.no_grad():
        assert abs(float(loss(net, bug(right)) - loss(net, right))) > 1e-4


def test_without_a_layout_it_is_torchs_own(base: Path) -> None:
    ids = torch.tensor([SAMPLES[0].ids])
    ours, theirs = (model(base, name)(input_ids=ids).logits for name in (attention.NAME, "sdpa"))
    torch.testing.assert_close(ours, theirs)
