"""The measuring core: from events to sketches, from sketches to readings, from readings to alerts, and why.

    question = Reader(Hashing(key)).read(text)                   a question's features, without text
    sketch.add(Observation(query_id, conversation, tier, …))     one sketch for each slice and bucket of time
    window = window_at(buckets, until, windows)                  the newest of them, put together
    readings = compare(baseline, window.sketch, rules, slice_=…) by measure: values, effect, p-value
    decide(Look(at, window_from, readings), standing, rules)     which alerts open and close
    explain(baseline, window.sketch, readings, rules, lexicon=…) what moved, and which lever to pull

Pure: numpy and scipy, no clock, no store, no network. Formulas and sources: docs/explanation/drift.md.
"""

from headrace_drift.measuring.comparing import compare, missing
from headrace_drift.measuring.deciding import Decision, Held, Raised, Standing, decide, decide_all
from headrace_drift.measuring.errors import Broken, Incompatible
from headrace_drift.measuring.examples import Example
from headrace_drift.measuring.explaining import Explanation, Lever, explain
from headrace_drift.measuring.features import Hashing, Reader
from headrace_drift.measuring.lexicon import Lexicon
from headrace_drift.measuring.moving import MovedKind, MovedWord
from headrace_drift.measuring.observation import Answer, Observation, Question, Score
from headrace_drift.measuring.readings import EffectKind, Look, Measure, Reading, Slice
from headrace_drift.measuring.rules import Rules, Windows
from headrace_drift.measuring.sketch import Sketch
from headrace_drift.measuring.windows import Window, bucket_of, is_late, window_at

__all__ = [
    "Answer",
    "Broken",
    "Decision",
    "EffectKind",
    "Example",
    "Explanation",
    "Hashing",
    "Held",
    "Incompatible",
    "Lever",
    "Lexicon",
    "Look",
    "Measure",
    "MovedKind",
    "MovedWord",
    "Observation",
    "Question",
    "Raised",
    "Reader",
    "Reading",
    "Rules",
    "Score",
    "Sketch",
    "Slice",
    "Standing",
    "Window",
    "Windows",
    "bucket_of",
    "compare",
    "decide",
    "decide_all",
    "explain",
    "is_late",
    "missing",
    "window_at",
]
