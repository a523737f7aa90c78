"""The pure floor: what is known, how an observation changes it, and what is said about the change.

Nothing here does input or output, reads a clock or starts a task; time comes in as ``now``.
All moments (fields and arguments ending in ``_at``, and ``now``) are seconds since the Unix epoch, UTC.
"""
