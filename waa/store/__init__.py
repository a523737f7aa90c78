"""Where events and entities are kept."""
