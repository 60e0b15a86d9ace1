"""Parameters checked against the function that takes them, for Python, papermill and the shell."""

import argparse
import ast
import inspect
import re
import sys
import types
import typing
from difflib import get_close_matches


def _allowed(annotation):
    """The types that an annotation allows, unions flattened."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [t for part in typing.get_args(annotation) for t in _allowed(part)]
    return [typing.get_origin(annotation) or annotation]


def _fits(value, kinds):
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    return isinstance(value, tuple(kinds))


def _wording(kinds):
    names = ["None" if kind is type(None) else kind.__name__ for kind in kinds]
    return " or ".join(dict.fromkeys(names))


def check_names(given, declared):
    """Stop on a name that is not declared, suggesting the nearest.

    Raises
    ------
    ValueError
    """
    unknown = [name for name in given if name not in declared]
    if unknown:
        near = get_close_matches(unknown[0], list(declared), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"unknown parameter {', '.join(unknown)}.{hint} The parameters are: "
            f"{', '.join(declared)}."
        )


def check_types(values, function):
    """Stop on a value whose type is not the one that `function` declares.

    Raises
    ------
    TypeError
        Names the parameter, the value and the type expected.
    """
    hints = typing.get_type_hints(function)
    for name, value in values.items():
        kinds = _allowed(hints[name]) if name in hints else []
        if kinds and not _fits(value, kinds):
            raise TypeError(
                f"parameter {name} takes {_wording(kinds)}, got {value!r} ({type(value).__name__})."
            )


def check_choice(name, value, choices):
    """Stop on a value that is not one of `choices`.

    Raises
    ------
    ValueError
    """
    if value not in choices:
        near = get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}.{hint}")


def check_positive(name, value):
    """Stop on a number that is not above zero.

    Raises
    ------
    ValueError
    """
    if value is not None and value <= 0:
        raise ValueError(f"{name} is {value}; it must be above 0.")


def _literal(text):
    """A list or mapping typed in a shell; anything else stays text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, list | tuple | dict) else text


def number_or_list(text):
    """A whole number, or a list of values such as ``0,2``, typed in a shell."""
    value = _literal(text)
    return list(value) if isinstance(value, list | tuple) else int(text)


def number_or_text(text):
    """A whole number, or a word in its place, typed in a shell."""
    try:
        return int(text)
    except ValueError:
        return text


class _Switch(argparse.BooleanOptionalAction):
    """``--name``, ``--no-name``, and the published ``--name true`` or ``--name false``."""

    def __init__(self, *flags, **options):
        super().__init__(*flags, **options)
        self.nargs = "?"

    def __call__(self, parser, namespace, values, option_string=None):
        words = {"true": True, "1": True, "false": False, "0": False}
        value = not option_string.startswith("--no-")
        if values is not None:
            if values.lower() not in words or not value:
                parser.error(f"{option_string} takes true or false, got {values!r}")
            value = words[values.lower()]
        setattr(namespace, self.dest, value)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in two lines, not after the usage, and which option may be meant."""

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else list(args)
        flags = self._option_string_actions
        # Before the rest: a misspelt option would else be told as the lack of the one it stands for
        for word in given[: given.index("--")] if "--" in given else given:
            name = word.split("=")[0]
            if name.startswith("--") and not any(flag.startswith(name) for flag in flags):
                near = get_close_matches(name, flags, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                self.error(f"unrecognized arguments: {name}.{hint}")
        return super().parse_known_args(given, namespace)

    def error(self, message):
        self.exit(2, f"error: {message}\n{self.prog} --help lists the options.\n")


def _choices(kind):
    """The values that a docstring's type such as ``{"a", "b"}`` lists, as words; else nothing."""
    listed = re.findall(r'"([^"]+)"', kind) if kind.startswith("{") else []
    return " or ".join([", ".join(listed[:-1]), listed[-1]]) + ": " if len(listed) > 1 else ""


def _help(function):
    """Help of each parameter, from the numpydoc section: its choices, then its text."""
    section = re.search(r"Parameters\n-+\n(.*?)(\n\n\w+\n-+\n|\Z)", inspect.getdoc(function), re.S)
    entries = re.findall(r"^(\w[\w, ]*) : ([^\n]*)\n((?:[ ]+[^\n]*\n?|\n)*)", section[1], re.M)
    texts = {}
    for names, kind, text in entries:
        for name in names.split(", "):
            texts[name] = _choices(kind) + " ".join(text.split()).replace("%", "%%")
    return texts


def parser(function, program):
    """A command-line parser with one option for every parameter of `function`.

    A parameter that takes no name in Python takes none here. What is wrong is said in two lines,
    with the exit status 2.
    """
    described = inspect.getdoc(function).split("\n")[0]
    made = _Parser(program, description=described)
    helps = _help(function)
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = _allowed(hints[name])
        default = parameter.default
        options = {"help": helps.get(name, ""), "dest": name}
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            made.add_argument(name, help=options["help"])
            continue
        if default is inspect.Parameter.empty:
            options["required"] = True
        else:
            options["default"] = default
            options["help"] += f" (default: {default})"
        if bool in kinds:
            options["action"] = _Switch
        else:
            scalar = next((kind for kind in (int, float) if kind in kinds), None)
            if scalar and list in kinds:
                scalar = number_or_list
            elif scalar and str in kinds:
                scalar = number_or_text
            options["type"] = scalar or (_literal if list in kinds or dict in kinds else str)
        flags = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        made.add_argument(*flags, **options)
    return made
