"""Which files a look finds: the same whether it is told their names or not."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagster_project.landing.crm import crm_files
from dagster_project.landing.discovery import LandedFile, event_files

PARTS = [
    "events",
    "crm",
    "dt=2026-06-01",
    "a.csv",
    "b.ndjson.gz",
    "contacts.csv",
    "é.parquet",
    ".hidden.csv",
    "_x",
    "c.tmp",
]
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join)


def _put(landing: Path, paths: list[str]) -> list[str]:
    """Empty files of these names, where none of them is a folder of another."""
    put = []
    for name in dict.fromkeys(paths):
        path = landing / name
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        put.append(name)
    return put


def _found(landing: Path, only: list[str] | None = None) -> list[LandedFile]:
    return [*event_files(landing, only), *crm_files(landing, only)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(paths=st.lists(PATHS, max_size=8), data=st.data())
def test_a_look_by_name_finds_what_a_look_at_everything_does(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], data: st.DataObject
) -> None:
    landing = tmp_path_factory.mktemp("landing")
    put = _put(landing, paths)
    everything = _found(landing)
    assert {file.name for file in everything} <= set(put)
    assert _found(landing, [*put, "events/gone.csv", "crm/contacts.csv/x.csv"]) == everything
    some = data.draw(st.lists(st.sampled_from(put), unique=True) if put else st.just([]))
    assert _found(landing, some) == [file for file in everything if file.name in some]


@pytest.mark.parametrize(
    "name", ["../outside.csv", "events/../../outside.csv", "/etc/outside.csv", "", "events//a.csv"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    landing = tmp_path / "landing"
    _put(landing, ["events/a.csv"])
    (tmp_path / "outside.csv").touch()
    assert _found(landing, [name, f"events/{name}"]) == []


def test_links_to_files_are_files_and_others_are_not(tmp_path: Path) -> None:
    _put(tmp_path, ["elsewhere/a.csv", "landing/events/b.csv"])
    events = tmp_path / "landing" / "events"
    (events / "link.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
    (events / "folder").symlink_to(tmp_path / "elsewhere")
    (events / "nowhere.csv").symlink_to(tmp_path / "gone.csv")
    (events / "loop.csv").symlink_to(events / "loop.csv")
    os.mkfifo(events / "pipe.csv")
    names = ["events/b.csv", "events/link.csv"]
    assert [file.name for file in _found(tmp_path / "landing")] == names
    assert [file.name for file in _found(tmp_path / "landing", [*names, "events/loop.csv", "events/pipe.csv"])] == names


def test_a_name_that_is_no_utf_8_is_found_by_how_it_is_shown(tmp_path: Path) -> None:
    _put(tmp_path, ["events/a.csv"])
    Path(os.fsdecode(os.fsencode(tmp_path / "events") + b"/caf\xe9.csv")).touch()
    everything = _found(tmp_path)
    assert [file.name for file in everything] == ["events/a.csv", "events/caf\\udce9.csv"]
    assert _found(tmp_path, [everything[1].name]) == [everything[1]]
