"""Learns the table of `headrace_classifier.name_shapes`: names against words, by logistic regression over n-grams.

Names: the package's own list of given names, a list of common family names (`family_names.txt`), both from general
knowledge, and half of those that the tuning generator has (see `tuning.names_of`), so that the other half stays unseen.
Words: what the packages around us say of themselves, Faker's filler texts and towns of the same locales. Nothing of the
hold-out.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from importlib.resources import files

import numpy as np
from faker import Faker
from headrace_classifier import name_shapes
from headrace_classifier.name_words import NOT_NAMES, folded, load_given_names
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from bench.privacy import tuning

#: A word counts as one when so many packages write it small.
_PACKAGES_AT_LEAST = 2


def main() -> int:
    names, words = sorted(_names()), sorted(_words())
    known = load_given_names()
    taken = {folded(name) for name in names}
    words = [word for word in words if folded(word) not in taken or (known.knows(word) and not known.is_clear(word))]
    print(f"{len(names)} names, {len(words)} words")
    weights = _learn(names, words)
    table = np.clip(np.round(weights * name_shapes.SCALE), -127, 127).astype(np.int8)
    path = files("headrace_classifier").joinpath(name_shapes.TABLE)
    path.write_bytes(table.tobytes())  # type: ignore[attr-defined]
    return 0


def _names() -> set[str]:
    given, family = tuning.names_of("learn")
    common = files("bench.privacy").joinpath("family_names.txt").read_text("utf-8")
    ours = {part for line in common.splitlines() if not line.startswith("#") for part in re.split(r"[ -]", line)}
    return {word for name in (*given, *family) for word in name.split()} | {*load_given_names().clear} | ours


def _words() -> Iterator[str]:
    seen: Counter[str] = Counter()
    for distribution in distributions():
        text = distribution.metadata.get_payload() or distribution.metadata.get("Description") or ""
        seen.update(set(re.findall(r"(?<![^\s(\"])[a-z]{3,20}(?![^\s.,;:!?)\"])", str(text))))
        seen.update(set(re.findall(r"(?<![\w])[A-Z][a-z]{2,20}(?![\w])", str(text))))
    found = {word for word, packages in seen.items() if packages >= _PACKAGES_AT_LEAST}
    yield from found | {*NOT_NAMES}
    for locale in tuning.LOCALES[2:]:
        for provider in Faker(locale).get_providers():
            for attribute in ("word_list", "cities", "city_names", "towns"):
                for entry in getattr(provider, attribute, ()):
                    if isinstance(entry, str):
                        yield from re.findall(r"[^\W\d_]{3,20}", entry)


def _learn(names: Sequence[str], words: Sequence[str]) -> np.ndarray:
    rows = [*names, *words]
    places = [sorted({*name_shapes.features(word)}) for word in rows]
    indptr = np.cumsum([0, *map(len, places)])
    matrix = csr_matrix(
        (np.ones(indptr[-1]), np.concatenate(places), indptr), shape=(len(rows), name_shapes.PLACES), dtype=np.float64
    )
    labels = np.array([1] * len(names) + [0] * len(words))
    model = LogisticRegression(C=0.3, max_iter=60, fit_intercept=False, class_weight="balanced")
    model.fit(matrix, labels)
    print(f"training accuracy {model.score(matrix, labels):.3f}")
    return model.coef_[0]


if __name__ == "__main__":
    sys.exit(main())
