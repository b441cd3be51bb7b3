"""A real Chromium for the modules that private transcripts are made of."""

from tests.web.conftest import browser, context, page, standin

__all__ = ["browser", "context", "page", "standin"]
