"""What detection must not load, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = """
import sys
from headrace_classifier.adapters.names import load_person_model
from headrace_classifier.adapters.presidio import load_recognisers
persons = load_person_model()
load_recognisers()
if persons is not None:
    persons.persons(["Erika Mustermann called."])
print(sorted(name for name in ("torch", "transformers") if name in sys.modules))
"""


@pytest.mark.models
def test_detection_loads_no_framework_that_it_does_not_use() -> None:
    """Torch alone takes 500 MB, in whatever order the two are loaded."""
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
