"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy machine", deadline=None, max_examples=50)  # a busy machine is no defect
settings.load_profile("busy machine")
