"""The platform-neutral command core: no platform SDK in here."""
