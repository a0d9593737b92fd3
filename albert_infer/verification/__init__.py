"""An independent recount of a published run, from its files alone.

The recount shares no code with the steps that publish, because it must find their errors. It has its own code to read
`_SUCCESS`, the plan, every file and the input. It shares only names, closed lists and the access to storage;
`tests/test_layering.py` lists them. The recount cannot check that a label is right, because that needs the model.
Without the input, it cannot check the texts and the order of the rows. Where a row becomes several pairs, it folds the
published pairs of the row again; `refolding` says what does not follow from them.
"""

from __future__ import annotations

from albert_infer.verification.input_files import is_input
from albert_infer.verification.verifying import verify_labels

__all__ = ["is_input", "verify_labels"]
