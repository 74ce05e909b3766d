"""What past days are scored from: the same files are the same inputs, in whatever order they come and however often."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from landing_folder import NOW, Landing, rules

from dagster_project.core.source_rules import EventMapping
from dagster_project.past_days import inputs_of
from dagster_project.playbook_files import read_playbook
from dagster_project.warehouse import Warehouse


def inputs(folder: Path, files: Mapping[str, str], *mappings: EventMapping, extracts: Sequence[str] = ()) -> str:
    """Of files that come one after another, and again with each further mapping."""
    with Warehouse(folder / "warehouse.duckdb").connect() as connection:
        landing = Landing(folder / "landing", connection)
        for extract in extracts:
            landing.put(f"crm/dt={extract}/owners.csv", "owner_id,is_active\no1,true\n")
        landing.load_crm()
        for mapping in mappings:
            landing.rules = rules(mapping)
            for path, content in files.items():
                landing.put(f"events/billing/{path}", content, at=NOW)
                landing.load()
        return inputs_of(connection, read_playbook(None), "models")


def billing(*users: str) -> str:
    return "customer,kind,action,occurred\n" + "".join(
        f"{user},track,x,2026-05-01T10:00:00Z\n{user},click,y,2026-05-01T10:00:00Z\n" for user in users
    )


# u3 is in both: the one that is read first has loaded it.
FIRST, SECOND = billing("u1", "u3"), billing("u2", "u3")
COLUMNS = {"user_id": "customer", "type": "kind", "event": "action", "timestamp": "occurred"}
NARROW = EventMapping(files="billing/*.csv", columns=COLUMNS, types={"track": "track"})
WIDE = NARROW.model_copy(update={"types": {"track": "track", "click": "track"}})


def test_the_order_of_files_and_copies_of_them_change_nothing(tmp_path: Path) -> None:
    before = inputs(tmp_path / "before", {"a.csv": FIRST, "b.csv": SECOND}, NARROW)
    assert inputs(tmp_path / "again", {"b.csv": SECOND, "a.csv": FIRST, "copy.csv": FIRST}, NARROW) == before


def test_what_another_mapping_reads_out_of_a_file_is_another_input(tmp_path: Path) -> None:
    files = {"a.csv": FIRST, "b.csv": SECOND}
    before, corrected, made_anew = (
        inputs(tmp_path / name, files, *mappings)
        for name, mappings in {"before": (NARROW,), "corrected": (NARROW, WIDE), "made anew": (WIDE,)}.items()
    )
    assert before not in (corrected, made_anew)
    assert inputs(tmp_path / "otherwise", {"b.csv": SECOND, "a.csv": FIRST}, WIDE) == made_anew


def test_as_an_extract_of_another_day_a_content_says_something_else(tmp_path: Path) -> None:
    one, other = (inputs(tmp_path / day, {}, extracts=[day]) for day in ("2026-05-02", "2026-05-20"))
    assert one != other
