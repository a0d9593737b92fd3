"""Estimates what a run will take before it starts: rows, tokens, time and cost. Needs neither Ray nor a GPU."""
