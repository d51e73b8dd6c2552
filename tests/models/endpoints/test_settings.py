"""Settings of an endpoint: what is refused before anything is sent."""

from __future__ import annotations

import pytest

from whywrong.core.errors import InputError
from whywrong.models.endpoints.calls import retry_after
from whywrong.models.endpoints.settings import check_settings, read_settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, '"url": Field required'),
        ({"url": "file:///etc/passwd"}, "must begin with https"),
        ({"url": "ftp://host/x"}, "must begin with https"),
        ({"url": "https://me:word@host/x"}, "no password, key or token"),
        ({"url": "https://host/x?api_key=1"}, "no password, key or token"),
        ({"url": "https://host", "form": "grpc"}, '"form"'),
        ({"url": "https://host", "ulr": "x"}, "the settings are url, form"),
        ({"url": "https://host", "batch": 0}, '"batch"'),
        ({"url": "https://host", "timeout": -1.0}, '"timeout"'),
        ({"url": "https://host", "headers": {"Authorization": "Bearer abc"}}, "write it as env:NAME"),
        ({"url": "https://host", "headers": {"X": "a\r\nY: b"}}, "is no header"),
    ],
)
def test_an_invalid_setting_is_named(values, message):
    with pytest.raises(InputError, match=message):
        check_settings(values, "endpoint.toml")


def test_a_secret_in_the_file_is_not_repeated_in_the_message():
    with pytest.raises(InputError) as raised:
        check_settings({"url": "https://host", "headers": {"X-Token": "hunter2"}}, "endpoint.toml")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"url = ", b"x" * (2 << 20)])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path, content):
    (tmp_path / "e.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"e\.toml"):
        read_settings(tmp_path / "e.toml")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("5", 5),
        ("-1", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("9" * 30, 1e9),
    ],
)
def test_every_form_of_retry_after_is_read(value, seconds):
    assert retry_after(value) == seconds
