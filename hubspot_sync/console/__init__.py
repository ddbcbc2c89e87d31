"""What people and programs see: tables, sentences, JSON and the log. Nothing else prints."""

from hubspot_sync.console.desk import show_checks, show_status
from hubspot_sync.console.logs import log_denied, log_fault, name_run, start_logging
from hubspot_sync.console.mapping import (
    show_checked_mapping,
    show_default_mapping,
    show_mapping,
)
from hubspot_sync.console.runs import progress, show_plan, show_run, show_wait
from hubspot_sync.console.set_up import (
    show_database,
    show_emulator,
    show_enqueued,
    show_hubspot_contacts,
    show_properties,
    show_reset,
    show_reset_end,
    show_skipped,
    show_what_comes,
    warn_of_first_large_run,
    warn_of_left,
    warn_of_skipped_in_hand,
)
from hubspot_sync.console.streams import output_trouble
from hubspot_sync.console.terminal import MOST_ROWS, name_sync, print_json, say, show_error, warn

__all__ = [
    "MOST_ROWS",
    "log_denied",
    "log_fault",
    "name_run",
    "name_sync",
    "output_trouble",
    "print_json",
    "progress",
    "say",
    "show_checked_mapping",
    "show_checks",
    "show_database",
    "show_default_mapping",
    "show_emulator",
    "show_enqueued",
    "show_error",
    "show_hubspot_contacts",
    "show_mapping",
    "show_plan",
    "show_properties",
    "show_reset",
    "show_reset_end",
    "show_run",
    "show_skipped",
    "show_status",
    "show_wait",
    "show_what_comes",
    "start_logging",
    "warn",
    "warn_of_first_large_run",
    "warn_of_left",
    "warn_of_skipped_in_hand",
]
