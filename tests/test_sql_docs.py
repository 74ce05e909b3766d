"""Every query in docs/sql.md runs against a finished run's serving copy."""

import re
from pathlib import Path

import duckdb
import pytest

DOCUMENT = Path(__file__).parent.parent / "docs" / "sql.md"
QUERIES = re.findall(r"^## (\d+\. .+?)$.*?```sql\n(.+?)```", DOCUMENT.read_text(), flags=re.M | re.S)


def test_there_are_ten():
    assert len(QUERIES) == 10


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_documented_query_answers(title, query, demo_run):
    with duckdb.connect(str(demo_run.serving), read_only=True) as serving:
        rows = serving.sql(query).fetchall()
    assert rows, f"{title} finds nothing in the demo company"
