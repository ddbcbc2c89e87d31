"""The HubSpot API: transport, endpoints, lanes, and the emulator."""
