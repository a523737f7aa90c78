"""The history of the tables, run at open. A revision is never changed once it has been released."""
