"""A read of one record with one id proves what it proves of a list: the short way is the long one."""

import pytest

from actguard import GuardError, RequireFact, enforce, prove, session

VALUES = (
    "m1",
    " m1",
    "é",
    "x" * 200,
    "x" * 201,
    "",
    " ",
    "\t\n",
    "\u200b",
    "\u3000",
    None,
    7,
    7.5,
    True,
    ["a", ""],
    [],
)


def proved(extract, result):
    @prove("mail", extract)
    def read():
        return result

    with session() as opened:
        read()
        return [fact.value for fact in opened.facts()]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_one_record_proves_a_list_of_it_proves_too(value):
    assert proved("id", {"id": value}) == proved("[].id", [{"id": value}]) == proved("mail.id", {"mail": {"id": value}})


@pytest.mark.parametrize("value", ["", " ", "\u200b"], ids=repr)
def test_a_text_in_which_nothing_is_seen_names_nothing(value):
    @prove("mail", "id")
    def read():
        return {"id": value}

    @enforce([RequireFact("mail_id", "mail")])
    def delete(mail_id):
        raise AssertionError

    with session():
        read()
        with pytest.raises(GuardError) as caught:
            delete(value)
    assert caught.value.code == "MISSING_FACT"


def test_what_two_records_prove_holds_in_the_session_that_they_were_read_in_and_in_no_other():
    @prove("mail", "id")
    def read(name):
        return {"id": name}

    @enforce([RequireFact("mail_id", "mail"), RequireFact("other_id", "mail")])
    def join(mail_id, other_id):
        return mail_id + other_id

    with session():
        read("a")
        with session("inner"):
            read("b")
            with pytest.raises(GuardError):
                join("a", "b")
        with pytest.raises(GuardError):
            join("a", "b")
        read("b")
        assert join("a", other_id="b") == "ab"
        with pytest.raises(GuardError):
            join("b", "c")
