"""What of the retrieved passages a variant reads. Pure.

The search is the same for all variants, so that they can be compared and a query need not be routed before it. What a
variant wants of it, it takes here.
"""

from __future__ import annotations

from dataclasses import replace

from headrace_inference.domain import Passage, Question, Variant

#: The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009), as in the retriever.
RRF_K = 60


def read(question: Question, variant: Variant) -> Question:
    """The question with the passages that the variant reads, in its order. How many is up to the prompt's room."""
    if variant.vector_weight is None and variant.text_weight is None and variant.minimum_similarity <= -1:
        return question
    near = [p for p in question.passages if p.similarity >= variant.minimum_similarity]
    if variant.vector_weight is not None or variant.text_weight is not None:
        near.sort(key=lambda p: (-fused(p, variant), p.index))
    return replace(question, passages=tuple(near))


def fused(passage: Passage, variant: Variant) -> float:
    """The passage's score by the variant's weights; a weight that is not set counts as 1."""
    ranks = ((passage.vector_rank, variant.vector_weight), (passage.text_rank, variant.text_weight))
    return sum((1.0 if weight is None else weight) / (RRF_K + rank) for rank, weight in ranks if rank)
