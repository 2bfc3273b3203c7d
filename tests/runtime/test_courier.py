"""The courier, alone: what it is asked for and what has become of that when it comes to it."""

import gc
import logging
from pathlib import Path

import pytest

from actguard.runtime.courier import Courier
from actguard.transport.spool import Entry, Spool


class Reservation:
    over = False

    def renew(self) -> None:
        pytest.fail("nobody holds it any more")


def test_a_run_that_is_over_before_its_renewal_is_noted_is_no_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    courier = Courier(Spool(tmp_path, "http://127.0.0.1:1", "k"), lambda entry: None)
    with courier._working:  # the courier is busy with something else
        reservation = Reservation()
        courier.renew(reservation, 0)  # type: ignore[arg-type]
        del reservation
        gc.collect()
    with caplog.at_level(logging.ERROR):
        assert courier.flush(10)
    courier.close(5)

    assert caplog.records == []


def test_what_cannot_be_opened_keeps_nothing_else_from_being_delivered(tmp_path: Path) -> None:
    ended = Spool(tmp_path, "http://127.0.0.1:1", "k")
    ended.keep("left", "/api/v1/settle", {})
    (ended.folder / "00.spool").mkdir()
    ended.close()
    delivered: list[Entry] = []
    courier = Courier(Spool(tmp_path, "http://127.0.0.1:1", "k"), delivered.append)

    assert not courier.flush(10, others=True)
    assert [entry.id for entry in delivered] == ["left"]
    courier.close(5)
