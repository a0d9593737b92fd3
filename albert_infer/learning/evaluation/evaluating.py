"""How good labels are: a published run, or a checkpoint on pairs, against gold labels, and against another one.

`work` goes from settings to an evaluation. `rows` says what a source of labelled rows gives; `runs` and `labelled_here`
are the two sources. `counting` keeps what figures need, in memory that does not grow with the rows (`sampling` a
bounded number of them), and `comparison` what two sources need; `metrics`, `calibration` and `baselines` make figures
of it. `document` is the whole as JSON, `page` as HTML, `summary` as text; `fitted` copies a calibrated checkpoint.

Importing this package imports none of the libraries that only the extra `evaluation` brings.
"""

from __future__ import annotations

from typing import Final

from albert_infer import storage
from albert_infer.common.extras import refuse_missing
from albert_infer.common.printable import PrintableText
from albert_infer.config import EvaluateSettings
from albert_infer.errors import OutputError
from albert_infer.storage import S3Access

JSON: Final = "evaluation.json"
PAGE: Final = "evaluation.html"


def evaluate(settings: EvaluateSettings) -> PrintableText:
    """Evaluate what the settings name, and write `evaluation.json` and `evaluation.html`, over older ones.

    With `fit_temperature` a copy of the checkpoint is written too. Returns the headline numbers as text. Raises
    AlbertInferError.
    """
    refuse_missing("an evaluation", "evaluation")
    # Imported here, where it is known that they can be.
    from albert_infer.learning.evaluation.page import html_page
    from albert_infer.learning.evaluation.summary import headline_text
    from albert_infer.learning.evaluation.work import evaluated

    output = storage.open_folder(settings.output, S3Access(settings.s3_endpoint))
    storage.check_writable(output)
    evaluation = evaluated(settings)
    for name, data in ((PAGE, html_page(evaluation)), (JSON, evaluation.to_json())):
        if not output.replace(name, data, output.stat(name)):
            found = "somebody else wrote it at the same moment"
            raise OutputError(f"write {output.uri_of(name)}", found, "give each evaluation an --output of its own")
    return headline_text(evaluation, settings.output)
