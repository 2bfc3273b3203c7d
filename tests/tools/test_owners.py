"""Names of owners are not had twice, in this process or in any other."""

import os

import pytest

from actguard.tools.owners import new_owner


def test_every_name_is_another() -> None:
    names = {new_owner() for _ in range(1_000)}
    assert len(names) == 1_000


def test_names_say_which_process_they_are_of() -> None:
    process, chance, number = new_owner().split("-")
    assert int(process, 16) == os.getpid()
    assert len(bytes.fromhex(chance)) == 6
    assert new_owner().split("-") == [process, chance, str(int(number) + 1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_names_of_its_own() -> None:
    process, chance, _ = new_owner().split("-")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, new_owner().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        name = told.read()
    os.waitpid(child, 0)
    assert name.split("-")[0] == f"{child:x}" != process
    assert name.split("-")[1] != chance
