"""Pure functions: frames and frozen records in, the same out.

Nothing in this package reads a clock, a file, the environment or a network, and nothing imports an
orchestrator or a database driver; the moment to score is always an argument called ``as_of``.
"""
