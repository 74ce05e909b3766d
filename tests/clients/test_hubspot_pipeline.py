"""From a HubSpot account to scored tables: the same scores as from files with the same records."""

import csv
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hubspot_server import TOKEN, HubSpotServer
from installation import Installation

from dagster_project.clients.crm import FieldSpec
from dagster_project.clients.hubspot import connect
from dagster_project.core.crm_fields import FIELDS
from dagster_project.core.crm_source_rules import COLUMNS
from dagster_project.playbook_files import PACKAGED, read_playbook

KINDS = {"accounts": "companies", "contacts": "contacts", "opportunities": "deals", "tickets": "tickets"}
SAME = {
    "pql_scores": "user_id, account_id, contact_id, pql_score, classification, segment, activation_stage",
    "pqa_scores": "account_id, name, pqa_score, classification, quadrant, segment",
    "exclusions": "user_id, email, reason",
}


@pytest.fixture(scope="module")
def scored(demo_run: Installation, tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, Installation]:
    """A company scored from files, and the same one with its CRM records in HubSpot."""
    base = tmp_path_factory.mktemp("hubspot")
    files, api = demo_run, Installation(base / "api")
    shutil.copytree(files.landing / "events", api.landing / "events", copy_function=shutil.copy2)
    shutil.copy2(files.landing / "suppression.csv", api.landing / "suppression.csv")
    with HubSpotServer(limit=100_000, epoch=datetime.now(UTC)) as server:
        columns = {entity: move(server, files.landing, entity) for entity in KINDS}
        move_owners(server, files.landing)
        set_up(server)
        playbook = base / "playbook"
        write_playbook(playbook, columns)
        api.run(
            PLS_CRM="hubspot",
            PLS_HUBSPOT_TOKEN=TOKEN,
            PLS_HUBSPOT_BASE_URL=server.base_url,
            PLS_PLAYBOOK_DIR=str(playbook),
        )
    return files, api


def set_up(server: HubSpotServer) -> None:
    """Make the fields that are written, as `pls sync --setup` does."""
    playbook = read_playbook(None)
    crm = connect({"PLS_HUBSPOT_TOKEN": TOKEN, "PLS_HUBSPOT_BASE_URL": server.base_url}, playbook.crm_sources)
    for kind, target in playbook.crm_fields.targets().items():
        crm.create_fields(kind, [FieldSpec(theirs, *FIELDS[ours]) for ours, theirs in target.written.items()])


def rows_of(landing: Path, entity: str) -> list[dict[str, str]]:
    with (landing / "crm" / f"{entity}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def move(server: HubSpotServer, landing: Path, entity: str) -> dict[str, str]:
    """Make an entity's records in HubSpot, its columns properties or associations; which properties they are."""
    kind, key = KINDS[entity], "opportunity_id" if entity == "opportunities" else f"{entity[:-1]}_id"
    associated = {"opportunities": ("account_id", "contact_id"), "tickets": ("contact_id",)}.get(entity, ())
    names: dict[str, str] = {}
    for row in rows_of(landing, entity):
        said: dict[str, Any] = {}
        for column, value in row.items():
            if column not in COLUMNS[entity] or column in associated or not value:
                continue
            names[column] = f"p_{column}"
            server.state.properties[kind][names[column]] = {"name": names[column], "type": "string"}
            said[names[column]] = value
        server.add(kind, row[key], **said)
        changed = row.get("updated_at") or row.get("created_at")
        if changed:
            server.state.objects[kind][row[key]].updated = datetime.fromisoformat(changed).replace(tzinfo=UTC)
        for column in associated:
            if row[column]:
                server.associate(kind, row[key], "companies" if column == "account_id" else "contacts", row[column])
    return names


def move_owners(server: HubSpotServer, landing: Path) -> None:
    for row in rows_of(landing, "owners"):
        first, _, last = row["name"].partition(" ")
        server.state.owners.append(
            {
                "id": row["owner_id"],
                "firstName": first,
                "lastName": last,
                "email": row["email"],
                "teams": [{"name": row["team"], "primary": True}],
                "archived": row["is_active"] != "true",
            }
        )


def write_playbook(folder: Path, columns: Mapping[str, Mapping[str, str]]) -> None:
    folder.mkdir()
    rules = yaml.safe_load((PACKAGED / "crm_sources.yml").read_text())
    rules["systems"]["hubspot"]["columns"] = {entity: dict(names) for entity, names in columns.items()}
    (folder / "crm_sources.yml").write_text(yaml.safe_dump(rules))


def read(installation: Installation, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(installation.serving), read_only=True) as connection:
        return connection.sql(sql).fetchall()


@pytest.mark.parametrize("table", SAME)
def test_the_scores_are_those_of_the_files(scored: tuple[Installation, Installation], table: str) -> None:
    files, api = scored
    query = f"select {SAME[table]} from marts.{table} order by all"
    assert read(files, query) == read(api, query)
    assert read(api, f"select count(*) > 0 from marts.{table}") == [(True,)]


def test_what_was_scored_stands_in_hubspot(scored: tuple[Installation, Installation]) -> None:
    _, api = scored
    [(confirmed, others)] = read(
        api,
        "select count(*) filter (status = 'confirmed'), count(*) filter (status <> 'confirmed') "
        "from marts.deliveries where destination = 'crm:hubspot' and operation = 'update'",
    )
    assert confirmed > 100 and others == 0
