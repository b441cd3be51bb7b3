"""What the licence means here: its files, a clock that cannot be turned back, what is refused. The judging is `licence/`'s."""

from appliance.licensing.licensing import Licensing
from appliance.licensing.mark import Mark, Reading
from appliance.licensing.site import Clock, SiteLicence, look_at_licence
from appliance.licensing.support import release_notice

__all__ = ["Clock", "Licensing", "Mark", "Reading", "SiteLicence", "look_at_licence", "release_notice"]
