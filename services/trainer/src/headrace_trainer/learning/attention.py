"""Several rows in one sequence, none of which sees another.

Each row attends to what all of them begin with and to itself, as if it stood alone: its positions go on from the shared
part. A mask over the whole sequence would compute the square of all rows together; here each row's own block is
computed, and nothing else. It is transformers' own seam for attention, so it works with every model that uses it.

Products rather than torch's fused attention: on a CPU that one's backward pass alone took 30 % of a step, and it needs
keys and values repeated for each group of queries (measured: 334 tokens/s with it, 415 with this).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from headrace_trainer.learning.order import Pack

NAME = "headrace_packed"


@dataclass(frozen=True, slots=True)
class Block:
    """Positions `start` to `end` of a sequence, which see the first `shared` positions and, of themselves, the past.

    mask: [groups * (end - start), shared + end - start], 0 or -inf; `groups` queries share a key.
    """

    start: int
    end: int
    shared: int
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """The blocks that a sequence is made of, in its order."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """A pack as a model takes it. ids, positions: [1, tokens]. at: where a learned token is predicted; learned: it."""

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    at: torch.Tensor
    learned: torch.Tensor


def register() -> None:
    """Makes the attention known to transformers, by NAME. Models loaded with it take a `layout` with each forward."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout says what is seen."""


def batch(pack: Pack, *, groups: int, dtype: torch.dtype, device: torch.device) -> Batch:
    """The tensors of a pack."""
    shared = pack.shared
    ids, positions = list(pack.samples[0].prefix), list(range(shared))
    at: list[int] = []
    learned: list[int] = []
    spans = [(0, shared, 0)] if shared else []
    for sample in pack.samples:
        first = len(ids) - shared
        spans.append((len(ids), first + len(sample.ids), shared))
        ids += sample.ids[shared:]
        positions += range(shared, len(sample.ids))
        at += range(first + sample.start - 1, first + len(sample.ids) - 1)
        learned += sample.ids[sample.start :]
    blocks = _blocks(spans, groups=groups, dtype=dtype, device=device)
    as_tensor = [torch.tensor(x, device=device) for x in ([ids], [positions], at, learned)]
    return Batch(as_tensor[0], as_tensor[1], Layout(blocks), as_tensor[2], as_tensor[3])


def _blocks(
    spans: Sequence[tuple[int, int, int]], *, groups: int, dtype: torch.dtype, device: torch.device
) -> tuple[Block, ...]:
    return tuple(
        Block(start, end, shared, _mask(end - start, shared, dtype=dtype, device=device).repeat(groups, 1))
        for start, end, shared in spans
    )


def _mask(own: int, shared: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    seen = torch.ones(own, shared + own, dtype=torch.bool, device=device).tril(shared)
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    layout: Layout | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """transformers' attention: query [1, heads, tokens, head], key and value [1, key heads, tokens, head], in; [1,
    tokens, heads, head] out. Without a layout it is torch's own."""
    if layout is None:
        plain = ALL_ATTENTION_FUNCTIONS["sdpa"]
        found: tuple[torch.Tensor, None] = plain(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **rest
        )
        return found
    parts = [_over_block(query, key, value, block, scaling=scaling, dropout=dropout) for block in layout.blocks]
    return torch.cat(parts, 2).transpose(1, 2), None


def _over_block(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block: Block, *, scaling: float, dropout: float
) -> torch.Tensor:
    """softmax(qk)v of one block, [1, heads, own, head]. The heads that share keys count as more queries."""
    heads, key_heads, head = query.shape[1], key.shape[1], query.shape[3]
    own = block.end - block.start
    queries = query[0, :, block.start : block.end].reshape(key_heads, heads // key_heads * own, head)
    keys, values = (_seen(x[0], block) for x in (key, value))
    mask = block.mask.to(queries.dtype).expand(key_heads, -1, -1)
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scaling)
    weights = F.dropout(torch.softmax(scores, -1), dropout) if dropout else torch.softmax(scores, -1)
    return torch.bmm(weights, values).view(1, heads, own, head)


def _seen(states: torch.Tensor, block: Block) -> torch.Tensor:
    """What a block attends to, [key heads, shared + own, head]."""
    own = states[:, block.start : block.end]
    return torch.cat([states[:, : block.shared], own], 1) if block.shared else own
