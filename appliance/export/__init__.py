"""Transcripts as documents: pure functions from a transcript to text."""
