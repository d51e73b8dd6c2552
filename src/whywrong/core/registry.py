"""Registry of methods, analyses, claims, model loaders and kinds of data, by name.

An entry names its functions as import strings, which are resolved on use, so that listing entries loads nothing heavy.
Each package declares its own entries; ``_BUILTIN`` says where. Plug-ins register through entry points, one per entry:
``whywrong.methods``, ``whywrong.analyses``, ``whywrong.claims``, ``whywrong.loaders`` and ``whywrong.sources``.
They never replace a built-in.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from whywrong.core.access import Access
from whywrong.core.errors import InputError

Depth = Literal["quick", "standard", "deep"]
DEPTHS: tuple[Depth, ...] = ("quick", "standard", "deep")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]+")  # at least two letters: C: is a drive


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A registry entry for a method.

    Attributes:
        name: Name of the method, of its view and of its folder in a run.
        title: The question it answers, in a few words.
        access: The least access it needs.
        function: ``module:attribute`` of ``method(classifier, x, y, *, keys=None, config) -> MethodResult``.
        config: ``module:attribute`` of its frozen config.
        report: ``module:attribute`` of its :class:`whywrong.report.methods.base.MethodReport`, all that the report
            shows of it. If None, the report lists the columns of its rows.
        draw, view: For plug-ins written for version 0.1, instead of ``report``: ``draw(result, x, rows)``, a figure,
            and ``view(shown)``, see :mod:`whywrong.report.plug_ins`.
        depth: The shallowest depth that runs it; None if it only runs when it is named.
        takes: Optional keyword inputs it accepts: ``detail`` (B,) bool, rows to explain in full;
            ``masks`` (B, H, W) bool, the object at input size, all False if unknown; and ``fixes`` (B, C, H, W), fixes
            that a method of the same run stored, NaN if there is none.
        gives: ``fixes`` if its maps ``fix_u8`` and ``image_u8`` are a fix and its image in grey levels, which a run
            passes on to methods that take them.
        passes: Typical number of forward and backward passes per error, and per error explained in full. Used only by
            the progress display, until it has measured the method.
        result_version: Increased when its results change; older rows are then recomputed.
        role_play: Whether a run also calls it for correctly classified images, with their runner-up as the label. Its
            result then has the columns ``status``, ``v`` and ``turned``, and its view gains ``p`` and
            ``place_confirmed``, see :func:`whywrong.core.discoveries.confirm`.
    """

    name: str
    title: str
    access: Access
    function: str
    config: str
    report: str | None = None
    draw: str | None = None
    view: str | None = None
    depth: Depth | None = "quick"
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    passes: tuple[int, int] = (100, 100)
    result_version: int = 1
    role_play: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A registry entry for an analysis of a whole data set, see :mod:`whywrong.explain.analysis`.

    Attributes:
        name: Name of the analysis.
        title: The question it answers, in a few words.
        access: The least access it needs.
        function: ``module:attribute`` of ``analysis(context, *, config) -> AnalysisResult``.
        config: ``module:attribute`` of its frozen config.
        report: ``module:attribute`` of ``section(record, rows) -> AnalysisSection``, its section in the report, see
            :mod:`whywrong.report.analyses.base`; None for no section.
        tables: Its tables, in the order in which they are written; empty for one table named after the analysis.
        views: Name of each view to the table it shows; empty for one view and table named after the analysis.
        folder: Folder of its tables in a run folder; empty for ``results/NAME``.
        record: Name of the file in this folder that holds its settings, counts and checks.
        files: Files in this folder that users may edit, each with its first line.
        result_version: Increased when its results change; parts of another version are recomputed.
    """

    name: str
    title: str
    access: Access
    function: str
    config: str
    report: str | None = None
    tables: tuple[str, ...] = ()
    views: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    record: str = "record.json"
    files: Mapping[str, str] = field(default_factory=dict)
    result_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A registry entry for a claim: a finding of a paper as a test on any model and data.

    Attributes:
        name: ``family.number``, as in ``inverted.1``.
        title: The claim in one sentence.
        function: ``module:attribute`` of ``claim(models, data, config) -> ClaimResult``.
        config: ``module:attribute`` of its frozen config.
        models: Number of classifiers it compares, 1 or 2.
        draw: ``module:attribute`` of ``draw(result) -> matplotlib Figure``; None for the default figure.
        takes: Optional keyword inputs it accepts: ``judges``, a sequence of further classifiers that evaluate a
            change; ``progress``, a callable that gets a ``ClaimProgress`` after every step; ``cache``, a dictionary
            shared by the claims of one call, so that common measurements are made once.
    """

    name: str
    title: str
    function: str
    config: str
    models: int = 1
    draw: str | None = None
    takes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A registry entry for a way to load a model by its name.

    Attributes:
        name: Name of the loader.
        form: Form of the names of its models, such as ``timm:NAME``; for help and messages.
        function: ``module:attribute`` of ``load(request: ModelRequest) -> Loaded``, see
            :mod:`whywrong.models.loading.loaded`.
        schemes: Prefixes before the colon of such a name, such as ``timm``.
        suffixes: Suffixes of the files that it loads, in lower case, such as ``.onnx``; a name inside the file may
            follow after a colon, as in ``nets.py:build``.
    """

    name: str
    form: str
    function: str
    schemes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """A registry entry for a way to read labelled images.

    Attributes:
        name: Name of the kind, as it is stored in a run.
        title: Description, such as ``a folder of class folders``; for messages.
        source: ``module:attribute`` of its class, a :class:`whywrong.data.sources.base.Source`.
        schemes: Prefixes before the colon of its data, as ``hf`` in ``hf:NAME``.
        suffixes: Suffixes of the files that it reads, in lower case.
        folders: Whether its ``recognise`` is called for folders, in the order of the registry.
        takes: Options of ``open_source`` that it accepts.
    """

    name: str
    title: str
    source: str
    schemes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    folders: bool = False
    takes: frozenset[str] = frozenset({"boxes", "label_by", "follow_links"})


Line = TypeVar("Line", Method, Analysis, Claim, Loader, SourceKind)
Addressed = TypeVar("Addressed", Loader, SourceKind)

# Where the built-in entries are declared, and the entry-point groups of plug-ins.
_BUILTIN: dict[type, tuple[str, str]] = {
    Method: ("whywrong.explain.methods:METHODS", "whywrong.methods"),
    Analysis: ("whywrong.explain.analyses:ANALYSES", "whywrong.analyses"),
    Claim: ("whywrong.reproduce:CLAIMS", "whywrong.claims"),
    Loader: ("whywrong.models.loading.loaders:LOADERS", "whywrong.loaders"),
    SourceKind: ("whywrong.data.sources.kinds:SOURCES", "whywrong.sources"),
}


def methods() -> dict[str, Method]:
    """Return all methods by name, built-ins before plug-ins."""
    return lines(Method)


def analyses() -> dict[str, Analysis]:
    """Return all analyses by name, built-ins before plug-ins."""
    return lines(Analysis)


def claims() -> dict[str, Claim]:
    """Return all claims by name, built-ins before plug-ins."""
    return lines(Claim)


def lines(kind: type[Line]) -> dict[str, Line]:
    """Return all entries of a kind by name, built-ins before plug-ins.

    A plug-in that cannot be loaded, has another type or reuses a name is skipped with a warning.
    """
    home, group = _BUILTIN[kind]
    found: dict[str, Line] = {line.name: line for line in cast("tuple[Line, ...]", resolve(home))}
    for point in entry_points(group=group):
        try:
            line = point.load()
        except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; it is skipped with a warning
            warnings.warn(f"plug-in {point.name} ({point.value}) failed to load: {error}", stacklevel=3)
            continue
        if not isinstance(line, kind):
            warnings.warn(f"plug-in {point.name} ({point.value}) is not a {kind.__name__}; left out", stacklevel=3)
        elif line.name in found:
            warnings.warn(f'plug-in {point.value} may not replace "{line.name}"; left out', stacklevel=3)
        else:
            found[line.name] = line
    return found


def entry_points(*, group: str) -> Iterable[Any]:
    """Return the entry points of installed packages.

    ``importlib.metadata`` is imported late, as it takes as long to import as all of this package.
    """
    return _installed(group, tuple((place, _changed(place)) for place in sys.path))


@functools.lru_cache(maxsize=32)
def _installed(group: str, path: tuple[tuple[str, int], ...]) -> tuple[Any, ...]:
    """Read the metadata of all packages, again only if a folder of the search path has changed since."""
    from importlib.metadata import entry_points as installed

    return tuple(installed(group=group))


def _changed(place: str) -> int:
    """Return the time of the last change of a folder, 0 if there is none."""
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return 0


def resolve(import_string: str) -> Any:
    """Return the object that ``module:attribute`` refers to."""
    module, _, attribute = import_string.partition(":")
    return getattr(importlib.import_module(module), attribute)


def find_method(name: str) -> Method:
    """Return the method called ``name``.

    Raises:
        InputError: No such method; the message lists all methods.
    """
    known = methods()
    if name not in known:
        raise InputError(f'no method "{name}"{nearest(name, known)}; the methods are: {", ".join(sorted(known))}')
    return known[name]


def find_analysis(name: str) -> Analysis:
    """Return the analysis called ``name``.

    Raises:
        InputError: No such analysis; the message lists all analyses.
    """
    known = analyses()
    if name not in known:
        raise InputError(f'no analysis "{name}"{nearest(name, known)}; the analyses are: {", ".join(sorted(known))}')
    return known[name]


def find_claim(name: str) -> Claim:
    """Return the claim called ``name``.

    Raises:
        InputError: No such claim; the message lists those of its family, or the families.
    """
    known = claims()
    if name in known:
        return known[name]
    family = name.partition(".")[0]
    same = [claim for claim in known if claim.partition(".")[0] == family]
    there = f"the claims of {family} are {', '.join(same)}" if same else _families(known)
    raise InputError(
        f'no claim "{name}"{nearest(name, known)}; {there}; `whywrong reproduce` lists all with their titles'
    )


def find_claims(family: str) -> list[Claim]:
    """Return the claims of a family, in the order of the registry.

    Raises:
        InputError: No such family; the message lists the families.
    """
    known = claims()
    chosen = [claim for name, claim in known.items() if name.partition(".")[0] == family]
    if not chosen:
        raise InputError(f'no family of claims "{family}"; {_families(known)}')
    return chosen


def find_by_scheme(text: str, known: Iterable[Addressed]) -> tuple[Addressed, str] | None:
    """Find the entry for the scheme of ``scheme:name``.

    Returns:
        The entry and the name without the scheme; None if the text has no scheme, as a path.

    Raises:
        InputError: The scheme is unknown; the message lists all schemes.
    """
    scheme, colon, name = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        return None
    served = {scheme: line for line in known for scheme in line.schemes}
    if scheme not in served:
        there = ", ".join(f"{scheme}:" for scheme in served)
        raise InputError(f'"{text}": unknown scheme "{scheme}:"{nearest(scheme, served)}; the schemes are {there}')
    return served[scheme], name


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; nearest: "cam"`` for a message about an unknown name.

    Empty if no known name is similar.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; nearest: "{near[0]}"' if near else ""


def _families(known: Iterable[str]) -> str:
    return f"the families are {', '.join(sorted({claim.partition('.')[0] for claim in known}))}"
