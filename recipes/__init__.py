"""How the checkpoint in the package was made; none of this is installed."""
