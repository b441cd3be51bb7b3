"""HTTP: a file per resource and a file per foreign dialect."""
