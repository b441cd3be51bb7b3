"""A self-hosted speech-to-text appliance: who said what, when, without a recording leaving the building."""

__version__ = "0.1.0"
