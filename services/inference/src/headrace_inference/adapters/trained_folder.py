"""A trained model's files on this machine: below a shelf, a folder for each tenant, and in it one for each model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from headrace_models import fetching

from headrace_inference.trained_ports import LoadFailed
from headrace_inference.trained_records import TrainedRecord


def fetch(record: TrainedRecord, shelf: Path) -> Path:
    """The model's folder under `shelf`, fetched if it is not there; every file is checked either way.

    Raises LoadFailed: "missing", "corrupt", or "unsupported" for a model without safetensors.
    """
    try:
        return fetching.fetch(record.address, record.files, folder_of(record, shelf))
    except fetching.FetchFailed as error:
        raise LoadFailed(error.failure) from None


def folder_of(record: TrainedRecord, shelf: Path) -> Path:
    """Where its files are kept."""
    return shelf / record.tenant / record.model


def keep_only(records: Collection[TrainedRecord], shelf: Path) -> None:
    """Deletes the folders of all other models, and what somebody who died was writing, unless they are young."""
    fetching.keep_only({folder_of(record, shelf) for record in records}, shelf)
