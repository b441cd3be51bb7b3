"""What the licence means here: its files, a clock that cannot be turned back, what is refused. The judging is `licence/`'s."""

from appliance.licensing.licensing import Clock, Licensing
from appliance.licensing.mark import Mark, Reading

__all__ = ["Clock", "Licensing", "Mark", "Reading"]
