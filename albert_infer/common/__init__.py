"""Small tools that every folder may use: they know nothing of labelling."""
