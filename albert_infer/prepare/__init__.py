"""From texts to token ids: `validation` rejects rows, `words` and `windows` cut long texts, `tokenization` encodes."""
