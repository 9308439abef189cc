"""The fixed sizes of a sketch. They are part of its format: whoever changes one raises `encoding.VERSION`.

Each was chosen so that a sketch stays below `LARGEST` bytes in memory whatever the traffic.
"""

from __future__ import annotations

#: Conversations are dealt into so many groups by their hash; what differs between groups is what chance does. 32 give
#: a t with 31 degrees of freedom, whose tail at 1e-5 begins at 5.3 (a normal's: 4.4).
GROUPS = 32
#: Bins of word pairs.
PAIRS = 1024
#: Bins of letter triples.
TRIPLES = 1024
#: All n-grams: the pairs' bins, then the triples'.
GRAMS = PAIRS + TRIPLES
#: Bins of words. A vocabulary of 8,000 fills an eighth of them.
WORDS = 1 << 16
#: Bins of each distribution (lengths, seconds, cost, nearness).
BINS = 128
#: Random Fourier features of a vector: so many cosines and as many sines.
WAVES = 128
#: Features are summed in fixed point, so that a sum does not depend on its order.
FIXED_POINT = 1 << 12
#: Bins of a score between 0 and 1.
SCORE_BINS = 64
#: The most kinds, models and prompts that are told apart; what is beyond is counted together.
KINDS = 64
VERSIONS = 16
#: The most evaluators whose scores are kept.
EVALUATORS = 16
#: Queries that are kept by id, to look at: a sample by hash, each as likely as any other.
EXAMPLES = 256
#: Words of an example that are kept, by bin.
EXAMPLE_WORDS = 24
#: The longest ids and names that are kept, in characters.
LONGEST_ID = 64
LONGEST_NAME = 128
#: The most bytes that a sketch takes in memory, and in its encoding.
LARGEST = 4 << 20
