"""From token ids to labels: `batching` forms micro-batches, `classification` runs the engine on them."""
