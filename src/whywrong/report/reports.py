"""Method reports of a run; if one fails, only its part of the page is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.core.registry import Method, methods, resolve
from whywrong.report import plug_ins
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import shown
from whywrong.report.primitives.sections import Block, Context, Section

T = TypeVar("T")


class Reports:
    """The method reports of a run, in display order.

    Attributes:
        failures: Number of failures, by method, part of the report, and error.
    """

    def __init__(self, reports: Sequence[MethodReport]) -> None:
        self._reports = sorted(reports, key=lambda report: report.order)
        self.failures: Counter[tuple[str, str, str]] = Counter()

    def __iter__(self) -> Iterator[MethodReport]:
        return iter(self._reports)

    def ask(self, report: MethodReport, what: str, function: Callable[..., T], *arguments: Any, otherwise: T) -> T:
        """Call a function of a report.

        If the function raises, the failure is recorded and ``otherwise`` is returned.

        Raises:
            RunFolderError, EnvironmentFailure: The run cannot be read.
        """
        value, error = self._try(report, what, function, *arguments)
        return otherwise if error or value is None else value

    def sections(self, context: Context) -> list[Section]:
        """Collect the sections of all methods on one error.

        If a method fails, its section names the error.
        """
        found = []
        for report in self:
            section, error = self._try(report, "section", report.section, context)
            if error:
                section = _failed(report.method, error)
            if section is not None:
                found.append(section)
        return found

    def _try(
        self, report: MethodReport, what: str, function: Callable[..., T], *arguments: Any
    ) -> tuple[T | None, str]:
        try:
            return function(*arguments), ""
        except (RunFolderError, EnvironmentFailure):
            raise
        except Exception as error:  # noqa: BLE001 - a report may fail in any way; the page is written without it
            self.failures[report.method, what, _named(error)] += 1
            return None, _named(error)


def find_reports(meta: Mapping[str, Any]) -> Reports:
    """Collect the reports of all methods that have a report or ran.

    A method without a report gets a plain section with its columns. The same holds if the method is not installed, or
    if its report cannot be loaded.

    Args:
        meta: Content of ``run.json``.
    """
    known, ran = methods(), meta.get("methods") or {}
    found, failures = [], {}
    for name in dict.fromkeys([*known, *ran]):
        method = known.get(name)
        if name not in ran and (method is None or method.report is None):
            continue
        try:
            found.append(report_of(method) if method is not None else plug_ins.plain_report(name, name))
        except Exception as error:  # noqa: BLE001 - as above
            failures[name, "report", _named(error)] = 1
            found.append(plug_ins.plain_report(name, method.title if method is not None else name))
    reports = Reports(found)
    reports.failures.update(failures)
    return reports


def report_of(method: Method) -> MethodReport:
    """Return the report of a method.

    It is the one that ``Method.report`` names, otherwise one built from its ``view``, otherwise a plain one with its
    columns.

    Raises:
        TypeError: ``Method.report`` does not name a :class:`MethodReport` of this method.
    """
    if method.report is None:
        return plug_ins.adapt(method) if method.view else plug_ins.plain_report(method.name, method.title)
    report = resolve(method.report)
    if not isinstance(report, MethodReport) or report.method != method.name:
        raise TypeError(f'{method.report} must be a MethodReport with method="{method.name}", got {report!r}')
    return report


def _failed(method: str, error: str) -> Section:
    reason = f"its section failed: {error}"
    return Section(blocks=[Block(method.replace("_", " ").capitalize(), "not shown", [("not shown", "", reason)])])


def _named(error: Exception) -> str:
    return shown(f"{type(error).__name__}: {error}")[:400]
