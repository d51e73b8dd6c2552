"""One word says how a method ended, in tables of today and of earlier versions."""

from __future__ import annotations

import pyarrow as pa

from whywrong.core.status import FORMER, Status


def test_a_status_is_stored_as_its_word():
    column = pa.array(list(Status), pa.string())
    assert column.to_pylist() == ["ok", "skipped", "refused", "bad_input", "no_answer", "already_correct"]
    assert f"{Status.BAD_INPUT}" == "bad_input"


def test_words_of_earlier_versions_are_not_used_any_more():
    assert not set(FORMER) & set(Status)
    assert set(FORMER.values()) <= set(Status)
