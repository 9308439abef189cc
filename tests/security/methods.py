"""Every method of every contract, found in the modules that were generated from them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import headrace
from google.protobuf.descriptor import MethodDescriptor


@cache
def descriptors() -> Mapping[str, MethodDescriptor]:
    """Returns them by full name: "headrace.query.v1.QueryService/Ask"."""
    found: dict[str, MethodDescriptor] = {}
    for folder in map(Path, headrace.__path__):
        for file in sorted(folder.rglob("*_pb2.py")):
            name = ".".join(("headrace", *file.relative_to(folder).with_suffix("").parts))
            for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
                found |= {f"{service.full_name}/{method.name}": method for method in service.methods}
    return found
