"""Arrow tables as pandas and polars frames, and the mixin that gives handles their frame methods.

pandas is reached by one fixed map from the Arrow type (`pandas_dtype`), never through DuckDB's
`.df()` or Arrow's plain `to_pandas()`: the first changes dtypes with the first NULL, the second
turns 2^53 + 1 into 2^53. The index is always a RangeIndex; `_id` is a column.

pandas and polars are imported when a frame is asked for, so that a handle costs neither.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from livedb.interchange.arrow import Fields, FieldType
    from livedb.interchange.exports import ExportResult, Format
    from livedb.schema.tables import TableDefinition
    from livedb.schema.validators import Validator

DtypeBackend = Literal["pyarrow"]


def arrow_to_pandas(
    table: pa.Table,
    fields: Mapping[str, FieldType] | None = None,  # noqa: ARG001 - the Arrow types say it
    *,
    dtype_backend: DtypeBackend | None = None,
) -> pd.DataFrame:
    """`table` as a DataFrame whose dtypes follow from the Arrow types alone.

    Args:
        table: its schema decides; nulls, NaN and the number of rows do not.
        fields: what the caller knows of the columns; the Arrow types already say the same.
        dtype_backend: "pyarrow" makes every column an `ArrowDtype`.
    """
    import pandas as pd

    from livedb.interchange.arrow import narrow_huge_integers

    if dtype_backend not in (None, "pyarrow"):
        raise ValueError(f'dtype_backend is None or "pyarrow", not {dtype_backend!r}')
    table = narrow_huge_integers(table)
    columns = [_series(table.column(i), dtype_backend) for i in range(table.num_columns)]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(table.num_rows))
    frame.columns = pd.Index(table.column_names, dtype="str")
    return frame


def arrow_to_polars(table: pa.Table) -> pl.DataFrame:
    """`table` as a polars frame; most columns share the table's memory."""
    import polars as pl

    from livedb.interchange.arrow import narrow_huge_integers

    frame = pl.from_arrow(narrow_huge_integers(table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def fields_of(definition: TableDefinition | Validator | None) -> Fields:
    """The typed fields of a table or a result; see `livedb.interchange.arrow.fields_of`."""
    from livedb.interchange import arrow

    return arrow.fields_of(definition)


def pandas_dtype(arrow: pa.DataType) -> Any:
    """The pandas dtype of a column of this Arrow type: the fixed map."""
    import pandas as pd
    import pyarrow as pa

    from livedb.store.arrow_types import is_text

    is_ = pa.types
    if is_.is_integer(arrow):
        return pd.UInt64Dtype() if arrow == pa.uint64() else pd.Int64Dtype()
    if is_.is_boolean(arrow):
        return pd.BooleanDtype()
    if is_.is_floating(arrow):
        return pd.Float64Dtype()
    if is_text(arrow) or (is_.is_dictionary(arrow) and is_text(arrow.value_type)):
        return pd.StringDtype(na_value=float("nan"))
    if is_.is_timestamp(arrow):
        return "datetime64[us]" if arrow.tz is None else pd.DatetimeTZDtype("us", "UTC")
    if isinstance(arrow, pa.BaseExtensionType):
        return pandas_dtype(arrow.storage_type)
    return pd.ArrowDtype(arrow)


class FrameMixin:
    """Frames and exports for whatever can give itself as one Arrow table.

    A class that takes it defines `_to_arrow`, and says the fields and the commit number of that
    table when it knows them.
    """

    # No `ABC`: its metaclass and that of traitlets exclude each other. mypy sees to it that no
    # instance is made of a class that lacks this.
    @abstractmethod
    def _to_arrow(self) -> pa.Table:
        """The current value as a table."""

    def _frame_fields(self) -> Mapping[str, FieldType] | None:
        """The schema types of the columns; None when there is no schema."""
        return None

    def _frame_snapshot(self) -> tuple[pa.Table, int | None]:
        """The current value, and the commit number it is of; None when it has none."""
        return self._to_arrow(), None

    @property
    def df(self) -> pd.DataFrame:
        """A pandas DataFrame of the current value."""
        return self.to_pandas()

    def to_pandas(self, *, dtype_backend: DtypeBackend | None = None) -> pd.DataFrame:
        """A pandas DataFrame of the current value; the same dtypes however many nulls it has."""
        return arrow_to_pandas(self._to_arrow(), self._frame_fields(), dtype_backend=dtype_backend)

    def to_arrow(self) -> pa.Table:
        """The current value as a pyarrow Table."""
        return self._to_arrow()

    def to_polars(self) -> pl.DataFrame:
        """The current value as a polars DataFrame."""
        return arrow_to_polars(self._to_arrow())

    def to_parquet(self, path: str | PathLike[str], *, overwrite: bool = False) -> ExportResult:
        """Write the current value to a Parquet file; it appears whole or not at all."""
        return self._export(path, "parquet", overwrite=overwrite)

    def to_csv(self, path: str | PathLike[str], *, overwrite: bool = False) -> ExportResult:
        """Write the current value to a CSV file with a header; it appears whole or not at all."""
        return self._export(path, "csv", overwrite=overwrite)

    def to_jsonl(self, path: str | PathLike[str], *, overwrite: bool = False) -> ExportResult:
        """Write the current value as one JSON object a line; it appears whole or not at all."""
        return self._export(path, "jsonl", overwrite=overwrite)

    def _export(
        self,
        path: str | PathLike[str],
        format: Format | None,  # noqa: A002 - the word users know
        *,
        overwrite: bool,
    ) -> ExportResult:
        from livedb.interchange.exports import export

        table, number = self._frame_snapshot()
        return export(table, path, format=format, number=number, overwrite=overwrite)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The current value for any library that reads Arrow (pandas, polars, DuckDB)."""
        stream: Any = self._to_arrow()
        return stream.__arrow_c_stream__(requested_schema)

    def __narwhals_dataframe__(self) -> Any:
        """The current value for any library that reads frames through narwhals, as Altair does.

        Only narwhals calls this, so it is there; it asks for its own view of a frame, which it has
        for Arrow tables.
        """
        import narwhals

        return narwhals.from_native(self._to_arrow(), eager_only=True)._compliant_frame  # noqa: SLF001


def _series(column: pa.ChunkedArray[Any], dtype_backend: DtypeBackend | None) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    dtype: Any = pd.ArrowDtype(column.type) if dtype_backend else pandas_dtype(column.type)
    if isinstance(dtype, pd.Float64Dtype):
        return pd.Series(_floats(column))
    if isinstance(dtype, pd.StringDtype):
        column = column.cast(pa.large_string())
    elif isinstance(dtype, str | pd.DatetimeTZDtype):
        column = column.cast(pa.timestamp("us", column.type.tz and "UTC"))
    elif isinstance(dtype, pd.Int64Dtype):
        column = column.cast(pa.int64())
    if isinstance(dtype, str):
        return pd.Series(column.to_numpy(), dtype=dtype)
    return pd.Series(dtype.__from_arrow__(column))


def _floats(column: pa.ChunkedArray[Any]) -> Any:
    """A Float64 array in which NaN is a value and only NULL is missing.

    `Float64Dtype.__from_arrow__` makes NaN missing; the masked array itself keeps them apart.
    """
    import pandas as pd
    import pyarrow as pa

    values = column.cast(pa.float64())
    missing = values.is_null().to_numpy()
    filled = values.fill_null(pa.scalar(0.0)).to_numpy()
    return pd.arrays.FloatingArray(filled, missing)
