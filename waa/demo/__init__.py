"""The embedded demo VM: a real SSH server on loopback that plays a benchmark."""
