"""Choosing the next token."""

from collections.abc import Callable

import torch

from headrace_models.generation.request import Sampling

Chooser = Callable[[torch.Tensor], int]


def chooser(sampling: Sampling) -> Chooser:
    """What picks a token from one row of logits, [vocabulary]. With a temperature it carries its own random state,
    so that a request's tokens depend on its seed and not on what else is in flight."""
    if sampling.greedy:
        return greedy
    generator = torch.Generator().manual_seed(sampling.seed % 2**63)

    def sample(logits: torch.Tensor) -> int:
        probabilities = torch.softmax(logits.float() / sampling.temperature, -1)
        if sampling.top_p < 1:
            probabilities = nucleus(probabilities, sampling.top_p)
        return int(torch.multinomial(probabilities, 1, generator=generator))

    return sample


def greedy(logits: torch.Tensor) -> int:
    """The likeliest token; the first of equals."""
    return int(torch.argmax(logits))


def nucleus(probabilities: torch.Tensor, share: float) -> torch.Tensor:
    """Only the smallest set of tokens whose probability reaches `share` (Holtzman et al. 2020), not renormalised."""
    ordered, order = torch.sort(probabilities, descending=True)
    before = torch.cumsum(ordered, -1) - ordered
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered.masked_fill(before >= share, 0.0))
