"""Tools over a copy of the demo company's stores, with a whitelist of the test's own."""

import shutil
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from installation import END, Installation

from dagster_project.core.playbook import FILES, Playbook, load_playbook
from dagster_project.playbook_files import PACKAGED
from dagster_project.settings import settings_from
from dagster_project.tools import Tools

NOW = END + timedelta(minutes=5)
WRITES = {
    "messaging.send_notification": {"channels": {"sales_slack": "#sales"}, "types": ["pql_alert", "pqa_alert"]},
    "crm.update_record": {
        "fields": {"contact": ["next_step", "pql_score"], "account": ["next_step"]},
        "signature": {"contact": "pls_changed_by"},
    },
}


def copied(installation: Installation, folder: Path) -> Path:
    """A data folder with the stores of an installation."""
    folder.mkdir()
    shutil.copyfile(installation.serving, folder / "serving.duckdb")
    for name in ("ledger.sqlite", "crm.sqlite"):
        with sqlite3.connect(installation.data_dir / name) as held, sqlite3.connect(folder / name) as copy:
            held.backup(copy)
    return folder


def playbook_with(**sections: Any) -> Playbook:
    """The packaged playbook with sections of assistant.yml replaced, or merged where they are mappings of limits."""
    texts = {name: (PACKAGED / name).read_text(encoding="utf-8") for name in FILES}
    rules = yaml.safe_load(texts["assistant.yml"])
    for name, section in sections.items():
        rules[name] = {**rules[name], **section} if name == "limits" else section
    return load_playbook({**texts, "assistant.yml": yaml.safe_dump(rules)})


def tools_over(
    data_dir: Path,
    *,
    who: str = "ann@acme.com",
    clock: Callable[[], datetime] = lambda: NOW,
    variables: Mapping[str, str] | None = None,
    **sections: Any,
) -> Tools:
    settings = settings_from({"PLS_DATA_DIR": str(data_dir), **(variables or {})})
    return Tools(settings, playbook_with(**sections), who=who, clock=clock)
