"""An Airflow DAG that labels the pairs of each night on a Ray cluster, and then recounts the labels.

For Airflow 3, with the `standard` provider. Put the file into the folder of the DAGs. On the Airflow workers, `PROJECT`
is a checkout of this project with its `.venv`, and the variable `RAY_AUTH_TOKEN` is the token of the Ray cluster.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

PROJECT = Path("/opt/albert-infer")
JOB_SERVER = "http://FILL-IN-HEAD:8265"
# The run that starts on the 28th at 02:30 has the interval that began on the 27th: its date is that of the night.
DATE = "{{ data_interval_start | ds }}"
INPUT, OUTPUT = "s3://FILL-IN-INBOX/", "s3://FILL-IN-LABELS/"

with DAG(
    "albert_infer_nightly",
    schedule=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"),
    start_date=datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC),
    catchup=True,  # a night that Airflow missed is labelled later
    max_active_runs=1,
    # nightly.sh retries what can be retried. Exit codes 2, 3, 5 and 6 fail again until a person has acted.
    default_args={"cwd": str(PROJECT), "append_env": True, "env": {"RAY_AUTH_MODE": "token"}, "retries": 0},
) as dag:
    label = BashOperator(
        task_id="label",
        # Submits `albert-infer nightly` as a job of Ray, and ends with its exit code. `ray job submit` returns 1 for
        # every failure, and 0 for a job that was stopped.
        bash_command=(
            "deploy/nightly.sh .venv/bin/albert-infer submit"
            f" --address {JOB_SERVER} --input-root {INPUT} --output-root {OUTPUT} --date {DATE} --gpu-wait-minutes 120"
        ),
        execution_timeout=datetime.timedelta(hours=20),
    )
    verify = BashOperator(
        task_id="verify",
        bash_command=f".venv/bin/albert-infer verify --output {OUTPUT}dt={DATE}/ --input {INPUT}dt={DATE}/",
    )
    label >> verify
