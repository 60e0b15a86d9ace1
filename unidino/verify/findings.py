"""What a check finds, in words; a table by its footer."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from .. import claims, tables

RUN = "Run the same command again"
"""What makes what is missing."""

AGAIN = "Delete it and run the same command again"
"""What becomes of a damaged table: its plate is embedded anew, profiles are made anew."""

_MADE = {"settings": dict, "valset": str, "images_sha256": str, "counts": dict}


@dataclass(frozen=True)
class Finding:
    """What there is to say of one file of an extraction.

    Attributes
    ----------
    kind : {"wrong", "note", "fine"}
        A note asks for nothing: leftovers, what could not be compared.
    file : str
        Below the extraction's folder; ``.`` for the folder.
    what : str
    remedy : str
        What to do, where something is wrong.
    """

    kind: str
    file: str
    what: str
    remedy: str = ""

    def __str__(self):
        remedy = f". {self.remedy}." if self.remedy else ""
        return f"{self.kind:5}  {self.file}: {self.what}{remedy}"


@dataclass
class Table:
    """A Parquet file by its footer.

    Attributes
    ----------
    file : Path
    name : str
        Below the extraction's folder.
    columns : tuple of str
    made : dict
        Its provenance.
    damage : str or None
        Why nothing can be made of it.
    """

    file: Path
    name: str
    columns: tuple = ()
    made: dict = field(default_factory=dict)
    damage: str | None = None

    @property
    def features(self):
        """Names of its features, a tuple of str."""
        return feature_names(self.columns)

    @property
    def plate(self):
        """Key of its plate; () where it tells none."""
        return tuple(map(str, self.made.get("plate") or ()))

    def wrong(self, what):
        return Finding("wrong", self.name, what, AGAIN)


@lru_cache
def feature_names(columns):
    """Those of a table's columns that are features, a tuple of str."""
    return tuple(tables.feature_columns(pd.DataFrame(columns=list(columns))))


def footer(file, folder):
    """A `Table`, or how it is damaged."""
    table = Table(file, file.relative_to(folder).as_posix())
    try:
        schema = pq.read_schema(file)
        schema.empty_table().to_pandas()
        table.columns = _same(tuple(schema.names))
        table.made = tables.read_provenance(file)
        if not table.made:
            table.damage = "it has no provenance: no extraction wrote it as it is"
        elif lacking := [n for n, kind in _MADE.items() if not isinstance(table.made.get(n), kind)]:
            table.damage = f"its provenance says nothing of {', '.join(lacking)}"
        # Footers have no checksum, but hold the names twice.
        elif [one["name"] for one in schema.pandas_metadata["columns"]] != schema.names:
            table.damage = "it names its columns in two ways"
    except Exception as error:  # whatever a decoder makes of damaged bytes
        table.damage = damaged(error)
    return table


@lru_cache
def _same(columns):
    """The names of thousands of plates, which are mostly the same, held once."""
    return columns


def damaged(error):
    """That a file cannot be read, in one line."""
    reason = " ".join(str(error).split()).removesuffix(".") or type(error).__name__
    return f"it cannot be read whole ({reason:.300})"


def settings_of(table):
    """What a table was made with, as settings.json has it."""
    return {**table.made["settings"], "valset": table.made["valset"]}


def otherwise(made, recorded):
    """What a table was made with that the record says otherwise, in words."""
    return "; ".join(
        f"{name} was {value!r}, in settings.json it is {recorded.get(name)!r}"
        for name, value in sorted(made.items())
        if name != claims.MEASURED and as_text(value) != as_text(recorded.get(name))
    )


def as_text(value):
    """What was read from JSON as text, in which NaN equals NaN."""
    return json.dumps(value, sort_keys=True)


def sidecar_findings(table):
    """Findings on the JSON beside a table."""
    file = table.file.with_suffix(".json")
    name = Path(table.name).with_suffix(".json").as_posix()
    try:
        beside = json.loads(file.read_text())
    except FileNotFoundError:
        yield Finding("note", name, "is missing; the table holds the same itself")
    except (OSError, ValueError) as error:
        yield Finding("wrong", name, damaged(error), "Delete it: the table holds the same itself")
    else:
        if as_text(beside) != as_text(table.made):
            yield Finding(
                "wrong",
                name,
                f"says otherwise than {table.name} itself",
                "Delete both and run the same command again",
            )
