"""Webdataset shards, tar files of samples ``NAME.jpg``, ``NAME.cls`` (or ``NAME.json`` with ``label``).

A ``NAME.mask.png`` is the object's mask.
Members are read in place and never unpacked to disk. Only the standard library is needed.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import HEAD, MAX_FILE_BYTES, Judge, open_regular, path_bytes, path_text, to_text
from whywrong.data.formats import IMAGE_SUFFIXES, MAX_PIXELS
from whywrong.data.inside import is_remote, outside
from whywrong.data.sources.base import Entry, Source, SourceSpec, judge_image
from whywrong.data.sources.label_values import label_text
from whywrong.data.sources.walk import Walk, is_system, list_folder

SUFFIXES = (b".tar", b".tar.gz", b".tgz")
_MAX_LABEL_BYTES = 2**20
_MAX_READ = 2**26  # a member's header may state any size
_OPEN_SHARDS = 4
_RATIO = 100  # maximum ratio of a shard's decompressed to compressed size
_LEAST_UNFOLDED = 2**30  # bytes to which every compressed shard may decompress


class _Bounded:
    """File that refuses single reads as large as only a forged header requests."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Read as ``file.read``; ``tarfile`` reads headers whole and content in small parts."""
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)


class _Unfolding:
    """Decompressed stream that fails beyond ``most`` bytes, since pictures do not compress a hundredfold."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most
        self.tell, self.close = file.tell, file.close

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._check(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._check(offset)  # before everything up to there is decompressed
        return self._file.seek(offset, whence)

    def _check(self, position: int) -> None:
        if position > self._most:
            raise tarfile.ReadError(f"it unfolds to more than {self._most} bytes, {_RATIO} times its size")


@dataclass(slots=True)
class _Shard:
    archive: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]


class TarSource(Source):
    """Samples of one shard or of all shards in a folder, in order; the key is ``shard.tar/name.jpg``."""

    @classmethod
    def recognise(cls, asked: SourceSpec) -> SourceSpec | None:
        """Recognise a shard, or a folder of shards without images beside them."""
        root = path_bytes(asked.path)
        if not os.path.isdir(root):
            return asked
        shards = any(kind == b"f" and name.lower().endswith(SUFFIXES) for name, kind in list_folder(root))
        images = shards and any(True for _ in Walk(root, follow_links=asked.follow_links).files(deep=False))
        return asked if shards and not images else None

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        root = path_bytes(spec.path)
        if os.path.isdir(root):
            self._folder, names = root, [name for name, kind in list_folder(root) if kind == b"f"]
            self._names = [name for name in names if name.lower().endswith(SUFFIXES) and not is_system(name)]
        else:
            self._folder, self._names = os.path.split(root)[0], [os.path.basename(root)]
        self._open: OrderedDict[bytes, _Shard] = OrderedDict()
        self._lock = threading.RLock()  # loaders prefetch in several threads, but a shard has one position
        self._where: dict[str, str] = {}

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        for name in self._names:
            with self._lock:
                shard = self._shard(name)
            samples: dict[str, dict[str, tarfile.TarInfo]] = {}
            for member in shard.archive.getmembers():
                if not member.isreg() or member.issparse():
                    ignored["member that is not a plain file"] += not member.isdir()
                elif is_system(path_bytes(os.path.basename(member.name))):
                    ignored["hidden or system file"] += 1
                else:
                    stem, ending = _split(member.name)
                    samples.setdefault(stem, {})[ending] = member
            for parts in samples.values():
                yield from self._sample(name, shard, parts, ignored)

    def _sample(
        self, shard_name: bytes, shard: _Shard, parts: dict[str, tarfile.TarInfo], ignored: Counter[str]
    ) -> Iterator[Entry]:
        images = [member for ending, member in parts.items() if "." + ending in IMAGE_SUFFIXES]
        if not images:
            ignored["sample without an image"] += 1
            return
        label = self._label(shard_name, shard, parts)
        mask = next((m.name for ending, m in parts.items() if ending in ("mask.png", "seg.png")), None)
        for member in images:
            key = f"{path_text(shard_name)}/{member.name}"
            if label is not None:
                self._where.setdefault(label, f'{to_text(path_text(shard_name))}, member "{to_text(member.name)}"')
            yield Entry(key, label, member.size, int(member.mtime) * 10**9, mask=mask)

    def _label(self, shard_name: bytes, shard: _Shard, parts: dict[str, tarfile.TarInfo]) -> str | None:
        member = parts.get("cls") or parts.get("json")
        if member is None:
            return None
        where = f'{to_text(path_text(shard_name))}, member "{to_text(member.name)}"'
        try:
            data = self._content(shard, member, _MAX_LABEL_BYTES)
            text = data.decode("utf-8").strip()
            if member is parts.get("json"):
                value = json.loads(text).get("label")
                if value is None:
                    return None
            else:
                value = text
        except (BadItemError, ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{where}: unreadable label: {error}") from None
        return label_text(value, where)

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> bytes:
        """Read the bytes of the image member.

        Raises:
            BadItemError: The member is missing, truncated, no image or too large, or its name leads out of the shard.
        """
        return self._member(entry.key, max_pixels)

    def read_mask(self, entry: Entry) -> bytes:
        """Read the bytes of the mask member.

        Raises:
            BadItemError: The member is missing, truncated or too large.
        """
        shard = entry.key.partition("/")[0]
        return self._member(f"{shard}/{entry.mask}")

    def _member(self, key: str, max_pixels: int = MAX_PIXELS) -> bytes:
        shard_name, _, name = key.partition("/")
        if _leaves(name):
            raise outside(name)
        with self._lock:
            try:
                shard = self._shard(path_bytes(shard_name))
            except DataError as error:
                raise BadItemError(str(error)) from error
            member = shard.members.get(name)
            if member is None:
                raise BadItemError("member has vanished from its shard")
            return self._content(shard, member, MAX_FILE_BYTES, judge_image(name, max_pixels))

    def _content(self, shard: _Shard, member: tarfile.TarInfo, limit: int, judge: Judge | None = None) -> bytes:
        with self._lock:
            return self._content_now(shard, member, limit, judge)

    @staticmethod
    def _content_now(shard: _Shard, member: tarfile.TarInfo, limit: int, judge: Judge | None) -> bytes:
        if member.size > limit:
            raise BadItemError(f"member of {member.size} bytes, the cap is {limit}")
        content = io.BytesIO()
        try:
            file = shard.archive.fileobj
            assert file is not None
            file.seek(member.offset_data)
            while content.tell() < member.size:
                first = judge is not None and content.tell() == 0
                part = file.read(min(member.size - content.tell(), HEAD if first else 2**20))
                if not part:
                    raise BadItemError("truncated shard: bytes are missing")
                if judge is not None and first:
                    judge(part, member.size)
                content.write(part)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise BadItemError(f"shard cannot be read: {error}") from error
        return content.getvalue()

    def _shard(self, name: bytes) -> _Shard:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        shown = to_text(path_text(name))
        try:
            file: Any = open_regular(os.path.join(self._folder, name))
            if name.lower().endswith((b".gz", b".tgz")):
                import gzip

                most = max(_LEAST_UNFOLDED, _RATIO * os.fstat(file.fileno()).st_size)
                file = _Unfolding(gzip.GzipFile(fileobj=file), most)
            bounded: Any = _Bounded(file)
            archive = tarfile.TarFile(fileobj=bounded, encoding="utf-8", errors="surrogateescape")
            members = archive.getmembers()
        except (tarfile.TarError, OSError, EOFError, BadItemError, ValueError, zlib.error) as error:
            raise DataError(f"{shown}: not a readable tar shard: {error}") from None
        by_name = {member.name: member for member in members}
        if len(by_name) < len(members):
            twice = next(iter(Counter(m.name for m in members if m.isreg()).most_common(1)), ("", 0))
            if twice[1] > 1:
                raise DataError(f'{shown}: member "{to_text(twice[0])}" stands {twice[1]} times')
        self._open[name] = _Shard(archive, by_name)
        while len(self._open) > _OPEN_SHARDS:
            self._close(self._open.popitem(last=False)[1])
        return self._open[name]

    @staticmethod
    def _close(shard: _Shard) -> None:
        file = shard.archive.fileobj
        shard.archive.close()
        if file is not None:
            file.close()

    def locate(self, label: str) -> str:
        """Return the first member with the label."""
        self.scan()
        return self._where.get(label, to_text(self.spec.path))

    def close(self) -> None:
        """Close the shards, which reading opens again."""
        while self._open:
            self._close(self._open.popitem()[1])


def _leaves(name: str) -> bool:
    """Return whether the name of a member leads out of the folder in which it would be unpacked."""
    return name.startswith("/") or ".." in name.split("/") or is_remote(name)


def _split(name: str) -> tuple[str, str]:
    """Split a member's name into sample and suffix at the first dot of its base name, as webdataset does."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()
