"""What runs in the background: the recorder, the monitor, and what keeps them alive."""
