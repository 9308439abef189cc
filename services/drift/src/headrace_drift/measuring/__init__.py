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
from headrace_drift.measuring.errors import Broken, Incompatible
from headrace_drift.measuring.features import Hashing, Reader
from headrace_drift.measuring.observation import Answer, Observation, Question, Score
from headrace_drift.measuring.readings import EffectKind, Look, Measure, Reading, Slice
from headrace_drift.measuring.rules import Rules, Windows
from headrace_drift.measuring.sketch import Sketch

__all__ = [
    "Answer",
    "Broken",
    "EffectKind",
    "Hashing",
    "Incompatible",
    "Look",
    "Measure",
    "Observation",
    "Question",
    "Reader",
    "Reading",
    "Rules",
    "Score",
    "Sketch",
    "Slice",
    "Windows",
    "compare",
    "missing",
]
