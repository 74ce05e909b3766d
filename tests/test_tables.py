"""Frames as the UI shows them."""

from datetime import datetime

import duckdb
import polars as pl

from dagster_project.defs.tables import bar_chart, markdown_table, shown_tables


def test_a_frame_is_a_markdown_table() -> None:
    frame = pl.DataFrame({"who": ["ann", None], "score": [81.5, 0.0], "why": [["actions", "invites"], []]})
    assert markdown_table(frame).value.splitlines() == [
        "| who | score | why |",
        "| --- | --- | --- |",
        "| ann | 81.5 | actions, invites |",
        "|  | 0.0 |  |",
    ]


def test_a_moment_is_told_to_the_minute() -> None:
    frame = pl.DataFrame({"due_at": [datetime(2026, 6, 30, 9, 5, 4, 321)]})
    assert "| 2026-06-30 09:05 |" in markdown_table(frame).value


def test_what_somebody_typed_stays_in_its_cell() -> None:
    [*_, row] = markdown_table(pl.DataFrame({"name": ["a | b\n| c"]})).value.splitlines()
    assert row.count("|") - row.count("\\|") == 2


def test_a_chart_is_a_picture_that_needs_no_file() -> None:
    assert bar_chart(["hot"], [3], title="Classes").value.startswith("![Classes](data:image/png;base64,iVBOR")


def test_tables_show_columns_with_what_is_known_of_them_and_rows_where_counting_is_cheap() -> None:
    with duckdb.connect() as warehouse:
        warehouse.execute("create schema marts; create schema staging")
        warehouse.execute("create table marts.funnel (stage varchar, users bigint)")
        warehouse.execute("insert into marts.funnel values ('signed_up', 3)")
        warehouse.execute("comment on column marts.funnel.stage is 'How far.'")
        warehouse.execute("create view marts.published as from marts.funnel")
        warehouse.execute("create view staging.stg as from marts.funnel")
        warehouse.execute("create table staging.gone (a integer)")
        warehouse.execute("create view marts.broken as from staging.gone")
        warehouse.execute("drop table staging.gone")
        names = ["marts.funnel", "marts.published", "staging.stg", "marts.not_there", "marts.broken"]
        shown = shown_tables(warehouse, dict.fromkeys(names, {"stage": "less than the comment", "users": "How many."}))
    assert sorted(shown) == ["marts.funnel", "marts.published", "staging.stg"]
    columns = shown["marts.funnel"]["dagster/column_schema"].columns
    assert [(column.name, column.type, column.description) for column in columns] == [
        ("stage", "varchar", "How far."),
        ("users", "bigint", "How many."),
    ]
    counts = [shown[name].get("dagster/row_count") for name in names[:3]]
    assert counts == [1, 1, None]
