"""In-process fan-out of events with replay."""
