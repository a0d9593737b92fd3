"""Labels one input after another, and scrapes what its node serves to Prometheus; for test_metrics_endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.request import urlopen

import ray
from label_pairs import main
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_SECONDS = 60
TAGS = ("plan_id", "actor", "reason", "state")


class Scraper(threading.Thread):
    """Scrapes as often as it can until it is stopped; `last` is what each sample of ours was then, with our tags."""

    def __init__(self) -> None:
        super().__init__()
        (node,) = ray.nodes()
        self._url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        self._stopped = threading.Event()
        self.last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def run(self) -> None:
        """Scrape."""
        while not self._stopped.wait(0.2):
            with urlopen(self._url, timeout=PATIENCE_SECONDS) as reply:  # noqa: S310  (our own http:// address)
                served = reply.read().decode()
            for family in text_string_to_metric_families(served):
                for name, tags, value, *_ in family.samples:
                    if "albert_infer" in name:
                        self.last[name, tuple((tag, tags[tag]) for tag in TAGS if tag in tags)] = value

    def stop(self, plans: int) -> None:
        """Scrape until what is told last of each plan has come: that no unit is left."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._units_to_do() != [0] * plans and time.monotonic() < deadline:
            time.sleep(0.2)
        self._stopped.set()
        self.join()

    def _units_to_do(self) -> list[float]:
        return [value for (_, tags), value in list(self.last.items()) if ("state", "to_do") in tags]


def probe(*starts: Sequence[object]) -> dict[str, Any]:
    """Run a job with each of these flags; the exit codes, and the last value of each sample that was scraped."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    scraper = Scraper()
    scraper.start()
    try:
        codes = [main(list(map(str, flags))) for flags in starts]
    finally:
        scraper.stop(len(starts))
    samples = [[name, dict(tags), value] for (name, tags), value in scraper.last.items()]
    return {"codes": codes, "samples": samples}
