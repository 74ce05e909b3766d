"""Pages of an extract on disk: all of them or none."""

from datetime import datetime
from pathlib import Path

from dagster_project.landing.crm_pages import PageStore, Progress

BEGAN = Progress(datetime(2026, 6, 1), is_full=True)


def two_pages(folder: Path) -> PageStore:
    store = PageStore(folder)
    first = store.keep(BEGAN, [{"id": 1}], "after 1", is_last=False)
    store.keep(first, [{"id": 2}], "after 2", is_last=True)
    return store


def test_what_was_kept_is_an_extract_with_its_last_page(tmp_path: Path) -> None:
    store = two_pages(tmp_path / "contacts")
    progress = store.progress()
    assert progress is not None
    assert (progress.pages, progress.is_complete, progress.cursor) == (2, True, "after 2")
    assert [row["id"] for row in store.rows()] == [1, 2]


def test_without_a_page_in_between_it_is_none(tmp_path: Path) -> None:
    """Half of one would look as if the other half was deleted."""
    store = two_pages(tmp_path / "contacts")
    (tmp_path / "contacts" / "00000001.json").unlink()
    assert store.progress() is None


def test_what_is_forgotten_goes_at_once_and_a_second_time_as_well(tmp_path: Path) -> None:
    store = two_pages(tmp_path / "contacts")
    for _ in range(2):
        store.clear()
        assert store.progress() is None
        assert list(tmp_path.iterdir()) == []
