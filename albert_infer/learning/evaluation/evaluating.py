"""Runs an evaluation and writes its files. Importing this module imports no library of the extra `evaluation`."""

from __future__ import annotations

from typing import Final

from albert_infer import storage
from albert_infer.common.display import terminal_width
from albert_infer.common.extras import refuse_missing
from albert_infer.common.printable import PrintableText
from albert_infer.config import EvaluateSettings
from albert_infer.errors import OutputError
from albert_infer.storage import S3Access

JSON: Final = "evaluation.json"
PAGE: Final = "evaluation.html"


def evaluate(settings: EvaluateSettings) -> PrintableText:
    """Evaluate, and write `evaluation.json` and `evaluation.html`. Older files are replaced.

    With `fit_temperature` also writes a copy of the checkpoint. Returns the headline numbers as text. Raises
    AlbertInferError.
    """
    refuse_missing("an evaluation", "evaluation")
    # Imported here, after the check that the libraries are installed.
    from albert_infer.learning.evaluation.page import html_page
    from albert_infer.learning.evaluation.summary import headline_text
    from albert_infer.learning.evaluation.work import evaluated

    output = storage.open_folder(settings.output, S3Access(settings.s3_endpoint))
    storage.check_writable(output)
    evaluation = evaluated(settings)
    for name, data in ((PAGE, html_page(evaluation)), (JSON, evaluation.to_json())):
        if not output.replace(name, data, output.stat(name)):
            problem = "another program wrote it at the same time"
            raise OutputError(f"write {output.uri_of(name)}", problem, "give each evaluation its own --output")
    return headline_text(evaluation, settings.output, width=terminal_width())
