"""Results of methods as batched tensors and plain data, with the columns of their table declared once.

A result is a class under :func:`result_class`. Each field declares its role: :func:`column` is a column of the stored
table, :func:`map_field` a dense map, :func:`nested` a group of columns kept in a class of its own, and a plain
annotation is for callers only. Table, schema and documentation follow from that. Importing this loads no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor

Kind = str | list[Any] | dict[str, Any]
"""Type of a column: an Arrow name such as ``float32``, a list of one type, or a dictionary for a struct."""

C = TypeVar("C", bound=type)
_AS_ROWS = b"whywrong.as_rows"
_WHOLE = b"whywrong.whole"
_COST = ("forwards", "backwards")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a stored table.

    Attributes:
        name: Name in the table and the view.
        kind: Type of a value.
        doc: Meaning and unit.
        as_rows: Whether values are lists that the view expands to rows, one per entry, together with the other such
            columns.
        check: Whether it is one of the result's ``checks``.
    """

    name: str
    kind: Kind
    doc: str
    as_rows: bool = False
    check: bool = False

    @property
    def field(self) -> pa.Field:
        """The field of an Arrow schema."""
        import pyarrow as pa

        kind = arrow_type(self.kind)
        return rows_field(self.name, kind) if self.as_rows else pa.field(self.name, kind)


@dataclass(frozen=True, slots=True)
class _Nested:
    group: type[ColumnGroup]
    names: Mapping[str, str]
    as_rows: bool


def column(kind: Kind, doc: str, *, name: str = "", check: bool = False) -> Any:
    """Declare a field that is a column of the table.

    Args:
        kind: Arrow name of the type of a value, a list of one type, or a dictionary for a struct.
        doc: Meaning and unit, shown in the documentation.
        name: Name of the column, if it differs from that of the field.
        check: Whether it is one of the result's ``checks``.
    """
    return dataclasses.field(metadata={"column": Column(name=name, kind=kind, doc=doc, check=check)})


def map_field(doc: str) -> Any:
    """Declare a field (B, ...) of stored dense maps, NaN in rows without a map."""
    return dataclasses.field(metadata={"map": doc})


def nested(group: type[ColumnGroup], *, names: Mapping[str, str] | None = None, as_rows: bool = False) -> Any:
    """Declare a field whose value is a group of columns, or None.

    A group with a field ``row`` (E,) has E entries, each of one image; otherwise it has one entry per image.

    Args:
        group: Class of the value.
        names: Names in the table of the columns that have another name in the group.
        as_rows: Whether an image has any number of entries, which the view expands to rows.
    """
    return dataclasses.field(metadata={"nested": _Nested(group, names or {}, as_rows)})


def computed(kind: Kind, *, name: str = "", check: bool = False) -> Callable[[Callable[[Any], Any]], property]:
    """Declare a property that is a column, documented by its docstring.

    Computed columns follow those of the fields.
    """

    def declare(function: Callable[[Any], Any]) -> property:
        doc = " ".join((function.__doc__ or "").split())
        found = Column(name=name or function.__name__, kind=kind, doc=doc, check=check)
        return _Computed(function).declared_as(found)

    return declare


class _Computed(property):
    column: Column

    def declared_as(self, found: Column) -> _Computed:
        self.column = found
        return self


@dataclass_transform(
    eq_default=False, frozen_default=True, kw_only_default=True, field_specifiers=(column, map_field, nested)
)
def result_class(cls: C) -> C:
    """Make a frozen, keyword-only dataclass of a class that declares columns."""
    made: Any = dataclass(frozen=True, slots=True, eq=False, kw_only=True)(cls)
    documented = [(f.name, _doc_of(f)) for f in dataclasses.fields(made)]
    lines = "".join(f"        {name}: {doc}\n" for name, doc in documented if doc)
    made.__doc__ = f"{(cls.__doc__ or '').rstrip()}\n\n    Attributes:\n{lines}    "
    return made


def _doc_of(field: dataclasses.Field[Any]) -> str:
    found = field.metadata.get("column")
    return found.doc if found else field.metadata.get("map", "")


class ColumnGroup:
    """Base of classes whose fields are columns."""

    __slots__ = ()

    @classmethod
    def declared(cls) -> tuple[Column, ...]:
        """Return the columns in their order, those of fields before computed ones."""
        return tuple(found for _, group in _declarations(cls) for found in group)

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """Return the values by column name.

        One entry per image; in a group with ``row``, one per entry of the group.
        """
        found: dict[str, Any] = {}
        for attribute, declared in _declarations(type(self)):
            value = getattr(self, attribute)
            if isinstance(value, ColumnGroup) or (value is None and len(declared) > 1):
                found |= _spread(value, declared, self._batch)
                continue
            single = value is None or isinstance(value, (str, int, float))
            found |= {one.name: [value] * self._batch if single else value for one in declared}
        return found

    @property
    def _batch(self) -> int:
        return 0


class MethodResult(ColumnGroup):
    """Base of the results of methods, the only interface that runs and reports use.

    A subclass has at least:
        status: (B,), :class:`whywrong.core.status.Status` of each image.
        forwards: (B,), int64, forward passes per image.
        backwards: (B,), int64, backward passes per image.
    """

    __slots__ = ()

    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """Return the values of the table by column name, one entry per image.

        Raises:
            NotImplementedError: The class neither declares columns nor overrides this method.
        """
        if not self.declared():
            raise NotImplementedError(f"{type(self).__name__} declares no columns: use column() for its fields")
        return super().columns()

    def maps(self) -> Mapping[str, Tensor]:
        """Return the dense maps to store, (B, ...), NaN in rows without a map."""
        return {f.name: getattr(self, f.name) for f in _fields(type(self)) if "map" in f.metadata}

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """Residuals, intervals and controls, (B,) each, that test the result."""
        checked = [name for name, group in _declarations(type(self)) if any(found.check for found in group)]
        return {name: getattr(self, name) for name in checked}

    @property
    def cost(self) -> Mapping[str, Tensor]:
        """``forwards`` and ``backwards``, (B,) int64 each."""
        return {name: getattr(self, name) for name in _COST}

    @classmethod
    def schema(cls) -> pa.Schema | None:
        """Return the schema of the table, or None if no columns are declared.

        It fixes the types even of columns that are empty; without it, they are inferred from the values.
        """
        import pyarrow as pa

        columns = [found.field for found in cls.declared()]
        return pa.schema([*columns, *((name, pa.int64()) for name in _COST)]) if columns else None

    def to_arrow(self) -> pa.Table:
        """Return the table of :meth:`columns` with the cost, one row per image."""
        import pyarrow as pa

        columns = {**self.columns(), **self.cost}
        return pa.table({name: _plain(values) for name, values in columns.items()}, schema=self.schema())

    def to_pandas(self) -> pd.DataFrame:
        """Return :meth:`to_arrow` as a pandas data frame."""
        return self.to_arrow().to_pandas()

    @property
    def _batch(self) -> int:
        return len(self.forwards)


def arrow_type(kind: Kind) -> pa.DataType:
    """Return the Arrow type of a declared kind."""
    import pyarrow as pa

    if isinstance(kind, str):
        return pa.type_for_alias(kind)
    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    return pa.struct({name: arrow_type(inner) for name, inner in kind.items()})


def rows_field(name: str, kind: pa.DataType) -> pa.Field:
    """Make a field of lists that the view of a method expands to rows.

    All such lists are equally long within a row of the table; if they are empty, the view keeps one row of nulls.
    """
    import pyarrow as pa

    return pa.field(name, pa.list_(kind), metadata={_AS_ROWS: b"1"})


def shown_as_rows(schema: pa.Schema) -> list[str]:
    """Return the names of the columns that :func:`rows_field` made."""
    return [field.name for field in schema if _AS_ROWS in (field.metadata or {})]


def whole_field(name: str, kind: pa.DataType) -> pa.Field:
    """Make a field of lists of records that a view does not expand to rows."""
    import pyarrow as pa

    return pa.field(name, pa.list_(kind), metadata={_WHOLE: b"1"})


def kept_whole(schema: pa.Schema) -> set[str]:
    """Return the names of the columns that :func:`whole_field` made."""
    return {field.name for field in schema if _WHOLE in (field.metadata or {})}


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def _declarations(cls: type) -> Iterable[tuple[str, tuple[Column, ...]]]:
    """Map attributes that hold columns to these, one for a field or property and several for a group."""
    found: dict[str, tuple[Column, ...]] = {}
    for field in _fields(cls):
        if "column" in field.metadata:
            one: Column = field.metadata["column"]
            found[field.name] = (dataclasses.replace(one, name=one.name or field.name),)
        elif "nested" in field.metadata:
            part: _Nested = field.metadata["nested"]
            found[field.name] = tuple(
                dataclasses.replace(one, name=part.names.get(one.name, one.name), as_rows=part.as_rows)
                for one in part.group.declared()
            )
    for base in reversed(cls.__mro__):
        found |= {name: (value.column,) for name, value in vars(base).items() if isinstance(value, _Computed)}
    return found.items()


def _spread(part: ColumnGroup | None, declared: Sequence[Column], batch: int) -> dict[str, Any]:
    """Spread the columns of a group to one entry per image, as lists, or None in rows without an entry."""
    if part is None:
        return {one.name: [[] if one.as_rows else None for _ in range(batch)] for one in declared}
    values = part.columns().values()
    rows = getattr(part, "row", None)
    if rows is None:
        return {one.name: column for one, column in zip(declared, values, strict=True)}
    found: dict[str, list[Any]] = {}
    for one, entries in zip(declared, values, strict=True):
        lists: list[Any] = [[] if one.as_rows else None for _ in range(batch)]
        for row, entry in zip(rows.tolist(), _listed(entries), strict=True):
            if one.as_rows:
                lists[row].append(entry)
            else:
                lists[row] = entry
        found[one.name] = lists
    return found


def _listed(values: Tensor | Sequence[Any]) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)  # type: ignore[union-attr]


def _plain(values: Tensor | Sequence[Any]) -> Any:
    if not hasattr(values, "detach"):
        return list(values)  # type: ignore[arg-type]
    values = values.detach().cpu()  # type: ignore[union-attr]
    half = values.is_floating_point() and values.element_size() == 2
    return (values.float() if half else values).numpy()
