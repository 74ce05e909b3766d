"""What is published of users and accounts is what scores and handoffs are made from, all of it."""

import duckdb
import pytest
from installation import Installation


@pytest.mark.parametrize("subject", ["user", "account"])
def test_a_profile_has_every_feature(subject: str, demo_run: Installation) -> None:
    """Whoever reads profiles says what the pipeline would say."""
    with duckdb.connect(str(demo_run.warehouse), read_only=True) as warehouse:
        features, published = (
            {name: kind for name, kind, *_ in warehouse.sql(f"describe {table}").fetchall()}
            for table in (f"features.{subject}_features", f"marts.{subject}_profiles")
        )
    numbers = {"user_key", "account_key"}  # users are looked for by them, inside the warehouse
    features = {name: kind for name, kind in features.items() if name not in {"as_of", *numbers}}
    assert published == features
