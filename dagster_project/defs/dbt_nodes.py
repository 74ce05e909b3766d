"""The dbt project's manifest as Dagster sees it: a spec per model and seed, a check per test.

Read from the manifest's text alone: importing dbt takes a process as long as everything else together, and most
processes never run a model (decision 0027). How results are told of is `transform.py`'s.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

Node = Mapping[str, Any]
"""What the manifest holds of a model, seed, source or test."""


class DbtNodes:
    """The models, seeds and tests of a manifest.

    Args:
        manifest: The file that dbt wrote.
        filled_by: By source and table which asset fills it, where the two differ in name.
        owners: Who owns every model.
    """

    def __init__(self, manifest: Path, *, filled_by: Mapping[str, Mapping[str, str]], owners: Sequence[str]) -> None:
        self._manifest = manifest
        self._filled_by = filled_by
        self._owners = owners

    @cached_property
    def _read(self) -> Mapping[str, Any]:
        manifest: Mapping[str, Any] = json.loads(self._manifest.read_text(encoding="utf-8"))
        return manifest

    def node(self, unique_id: str) -> Node:
        """A node by dbt's id, such as `model.pls.int_user_days` or `source.pls.raw.events`."""
        node: Node = self._read["sources" if unique_id.startswith("source.") else "nodes"][unique_id]
        return node

    def asset_key(self, unique_id: str) -> dg.AssetKey:
        """`schema/name` for models and seeds, the filling asset for sources: several tables may be one asset."""
        node = self.node(unique_id)
        if node["resource_type"] == "source":
            source, table = node["source_name"], node["name"]
            return dg.AssetKey([source, self._filled_by.get(source, {}).get(table, table)])
        return dg.AssetKey([node["schema"], node["name"]])

    def check_key(self, unique_id: str) -> dg.AssetCheckKey:
        """What a test is a check of: what it is attached to; of several nodes that it reads, the first model."""
        node = self.node(unique_id)
        read = node["depends_on"]["nodes"]
        attached = node.get("attached_node") or next((other for other in read if self._is_asset(other)), read[0])
        return dg.AssetCheckKey(self.asset_key(attached), node["name"])

    def asset_specs(self, tag: str) -> list[dg.AssetSpec]:
        """A spec per model and seed with this tag."""
        return [self._asset_spec(unique_id) for unique_id in self._assets(tag)]

    def check_specs(self, tag: str) -> list[dg.AssetCheckSpec]:
        """A spec per test of these models and seeds."""
        return [self._check_spec(unique_id, key) for unique_id, key in self._checks(tag)]

    def selectors(self, keys: Collection[dg.AssetKey], checks: Collection[dg.AssetCheckKey]) -> list[str]:
        """dbt's selectors of some models, seeds and tests."""
        chosen = [unique_id for unique_id in self._read["nodes"] if self._is_asset(unique_id)]
        chosen = [unique_id for unique_id in chosen if self.asset_key(unique_id) in keys]
        chosen += [unique_id for unique_id in self._tests() if self.check_key(unique_id) in checks]
        return [".".join(self.node(unique_id)["fqn"]) for unique_id in chosen]

    def read_by(self, keys: Collection[dg.AssetKey]) -> set[str]:
        """The tables, with their schemas, that some models read and that are not made together with them."""
        made = {u for u in self._read["nodes"] if self._is_asset(u) and self.asset_key(u) in keys}
        read = {upstream for unique_id in made for upstream in self.node(unique_id)["depends_on"]["nodes"]} - made
        nodes = [self.node(unique_id) for unique_id in sorted(read)]
        return {f"{node['schema']}.{node.get('alias') or node['name']}" for node in nodes}

    def unlike(self, keys: Set[dg.AssetKey], built: Collection[str]) -> list[str]:
        """What tells that dbt's project has become another one than this, sorted names; empty if nothing does.

        Args:
            keys: The models and seeds that were to be built.
            built: The ids of the nodes that dbt has dealt with, skipped ones among them.
        """
        built = {unique_id for unique_id in built if unique_id.startswith(("model.", "seed.", "test."))}
        unknown = built - self._read["nodes"].keys()
        missing = keys - {self.asset_key(unique_id) for unique_id in built - unknown if self._is_asset(unique_id)}
        return sorted([*unknown, *(".".join(key.path) for key in missing)])

    def _assets(self, tag: str) -> list[str]:
        return [u for u, node in self._read["nodes"].items() if self._is_asset(u) and tag in node["tags"]]

    def _is_asset(self, unique_id: str) -> bool:
        return unique_id.startswith(("model.", "seed."))

    def _tests(self) -> list[str]:
        return [unique_id for unique_id in self._read["nodes"] if unique_id.startswith("test.")]

    def _checks(self, tag: str) -> Iterator[tuple[str, dg.AssetCheckKey]]:
        keys = {self.asset_key(unique_id) for unique_id in self._assets(tag)}
        for unique_id in self._tests():
            key = self.check_key(unique_id)
            if key.asset_key in keys:
                yield unique_id, key

    def _asset_spec(self, unique_id: str) -> dg.AssetSpec:
        node = self.node(unique_id)
        code = node.get("raw_code", "")
        sql = f"#### Raw SQL:\n```sql\n{code}\n```" if code else ""
        columns = [
            dg.TableColumn(name, column.get("data_type") or "?", column["description"])
            for name, column in node["columns"].items()
        ]
        metadata: dict[str, Any] = {
            "dagster/table_name": ".".join([node["database"], node["schema"], node["alias"]]),
            "dagster/storage_kind": "duckdb",
            "materialized": node["config"]["materialized"],
        }
        if columns:
            metadata["dagster/column_schema"] = dg.TableSchema(columns)
        return dg.AssetSpec(
            self.asset_key(unique_id),
            deps={self.asset_key(upstream) for upstream in node.get("depends_on", {}).get("nodes", [])},
            description="\n\n".join(filter(None, [node["description"], sql])),
            metadata=metadata,
            skippable=True,
            # The schema: staging, intermediate, features, marts; seeds are reference. A model may name another.
            group_name=node["meta"].get("dagster", {}).get("group") or node["schema"],
            code_version=hashlib.sha1(code.encode()).hexdigest() if code else node["checksum"]["checksum"],
            owners=self._owners,
            tags=dict.fromkeys(node["tags"], ""),
            kinds={"dbt", "duckdb"},
        )

    def _check_spec(self, unique_id: str, key: dg.AssetCheckKey) -> dg.AssetCheckSpec:
        node = self.node(unique_id)
        read = {self.asset_key(upstream) for upstream in node["depends_on"]["nodes"]}
        return dg.AssetCheckSpec(
            key.name,
            asset=key.asset_key,
            description=node["description"] or None,
            additional_deps=read - {key.asset_key},
            blocking=node["config"]["severity"].lower() == "error",
        )
