"""Ledger of the images sent to an endpoint, an append-only SQLite file that is also the cache of its answers.

Every call is written and committed before it is sent, so that a killed process has not asked more than the ledger
says. An image that was answered is never sent again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from whywrong.core.errors import EnvironmentFailure, InputError, ModelError

VERSION = 1
_TABLES = """
create table if not exists version (number integer not null);
create table if not exists calls (
    id integer primary key, at real not null, endpoint text not null, images integer not null, purpose text not null);
create table if not exists ends (
    call integer not null references calls (id), at real not null, state text not null, status integer, reason text);
create table if not exists answers (
    endpoint text not null, image blob not null, call integer not null, width integer not null, scores blob not null,
    primary key (endpoint, image)) without rowid;
create table if not exists firsts (endpoint text primary key, image blob not null, content blob not null);
create table if not exists changes (at real not null, endpoint text not null, call integer not null, reason text);
"""
_TABLE_NAMES = ("version", "calls", "ends", "answers", "firsts", "changes")


class BudgetUsedUp(ModelError):
    """Raised if an image may not be sent because the budget of queries is used up."""


class Ledger:
    """The ledger of an endpoint.

    It may be used by several threads and processes at once.

    Args:
        path: The file; created if missing.
        endpoint: Identity of the endpoint, whose answers are kept apart from those of others.
        budget: Images that may be sent in total; None for no limit.

    Raises:
        InputError: The file is no ledger.
        EnvironmentFailure: It cannot be opened or written.
    """

    def __init__(self, path: Path, endpoint: str, budget: int | None = None) -> None:
        self.path, self.endpoint, self.budget = path, endpoint, budget
        self._lock = threading.Lock()
        self._asked, self._counted_calls, self._counted_ends = 0, 0, 0  # images, and the last rows that are counted
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise EnvironmentFailure(f"{path}: the ledger of queries cannot be opened: {error}") from None
            raise InputError(f"{path}: not a ledger of queries; name another file in the settings") from None

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        names = {row[0] for row in self._db.execute("select name from sqlite_master where type = 'table'")}
        if names and not names >= {"version", "calls"}:
            raise sqlite3.DatabaseError("another database")
        self._db.executescript("begin immediate;" + _TABLES + _append_only() + "commit;")
        found = self._db.execute("select number from version").fetchone()
        if found is None:
            self._db.execute("insert into version values (?)", (VERSION,))
        elif found[0] != VERSION:
            raise InputError(f"{self.path}: the ledger of another version of whywrong; name another file")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @property
    def asked(self) -> int:
        """Number of images sent to this endpoint so far, including repeated attempts."""
        with self._lock:
            try:
                self._db.execute("begin")
                asked = self._count()
                self._db.execute("commit")
            except sqlite3.Error as error:
                raise self._failure(error) from None
        return asked

    def begin(self, images: int, purpose: str) -> int:
        """Write that a call is about to be sent.

        Args:
            images: Number of its images.
            purpose: ``ask``, ``again`` for a further attempt, or ``check`` for the image that is sent repeatedly.

        Returns:
            Number of the call.

        Raises:
            BudgetUsedUp: The images exceed the budget; nothing is written.
            EnvironmentFailure: The ledger cannot be written; nothing may be sent then.
        """
        with self._lock:
            try:
                self._db.execute("begin immediate")
                spent = self._count()
                if self.budget is not None and spent + images > self.budget:
                    self._db.execute("rollback")
                    raise BudgetUsedUp(
                        f"the budget of {self.budget:,} queries is used up: {spent:,} images were sent; raise "
                        "most_queries to go on, answered images are not sent again"
                    )
                row = self._db.execute(
                    "insert into calls (at, endpoint, images, purpose) values (?, ?, ?, ?)",
                    (time.time(), self.endpoint, images, purpose),
                )
                self._db.execute("commit")
            except sqlite3.Error as error:
                raise self._failure(error) from None
        return int(row.lastrowid or 0)

    def end(self, call: int, state: str, status: int | None = None, reason: str = "") -> None:
        """Write how a call ended.

        Args:
            call: Its number.
            state: ``answered``, ``failed``, or ``not sent`` if no connection was made, which is not counted.
            status: Status code of the answer, if there is one.
            reason: Why it failed, without content of the answer.
        """
        self._write("insert into ends values (?, ?, ?, ?, ?)", [(call, time.time(), state, status, reason)])

    def keep(self, call: int, answers: Mapping[bytes, np.ndarray]) -> None:
        """Keep the answers of a call.

        Args:
            call: Its number.
            answers: Scores (K,) or class (1,) by digest of the image.
        """
        rows = [
            (self.endpoint, digest, call, len(values), np.asarray(values, "<f8").tobytes())
            for digest, values in answers.items()
        ]
        self._write("insert or ignore into answers values (?, ?, ?, ?, ?)", rows)

    def known(self, digests: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Return the kept answers of images, by digest."""
        found = {}
        for digest in digests:
            rows = self._read(
                "select width, scores from answers where endpoint = ? and image = ?", self.endpoint, digest
            )
            if rows and len(rows[0][1]) == 8 * rows[0][0]:
                found[digest] = np.frombuffer(rows[0][1], "<f8")
        return found

    def first(self) -> tuple[bytes, bytes] | None:
        """Return digest and content of the first image that was answered, or None."""
        rows = self._read("select image, content from firsts where endpoint = ?", self.endpoint)
        return (rows[0][0], rows[0][1]) if rows else None

    def keep_first(self, digest: bytes, content: bytes) -> None:
        """Keep the first image that was answered; later calls change nothing."""
        self._write("insert or ignore into firsts values (?, ?, ?)", [(self.endpoint, digest, content)])

    def changed(self, call: int, reason: str) -> None:
        """Write that the endpoint answered the first image differently."""
        self._write("insert into changes values (?, ?, ?, ?)", [(time.time(), self.endpoint, call, reason)])

    @property
    def changes(self) -> int:
        """Number of times that the endpoint answered the first image differently."""
        return int(self._read("select count(*) from changes where endpoint = ?", self.endpoint)[0][0])

    def _count(self) -> int:
        """Count the images sent so far, inside a transaction.

        Rows are only appended, so that those written since the last count are added to it: counting all of them before
        every call would take longer with every call.
        """
        images, call = self._db.execute(
            "select coalesce(sum(images), 0), max(id) from calls where endpoint = ? and id > ?",
            (self.endpoint, self._counted_calls),
        ).fetchone()
        unsent = self._db.execute(
            """select coalesce(sum(images), 0) from ends join calls on calls.id = ends.call
            where ends.rowid > ? and state = 'not sent' and endpoint = ?""",
            (self._counted_ends, self.endpoint),
        ).fetchone()[0]
        end = self._db.execute("select max(rowid) from ends").fetchone()[0]
        self._asked += images - unsent
        self._counted_calls, self._counted_ends = call or self._counted_calls, end or self._counted_ends
        return self._asked

    def _read(self, sql: str, *values: object) -> list[tuple]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._failure(error) from None

    def _write(self, sql: str, rows: list[tuple]) -> None:
        with self._lock:
            try:
                self._db.execute("begin immediate")
                self._db.executemany(sql, rows)
                self._db.execute("commit")
            except sqlite3.Error as error:
                raise self._failure(error) from None

    def _failure(self, error: sqlite3.Error) -> EnvironmentFailure:
        if self._db.in_transaction:
            self._db.rollback()
        return EnvironmentFailure(f"{self.path}: the ledger of queries cannot be used: {error}")


def _append_only() -> str:
    return "".join(
        f"create trigger if not exists {name}_{verb} before {verb} on {name} begin "
        "select raise(abort, 'a ledger is only appended to'); end;"
        for name in _TABLE_NAMES
        for verb in ("update", "delete")
    )
