from __future__ import annotations

import json
from pathlib import Path

import pytest
from headrace_client import Endpoints, NotConfigured, find_endpoints
from headrace_client.endpoints import parse_endpoints


def write(folder: Path, ingest: str) -> Path:
    path = folder / ".headrace" / "endpoints.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"kafka": "k:9092", "services": {"ingest": ingest}}))
    return path


def test_the_file_is_found_in_a_folder_above(tmp_path: Path) -> None:
    write(tmp_path, "near:1")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = find_endpoints({}, below)
    assert (found.bus(), found.service("ingest")) == ("k:9092", "near:1")


def test_the_variable_wins_over_home_and_home_over_the_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    write(tmp_path / "here", "here:1")
    home = write(tmp_path / "home", "home:1").parent.parent
    environ = {"HEADRACE_HOME": str(home)}
    assert find_endpoints(environ, tmp_path / "here").service("ingest") == "home:1"
    assert find_endpoints({"HEADRACE_HOME": str(home / ".headrace")}, tmp_path).service("ingest") == "home:1"
    stated = environ | {"HEADRACE_ENDPOINTS": "ingest=stated:1"}
    assert find_endpoints(stated, tmp_path / "here").service("ingest") == "stated:1"


def test_nothing_found_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="headrace up"):
        find_endpoints({}, tmp_path)


def test_a_list_may_name_several_instances() -> None:
    found = parse_endpoints("kafka=a:1,ingest=b:2,b:3,feedback=c:4", origin="here")
    assert found == Endpoints(kafka="a:1", services={"ingest": "b:2,b:3", "feedback": "c:4"}, origin="here")


@pytest.mark.parametrize("content", ["", "[]", '{"services": 3}', "not json"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text(content)
    with pytest.raises(NotConfigured, match="not an endpoints file"):
        parse_endpoints(str(path), origin="here")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="cannot be read"):
        parse_endpoints(str(tmp_path / "none.json"), origin="here")


def test_an_unnamed_bus_is_an_error_by_name() -> None:
    with pytest.raises(NotConfigured, match="Kafka"):
        Endpoints().bus()
