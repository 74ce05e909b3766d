"""Errors whose message is all that has to be read: ours that a person can do something about, and databases'."""


class PlsError(RuntimeError):
    """It can't be done; the message says why, and the way out."""


def is_of_a_store(error: Exception) -> bool:
    """Whether a database's file or server failed, and not a query: damaged, gone, full, no database at all."""
    import duckdb
    from sqlalchemy.exc import DatabaseError, ProgrammingError

    return isinstance(error, duckdb.IOException) or (
        isinstance(error, DatabaseError) and not isinstance(error, ProgrammingError)
    )
