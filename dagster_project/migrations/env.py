"""Alembic's entry: runs the migrations on the connection that the ledger hands over, inside its transaction."""

from alembic import context

from dagster_project.ledger_schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
