"""Small tools that every folder may use. They know nothing of labelling."""
