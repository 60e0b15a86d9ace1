"""Queries on the rows of a table, ``compound == 'DMSO' and dose > 0``: data, never code.

A query is parsed, not executed: names of columns, constants, comparisons, ``and``, ``or``, ``not``,
``in`` lists, and a few methods are known, and everything else is refused.
"""

import ast
import operator
import re

import numpy as np
import pandas as pd

from . import tables, wells

LONGEST = 2000
"""Characters of a query: far more than anyone types, and no deep nesting."""

_COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_TEXT_TESTS = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}
_TEXT_CHANGES = {"lower": str.lower, "upper": str.upper, "strip": str.strip}
_MISSING = {"isna": True, "isnull": True, "notna": False, "notnull": False}
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|&&?|\|\|?|@""")
_KINDS = {
    str: "text",
    int: "numbers",
    float: "numbers",
    bool: "True and False",
    np.bool_: "True and False",
    np.int64: "numbers",
    np.float64: "numbers",
}
_SAMPLE = 12


class UnknownColumn(ValueError):
    """A query names a column that the table does not have.

    Attributes
    ----------
    column : str
    """

    def __init__(self, message, column):
        super().__init__(message)
        self.column = column


def rows(frame, query):
    """Which rows of a table fulfil a query.

    Parameters
    ----------
    frame : pd.DataFrame
        Its columns are found with or without ``Metadata_``, in any case.
    query : str
        Such as ``compound == 'DMSO'``, ``0 < dose <= 1 and well in ['A01', 'A02']``,
        ``moa.isna()``, ``gene.str.startswith('no')`` or ``is_control``. Backticks enclose the names
        of columns that are no words.

    Returns
    -------
    numpy.ndarray of bool, shape (rows,)
        A missing value fulfils ``!=``, ``not in`` and ``isna()`` only.

    Raises
    ------
    UnknownColumn
        Names the column.
    ValueError
        No query, something other than the above, text compared with a number, a result that is
        neither true nor false for every row; says which.
    """
    tree, names = _parse(query)
    try:
        return _Evaluation(frame, names).condition(tree)
    except ValueError as error:
        message = str(error)
        for placeholder, name in names.items():
            message = message.replace(placeholder, f"`{name}`")
        error.args = (message,)
        raise


def unmatched(frame, query):
    """What a query asks for by ``==``, ``in`` or ``isin`` and no row has, a list of str."""
    tree, names = _parse(query)
    evaluation = _Evaluation(frame, names)
    evaluation.value(tree)
    return evaluation.unmatched


def by_blanks(frame, query):
    """Which rows fulfil a query for want of a value alone: a blank compound is not taxol, either.

    Parameters
    ----------
    frame : pd.DataFrame
    query : str

    Returns
    -------
    numpy.ndarray of bool, shape (rows,)
        Rows that would not fulfil it if every comparison of a missing value held, or if none did.
        What asks for missing values, isna(), is fulfilled by them and not for want of them.
    """
    tree, names = _parse(query)
    as_it_is, none, every = (
        _Evaluation(frame, names, missing).condition(tree) for missing in (None, False, True)
    )
    return as_it_is & ~(none & every)


def columns_named(frame, query):
    """The columns of a table that a query names, a list of str."""
    tree, names = _parse(query)
    found = (
        tables.find_column(frame, names.get(node.id, node.id))
        for node in ast.walk(tree)
        if isinstance(node, ast.Name)
    )
    return list(dict.fromkeys(found))


def values_named(frame, query):
    """The columns that a query names, each with the values that it holds, as one sentence."""
    told = []
    for column in columns_named(frame, query):
        values = frame[column].dropna().value_counts().index
        shown = ", ".join(repr(_plain(value)) for value in values[:_SAMPLE])
        told.append(f"{column} holds {shown or 'nothing'}{' …' if len(values) > _SAMPLE else ''}")
    return "; ".join(told) + "."


def _plain(value):
    """A numpy scalar as a Python value, which reads without its type."""
    return value.item() if isinstance(value, np.generic) else value


def _parse(query):
    """(syntax tree, {placeholder: name between backticks})."""
    if not isinstance(query, str) or not query.strip():
        raise ValueError("it is empty")
    if len(query) > LONGEST:
        raise ValueError(f"it has {len(query)} characters; at most {LONGEST} are read")
    names = {}

    def replaced(match):
        token = match[0]
        if token == "@":
            raise ValueError("'@' is not read: a query knows the columns of the table only")
        if token[0] == "`":
            names[f"_column_{len(names)}"] = token[1:-1]
            return f" _column_{len(names) - 1} "
        return {"&": " and ", "|": " or "}.get(token[0], token)

    text = _TOKEN.sub(replaced, query).strip().replace("\n", " ")
    try:
        return ast.parse(text, mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        single = re.search(r"(?<![=!<>])=(?!=)", _TOKEN.sub("", query))
        hint = " (equality is written ==)" if single else ""
        reason = getattr(error, "msg", None) or "too deeply nested"
        raise ValueError(f"it cannot be parsed: {reason}{hint}") from None


class _Evaluation:
    """The value of each part of a query: a column, a constant, or a list of constants.

    Whether a missing value equals, lies in a list or is of another size may be set by `missing`.
    """

    def __init__(self, frame, names, missing=None):
        self.frame = frame
        self.names = names
        self.missing = missing
        self.unmatched = []

    def value(self, node):
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise ValueError(
                f"{ast.unparse(node)!r} is not read: queries know columns, constants, comparisons, "
                "and, or, not, in, isna(), notna(), isin() and a few of .str"
            )
        return method(node)

    def _name(self, node):
        name = self.names.get(node.id, node.id)
        try:
            return self.frame[tables.find_column(self.frame, name)].reset_index(drop=True)
        except ValueError as error:
            if "ambiguous" in str(error):
                raise
            hint = " (it names the wells: query well instead)" if self._names_wells(name) else ""
            raise UnknownColumn(f"no column {name!r}{hint}", name) from None

    def _names_wells(self, name):
        letters = re.sub(r"[\s_\-.]", "", name.lower().removeprefix("metadata_"))
        known = letters in (*wells.ROW_NAMES, *wells.COLUMN_NAMES)
        return known and bool(tables.key_columns(self.frame, ["well"]))

    def _constant(self, node):
        if not isinstance(node.value, str | int | float | bool):
            raise ValueError(
                f"{ast.unparse(node)!r} is no text, number, True or False; missing values are "
                "found by isna()"
            )
        return node.value

    def _list(self, node):
        values = [self.value(element) for element in node.elts]
        if any(isinstance(value, pd.Series | list) for value in values):
            raise ValueError(f"{ast.unparse(node)!r} holds more than constants")
        return values

    _tuple = _set = _list

    def _unaryop(self, node):
        if isinstance(node.op, ast.USub | ast.UAdd):
            value = self.value(node.operand)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{ast.unparse(node)!r} is not read: a sign goes with a number")
            return -value if isinstance(node.op, ast.USub) else value
        return ~pd.Series(self.condition(node.operand))

    def _boolop(self, node):
        combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return pd.Series(combine.reduce([self.condition(part) for part in node.values]))

    def condition(self, node):
        """The rows where a part of the query holds."""
        value = self.value(node)
        return self._supposed(_truth(value, ast.unparse(node)), value)

    def _supposed(self, met, *sides, negated=False):
        """Where a condition is met, missing values as they are set."""
        if self.missing is None:
            return met
        met = np.array(met, bool)
        for side in sides:
            if isinstance(side, pd.Series):
                met[side.isna().to_numpy()] = self.missing != negated
        return met

    def _compare(self, node):
        parts = [node.left, *node.comparators]
        met = [
            self._comparison(left, operation, right)
            for left, operation, right in zip(parts, node.ops, parts[1:], strict=False)
        ]
        return pd.Series(np.logical_and.reduce(met))

    def _comparison(self, left_node, operation, right_node):
        left, right = self.value(left_node), self.value(right_node)
        wording = f"{ast.unparse(left_node)} with {ast.unparse(right_node)}"
        if isinstance(operation, ast.In | ast.NotIn):
            if not isinstance(left, pd.Series) or not isinstance(right, list):
                raise ValueError(f"in and not in compare a column with a list, not {wording}")
            inside = self._contained(left, right, ast.unparse(left_node))
            return ~inside if isinstance(operation, ast.NotIn) else inside
        if type(operation) not in _COMPARISONS:
            raise ValueError("'is' is not read; write == or isna()")
        if isinstance(left, list) or isinstance(right, list):
            raise ValueError(f"a list is compared by in and not in, not {wording}")
        if not isinstance(left, pd.Series) and not isinstance(right, pd.Series):
            raise ValueError(f"it compares two constants, {wording}")
        _check_kinds(left, right, wording)
        left, right = _spelt(left, right), _spelt(right, left)
        met = _compared(left, right, _COMPARISONS[type(operation)])
        if isinstance(operation, ast.Eq) and not met.any():
            self.unmatched.append(wording.replace(" with ", " "))
        return self._supposed(met, left, right, negated=isinstance(operation, ast.NotEq))

    def _call(self, node):
        shown = ast.unparse(node)
        if node.keywords or not isinstance(node.func, ast.Attribute):
            raise ValueError(f"{shown!r} is not read: it is no known method of a column")
        method, owner = node.func.attr, node.func.value
        arguments = [self.value(argument) for argument in node.args]
        if isinstance(owner, ast.Attribute) and owner.attr == "str":
            return self._text(method, owner.value, arguments, shown)
        column = self._series(owner)
        if method in _MISSING and not arguments:
            return column.isna() if _MISSING[method] else column.notna()
        if method == "isin" and len(arguments) == 1 and isinstance(arguments[0], list):
            return pd.Series(self._contained(column, arguments[0], ast.unparse(owner)))
        raise ValueError(f"{shown!r} is not read; of a column isna(), notna() and isin([…]) are")

    def _contained(self, column, values, name):
        values = [_spelt(value, column) for value in values]
        for value in values:
            _check_kinds(column, value, f"{name} with {value!r}")
            if not (column == value).any():
                self.unmatched.append(f"{name} {value!r}")
        return self._supposed(column.astype(object).isin(values), column)

    def _series(self, node):
        column = self.value(node)
        if not isinstance(column, pd.Series):
            raise ValueError(f"{ast.unparse(node)!r} is no column")
        return column

    def _text(self, method, owner, arguments, shown):
        column = self._series(owner)
        if _kind(column) not in ("text", "nothing"):
            raise ValueError(f"{shown!r}: {ast.unparse(owner)} holds no text")
        if method in _TEXT_CHANGES and not arguments:
            change = _TEXT_CHANGES[method]
            return column.map(lambda v: change(v) if isinstance(v, str) else None).astype(object)
        if method in _TEXT_TESTS and len(arguments) == 1 and isinstance(arguments[0], str):
            test = _TEXT_TESTS[method]
            met = [isinstance(v, str) and test(v, arguments[0]) for v in column]
            return pd.Series(self._supposed(met, column), dtype=bool)
        known = ", ".join([*(f"{name}('…')" for name in _TEXT_TESTS), *_TEXT_CHANGES])
        raise ValueError(f"{shown!r} is not read; of .str these are: {known}")


def _kind(value):
    """What a column or constant holds, in words."""
    if not isinstance(value, pd.Series):
        return _KINDS[type(value)]
    if pd.api.types.is_bool_dtype(value):
        return "True and False"
    if pd.api.types.is_numeric_dtype(value):
        return "numbers"
    held = {_KINDS.get(kind, "something else") for kind in value.dropna().map(type)}
    return held.pop() if len(held) == 1 else "mixed values" if held else "nothing"


def _check_kinds(left, right, wording):
    kinds = {_kind(left), _kind(right)} - {"nothing"}
    # 0 and 1 are truth values, and True and False numbers.
    if len(kinds) < 2 or kinds == {"numbers", "True and False"}:
        return
    holds = [
        f"{name} holds {_kind(value)}"
        for name, value in zip(wording.split(" with "), (left, right), strict=False)
        if isinstance(value, pd.Series)
    ]
    quoted = isinstance(left, str) or isinstance(right, str)
    remedy = f"write the value {'without' if quoted else 'in'} quotes"
    raise ValueError(f"it compares {wording}, but {' and '.join(holds)}: {remedy}")


def _compared(left, right, operation):
    """Comparison that missing values never fulfil, except to be unequal."""
    sides = [side for side in (left, right) if isinstance(side, pd.Series)]
    present = np.logical_and.reduce([side.notna().to_numpy() for side in sides])
    met = np.full(len(present), operation is operator.ne)
    chosen = [
        side.to_numpy(object)[present] if isinstance(side, pd.Series) else side
        for side in (left, right)
    ]
    met[present] = np.asarray(operation(*chosen), bool)
    return met


def _spelt(value, other):
    """A constant that is compared with wells, in the spelling that tables have: A1 is A01."""
    of_wells = isinstance(other, pd.Series) and str(other.name).lower() in ("well", "metadata_well")
    if of_wells and isinstance(value, str):
        return wells.well_name(pd.Series([value])).iat[0]
    return value


def _truth(value, shown):
    """A condition's rows: booleans, or a column of 0 and 1; missing counts as false."""
    if isinstance(value, pd.Series) and _kind(value) in ("numbers", "True and False", "nothing"):
        present = value.notna().to_numpy()
        given = value.to_numpy(object)
        if set(given[present]) <= {0, 1}:
            met = np.zeros(len(given), bool)
            met[present] = given[present].astype(bool)
            return met
    raise ValueError(
        f"{shown!r} is neither true nor false for a row; compare it with a value, such as "
        f"{shown} == …"
    )
