"""The words of the tests' texts. Imports nothing, for tests that run with few packages."""

from __future__ import annotations

from typing import Final

WORDS: Final = ("a", "man", "woman", "dog", "plays", "sleeps", "runs", "outside", "music", "in", "the", "park", "##s")
