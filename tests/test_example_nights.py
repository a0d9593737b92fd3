"""`examples/` that start nights: Airflow, Argo and cron take them, and the jobs take their commands.

The tests need neither Airflow nor Argo. `schemas/airflow.json` has the parameters of the classes of Airflow 3.3 that
the DAG uses. The tests load the DAG with stand-ins that take exactly those. `schemas/cronworkflow.json` has the fields
of Argo's reference that the workflow uses. Kubernetes' own schema judges each container.
"""

from __future__ import annotations

import datetime
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim
from deployment import ROOT, image_tag, placeholders
from jinja2 import Environment, StrictUndefined
from pydantic import BaseModel

from albert_infer.config import NightlySettings, SubmitSettings, VerifySettings, parse_settings
from albert_infer.operations.program import PROGRAM

EXAMPLES: Final = ROOT / "examples"
SCHEMAS: Final = Path(__file__).parent / "schemas"
SETTINGS: Final[dict[str, type[BaseModel]]] = {
    "nightly": NightlySettings,
    "submit": SubmitSettings,
    "verify": VerifySettings,
}
NIGHT: Final = datetime.date(2026, 11, 27)


def settings_of(command: list[str]) -> Any:
    """The settings that the job of a command reads from it. Scripts are files of the checkout or the image."""
    [program] = [number for number, word in enumerate(command) if Path(word).name == PROGRAM]
    assert all((ROOT / word).is_file() for word in command[:program] if word.endswith(".sh"))
    job, argv = command[program + 1], [word.replace("FILL-IN", "fill-in") for word in command[program + 2 :]]
    return parse_settings(SETTINGS[job], argv, program=job, about="")


def label_and_recount(label: Any, verify: Any) -> None:
    """The two commands of a night are about the same night, and what is recounted is what was published."""
    assert isinstance(label, SubmitSettings)
    assert isinstance(verify, VerifySettings)
    assert label.address == "http://fill-in-HEAD:8265"
    assert label.gpu_wait_minutes is not None, "without it the night is labelled on CPUs"
    [night] = label.nights
    folder = label.partition.replace("{date}", night.isoformat())
    assert verify.output == f"{label.output_root}{folder}/"
    assert verify.input == f"{label.input_root}{folder}/"


class StandIn:
    """A class of Airflow: it takes the parameters that Airflow's takes, and keeps what it was given."""

    made: list[StandIn]
    parameters: frozenset[str]
    first: str

    def __init__(self, *first: Any, **given: Any) -> None:
        self.given = {**dict(zip([self.first], first, strict=False)), **given}
        assert self.given.keys() <= self.parameters
        self.made.append(self)

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        """Airflow's DAG takes the operators that are made in it."""

    def __rshift__(self, other: StandIn) -> StandIn:
        self.given["before"] = other
        return other


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[StandIn]]:
    """What the DAG makes, by the name of the class."""
    made: dict[str, list[StandIn]] = {}
    for module, classes in json.loads((SCHEMAS / "airflow.json").read_text()).items():
        names = module.split(".")
        for last in range(1, len(names) + 1):
            package = ".".join(names[:last])
            monkeypatch.setitem(sys.modules, package, sys.modules.get(package, ModuleType(package)))
        for name, parameters in classes.items():
            made[name] = []
            of_it = {"made": made[name], "parameters": frozenset(parameters), "first": parameters[0]}
            setattr(sys.modules[module], name, type(name, (StandIn,), of_it))
    runpy.run_path(str(EXAMPLES / "airflow_dag.py"))
    return made


def test_airflow_takes_the_dag_and_starts_it_once_a_night(airflow: dict[str, list[StandIn]]) -> None:
    [dag] = airflow["DAG"]
    assert dag.given["default_args"].keys() <= airflow["BashOperator"][0].parameters
    assert dag.given["max_active_runs"] == 1
    assert dag.given["default_args"]["retries"] == 0, "nightly.sh retries"
    schedule = dag.given["schedule"].given
    assert schedule["timezone"] == "UTC"
    assert once_a_day(schedule["expression"])


def test_airflow_labels_and_then_recounts_the_night_of_its_interval(airflow: dict[str, list[StandIn]]) -> None:
    label, verify = airflow["BashOperator"]
    assert label.given["before"] is verify
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701  (a shell command)
    environment.filters["ds"] = lambda moment: moment.date().isoformat()
    began = datetime.datetime.combine(NIGHT, datetime.time(2, 30), datetime.UTC)
    commands = [environment.from_string(task.given["bash_command"]) for task in (label, verify)]
    settings = [settings_of(shlex.split(command.render(data_interval_start=began))) for command in commands]
    label_and_recount(*settings)
    assert settings[0].nights == (NIGHT,)


@pytest.fixture
def workflow() -> Any:
    return yaml.safe_load((EXAMPLES / "argo_cronworkflow.yaml").read_text())


def check_workflow(workflow: Any) -> None:
    schema = json.loads((SCHEMAS / "cronworkflow.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(workflow)
    spec = workflow["spec"]["workflowSpec"]
    for template in spec["templates"]:
        if "steps" not in template:
            container = {"name": "main", **{k: v for k, v in work_of(template).items() if k != "source"}}
            pod = {"containers": [container], "securityContext": spec["securityContext"]}
            kubernetes_validate.validate(
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": pod}, "1.34", strict=True
            )


def work_of(template: Any) -> dict[str, Any]:
    work: dict[str, Any] = template.get("container") or template["script"]
    return work


def test_argo_and_kubernetes_take_the_workflow(workflow: Any) -> None:
    check_workflow(workflow)


@pytest.mark.parametrize(
    "breaking",
    [
        lambda spec: spec.update(schedule="30 2 * * *"),
        lambda spec: spec.update(concurrencyPolicy="Never"),
        lambda spec: spec["workflowSpec"]["templates"][0].update(step=[]),
        lambda spec: spec["workflowSpec"]["templates"][2]["container"].update(arguments=[]),
    ],
    ids=["field of older versions", "value", "field of a template", "field of a container"],
)
def test_the_schema_refuses_a_wrong_workflow(workflow: Any, breaking: Any) -> None:
    breaking(workflow["spec"])
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check_workflow(workflow)


def test_every_name_in_the_workflow_is_one_of_it(workflow: Any) -> None:
    spec = workflow["spec"]["workflowSpec"]
    templates = {template["name"]: template for template in spec["templates"]}
    steps = [step for group in templates[spec["entrypoint"]]["steps"] for step in group]
    known: set[str] = set()
    for step in steps:
        template = templates[step["template"]]
        given = step.get("arguments", {"parameters": []})["parameters"]
        wanted = template.get("inputs", {"parameters": []})["parameters"]
        assert [parameter["name"] for parameter in given] == [parameter["name"] for parameter in wanted]
        assert names_in(given) <= known
        assert names_in(work_of(template)) <= {f"inputs.parameters.{parameter['name']}" for parameter in wanted}
        if "script" in template:
            known.add(f"steps.{step['name']}.outputs.result")
    assert {step["template"] for step in steps} | {spec["entrypoint"]} == templates.keys()


def names_in(part: Any) -> set[str]:
    """What Argo is to fill in."""
    return set(re.findall(r"\{\{([^}]*)\}\}", json.dumps(part)))


def test_argo_labels_and_then_recounts_yesterday(workflow: Any) -> None:
    templates = {template["name"]: template for template in workflow["spec"]["workflowSpec"]["templates"]}
    script = templates["yesterday"]["script"]
    before = yesterday()
    ended = subprocess.run([*script["command"], "-c", script["source"]], capture_output=True, text=True, check=True)
    date = ended.stdout.strip()
    assert date in {str(before), str(yesterday())}
    works = [work_of(templates[name]) for name in ("label", "verify")]
    commands = [[*work["command"], *work["args"]] for work in works]
    filled = [[word.replace("{{inputs.parameters.date}}", date) for word in command] for command in commands]
    label_and_recount(*(settings_of(command) for command in filled))


def test_the_workflow_runs_once_a_night_from_the_image_and_says_what_to_fill_in(workflow: Any) -> None:
    [schedule] = workflow["spec"]["schedules"]
    assert once_a_day(schedule)
    assert (workflow["spec"]["timezone"], workflow["spec"]["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
    images = set(re.findall(r"image: .*/(.+)", (EXAMPLES / "argo_cronworkflow.yaml").read_text()))
    assert images == {f"albert-infer:{image_tag()}"}
    comments, body = commented(EXAMPLES / "argo_cronworkflow.yaml")
    assert placeholders(comments) == placeholders(body) != set()


def test_cron_labels_the_nights_of_the_last_week_on_this_machine() -> None:
    _, body = commented(EXAMPLES / "crontab")
    [line] = [line for line in body.splitlines() if line and line[0].isdigit()]
    fields = line.split(maxsplit=5)
    assert once_a_day(" ".join(fields[:5]))
    # A bare % ends the command.
    assert "%" not in fields[5].replace("\\%", "")
    command = fields[5].replace("\\%", "%")
    subprocess.run(["sh", "-n", "-c", command], check=True)
    echoed = re.sub(r"^.*?(?=\S+/albert-infer nightly )", "echo ", command.partition(" >>")[0])
    before = yesterday()
    printed = subprocess.run(["sh", "-c", echoed], capture_output=True, text=True, check=True).stdout
    settings = settings_of(shlex.split(printed))
    assert isinstance(settings, NightlySettings)
    assert settings.missing == "skip"
    assert len(settings.nights) == 7
    assert settings.nights[-1] in {before, yesterday()}


def once_a_day(schedule: str) -> bool:
    fires = CronSim(schedule, datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC))
    return next(fires) + datetime.timedelta(days=1) == next(fires)


def commented(path: Path) -> tuple[str, str]:
    """The comments of a file, and the rest."""
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.lstrip().startswith("#")]
    return "\n".join(comments), "\n".join(line for line in lines if line not in comments)


def yesterday() -> datetime.date:
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)).date()
