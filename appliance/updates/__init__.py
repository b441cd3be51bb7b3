"""Signed model updates: what a bundle must be to be trusted, how it comes in, and which release is in use."""
