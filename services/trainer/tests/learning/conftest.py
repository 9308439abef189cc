"""A small base for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.trainer.tests.learning import house


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model."""
    return house.write_base(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    """The worker settles threads and determinism for a process that is its own; here others follow."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
