"""Landing files into the tables of schema `raw`: discovery, reading, de-duplication, quarantine.

No Dagster.
"""
