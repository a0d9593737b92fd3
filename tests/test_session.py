"""What a worker raises is told by its own reason, whichever stage raised it and whatever Ray wraps around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pytest
import ray
from job_runs import RAY_WARNING, descendants, wait_until
from ray.data import ActorPoolStrategy, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasink, ReadTask

from albert_infer.errors import AlbertInferError, InfrastructureError, IntegrityError
from albert_infer.pipeline.session import session_settings
from albert_infer.pipeline.stage_errors import own_errors

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("session"), pytest.mark.filterwarnings(RAY_WARNING)]

# Workers cannot import a test.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

OURS = IntegrityError("commit the unit", "another one stands there", "look at it")
ARROWS = pa.ArrowInvalid("Column 6: Struct child array #0\nis short (16 < 32)")
# Ray writes its advice into the arguments of an error, wherever they end up in its words.
OTHERS = {"KeyError: 'topic": KeyError("topic"), "PermissionError: [Errno 13] no": PermissionError(13, "no")}


class Reading(Datasource):
    """One read task that raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray annotates in part
        self._error = error

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known."""
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """One."""
        metadata = BlockMetadata(num_rows=1, size_bytes=None, exec_stats=None, input_files=None)
        return [ReadTask(self._rows, metadata)]

    def _rows(self) -> list[pa.Table]:
        raise self._error


class Classifying:
    """An actor whose calls raise."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Raise."""
        raise self._error


class Committing(Datasink[None]):
    """A write task that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, blocks: Iterable[pa.Table], ctx: Any) -> None:
        """Raise."""
        raise self._error


def read(error: Exception) -> None:
    ray.data.read_datasource(Reading(error)).materialize()


def classify(error: Exception) -> None:
    pool = ActorPoolStrategy(size=1)
    rows = ray.data.range(1, override_num_blocks=1)
    rows.map_batches(Classifying, fn_constructor_args=(error,), batch_format="pyarrow", compute=pool).materialize()


def commit(error: Exception) -> None:
    ray.data.range(1).write_datasink(Committing(error))


def check(error: Exception) -> None:
    def raised() -> None:
        raise error

    ray.get(ray.remote(raised).remote())


def told(stage: Callable[[Exception], None], error: Exception) -> AlbertInferError:
    with pytest.raises(AlbertInferError) as raised, own_errors("labelling the units"), session_settings():
        stage(error)
    return raised.value


@pytest.mark.parametrize("stage", [read, classify, commit, check])
def test_an_error_of_any_stage_is_told_by_its_reason_and_not_by_what_ray_advises(
    stage: Callable[[Exception], None],
) -> None:
    failed = told(stage, ARROWS)
    assert isinstance(failed, InfrastructureError)
    assert failed.asked == "labelling the units"
    assert failed.problem == "ArrowInvalid: Column 6: Struct child array #0 is short (16 < 32)"


@pytest.mark.parametrize("found", OTHERS)
def test_what_ray_writes_into_an_error_is_left_out(found: str) -> None:
    assert told(commit, OTHERS[found]).problem == found


@pytest.mark.parametrize("stage", [read, classify, commit, check])
def test_an_error_of_ours_keeps_its_words_and_its_exit_code(stage: Callable[[Exception], None]) -> None:
    failed = told(stage, OURS)
    assert (type(failed), str(failed)) == (IntegrityError, str(OURS))


def test_who_keeps_an_error_keeps_no_actor() -> None:
    kept = told(classify, OURS)
    wait_until(lambda: not descendants(os.getpid(), "ray::MapWorker"))
    assert str(kept) == str(OURS)


def test_a_worker_that_cannot_be_built_is_told_by_the_end_of_its_traceback() -> None:
    class Unbuilt:
        def __init__(self) -> None:
            raise FileNotFoundError(2, "no such device")

        def __call__(self, rows: pa.Table) -> pa.Table:
            return rows

    with pytest.raises(AlbertInferError) as raised, own_errors("labelling"), session_settings():
        ray.data.range(1).map_batches(Unbuilt, compute=ActorPoolStrategy(size=1)).materialize()
    assert raised.value.problem.endswith("FileNotFoundError: [Errno 2] no such device")
