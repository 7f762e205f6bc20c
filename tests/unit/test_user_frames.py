"""A traceback's text as the author of a function reads it."""

from pathlib import Path

from evfn_cli.user_frames import of_the_user

TRACE = """\
Traceback (most recent call last):
  File "/srv/shop/functions/notify.py", line 5, in send
    requests.post(url)
  File "/srv/shop/.venv/lib/python3.11/site-packages/requests/api.py", line 115, in post
    return request("post", url)
  File "/srv/shop/.venv/lib/python3.11/site-packages/urllib3/pool.py", line 9, in urlopen
  File "/usr/lib/python3.11/socket.py", line 851, in create_connection
    sock.connect(sa)
requests.exceptions.ConnectionError: no route

which led to:

Traceback (most recent call last):
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
  File "/srv/shop/functions/notify.py", line 9, in again
KeyError: 'x'
  File "not a frame"
"""


def test_frames_of_libraries_in_a_row_are_counted() -> None:
    """One alone stays as it is, and so does everything that is no frame."""
    assert of_the_user(TRACE, Path("/srv/shop")) == [
        "Traceback (most recent call last):",
        '  File "functions/notify.py", line 5, in send',
        "    requests.post(url)",
        "  … 3 frames in requests, urllib3, socket",
        "requests.exceptions.ConnectionError: no route",
        "",
        "which led to:",
        "",
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads',
        "    return _default_decoder.decode(s)",
        '  File "functions/notify.py", line 9, in again',
        "KeyError: 'x'",
        '  File "not a frame"',
    ]


def test_where_the_function_ran_need_not_be_here() -> None:
    """Libraries are known on every machine, and an empty traceback has no lines."""
    assert "  … 3 frames in requests, urllib3, socket" in of_the_user(TRACE, Path("/home/me/shop"))
    assert of_the_user("", Path("/p")) == []
