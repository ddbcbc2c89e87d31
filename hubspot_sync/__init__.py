"""Delivers contacts from a database table into HubSpot, from cron, without losing one."""

__version__ = "1.0.0"
