"""Label millions of sentence pairs with ALBERT natural language inference, on Ray."""

__version__ = "0.1.0"
