"""Properties take as long as the machine is busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy machine", deadline=None, max_examples=50)
settings.load_profile("busy machine")
