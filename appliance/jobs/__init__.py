"""From an accepted recording to a saved transcript; the only place that joins engine and store."""
