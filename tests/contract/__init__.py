"""Against real services, where the environment names them."""
