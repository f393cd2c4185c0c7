"""This machine measured, as a `Device`."""
