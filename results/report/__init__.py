"""The report: everything in a store on one page, which opens in any browser without a network.

    Path("report.html").write_bytes(build(ResultStore("runs/results")))

The page is put together from the files beside this one: page.html, page.css and the .js files. The same rows give the
same bytes. `measurements` asks the store, `filming` packs trajectories, `markup` writes tables, `parts` the text around
them, `page` all of it.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from results.problems import ResultsError
from results.publish import publish
from results.report import measurements
from results.result_store import ResultStore
from results.snapshot import Snapshot

__all__ = ["LARGEST_BYTES", "build"]

LARGEST_BYTES = 10_000_000
"""Bytes of a report at most."""


def build(store: ResultStore, experiment: str | None = None) -> bytes:
    """The report of one experiment or of everything in `store`, as UTF-8.

    Raises ResultsError for an unknown experiment, for one without a finished run, where nothing was measured, and where
    the page would be too large.
    """
    from results.report.page import assemble  # with the colours of the figures comes matplotlib

    failed = measurements.failures(store, experiment)
    title = f"Report: {experiment}" if experiment else "Report"
    with TemporaryDirectory() as folder:
        if experiment is not None:  # its rows, and the provenance of these
            store, whole = ResultStore(folder), store
            publish(whole, experiment, store)
        with Snapshot(store) as snapshot:
            page = assemble(snapshot, failed, title).encode()
    if len(page) > LARGEST_BYTES:
        raise ResultsError(
            f"the report would have {len(page) / 1e6:.1f} MB, more than {LARGEST_BYTES / 1e6:.0f}: "
            "take one experiment of the storage, with --experiment NAME"
        )
    return page
