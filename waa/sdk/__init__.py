"""What ``waa.client`` is made of. Imports nothing but the standard library: it runs where trainings do."""
