"""The licence format and its checker: pure, and imports nothing of appliance/."""
