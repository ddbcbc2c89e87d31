"""Imports all that a run can need, for the process that others are forked from; starts nothing."""

import pkgutil
from importlib import import_module

import filelock
import psycopg2
import rich.progress
import sqlalchemy.dialects.postgresql.psycopg2
import sqlalchemy.dialects.sqlite

import hubspot_sync

for found in pkgutil.walk_packages(hubspot_sync.__path__, "hubspot_sync."):
    if not found.name.endswith("__main__"):
        import_module(found.name)

__all__ = ["filelock", "hubspot_sync", "psycopg2", "rich", "sqlalchemy"]
