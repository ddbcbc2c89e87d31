"""HubSpot's contacts and properties API in memory, over real HTTP, for the demo and for tests.

A request goes from `server` to `emulator`, which asks `rate_limits` and `faults`, and by `routes`
to one of the modules named `…_endpoints`, which work on an `account` and its `portal`. To add an
endpoint: a method of the class in one of these, and a line of the table in `routes`.

It answers as HubSpot is documented or was seen to answer; a comment says so where neither helps.
Where HubSpot promises nothing it is the unkind one: batch results come back in reverse order, and
a JSON null is refused. Not emulated: paging, sorts, full-text queries, search operators besides
EQ and IN, associations, reading archived contacts, and histories of what HubSpot itself fills in.
"""

from hubspot_sync.hubspot.emulator.emulator import Emulator
from hubspot_sync.hubspot.emulator.faults import Fault

__all__ = ["Emulator", "Fault"]
