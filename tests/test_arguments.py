"""Names and types of parameters, from Python and from a shell."""

import pytest

from unidino import arguments


def embed(valset: str, *, size: int | None = None, share: float = 0.5, names: list | str = "a",
          strict: bool = False):  # fmt: skip
    """Embed a thing.

    Parameters
    ----------
    valset : str
        Which one.
    size, share : int
        Two numbers, 50 % of
        them equal.
    """


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="unknown parameter valsett. Did you mean valset?"):
        arguments.check_names(["valsett"], ["valset", "size"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"valset": 7}, r"valset takes str, got 7 \(int\)"),
        ({"size": "224"}, "size takes int or None, got '224'"),
        ({"size": True}, "size takes int or None, got True"),
        ({"size": 1.5}, "size takes int or None, got 1.5"),
        ({"strict": 1}, "strict takes bool, got 1"),
        ({"names": 3}, "names takes list or str, got 3"),
    ],
)
def test_wrong_types_are_named(values, message):
    with pytest.raises(TypeError, match=message):
        arguments.check_types(values, embed)


def test_fitting_types_pass():
    arguments.check_types({"valset": "x", "size": None, "share": 1, "names": ["a"]}, embed)


def test_wrong_choice_suggests_the_nearest():
    with pytest.raises(ValueError, match="tiling 'covr' is not one of cover, grid. Did you mean"):
        arguments.check_choice("tiling", "covr", ("cover", "grid"))


@pytest.mark.parametrize("value", [0, -3])
def test_numbers_must_be_positive(value):
    with pytest.raises(ValueError, match=f"size is {value}; it must be above 0"):
        arguments.check_positive("size", value)


def test_command_line_follows_the_signature(capsys):
    parser = arguments.parser(embed, "embed")
    given = parser.parse_args(["--valset", "007", "--names", "['a', 'b']", "--strict"])
    assert vars(given) == {
        "valset": "007", "size": None, "share": 0.5, "names": ["a", "b"], "strict": True,
    }  # fmt: skip
    assert parser.parse_args(["--valset", "x", "--names", "plain"]).names == "plain"
    for words, value in ((["--no-strict"], False), (["--strict", "false"], False),
                         (["--strict", "True", "--share", "1"], True)):  # fmt: skip
        assert parser.parse_args(["--valset", "x", *words]).strict is value
    with pytest.raises(SystemExit):
        parser.parse_args(["--valset", "x", "--strict", "perhaps"])
    assert "--strict takes true or false, got 'perhaps'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "Two numbers, 50 % of them equal. (default: 0.5)" in " ".join(
        capsys.readouterr().out.split()
    )


def cut(tiling: str = "cover", side: int | str | None = None):
    """Cut a thing.

    Parameters
    ----------
    tiling : {"cover", "grid", "legacy"}
        How it is cut.
    side : int or "max"
        How large.
    """


def test_help_names_the_choices():
    said = " ".join(arguments.parser(cut, "cut").format_help().split())
    assert "--tiling TILING cover, grid or legacy: How it is cut. (default: cover)" in said
    assert "--side SIDE How large. (default: None)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tilling", "grid"], "unrecognized arguments: --tilling. Did you mean --tiling?"),
        (["--tilling=grid"], "unrecognized arguments: --tilling. Did you mean --tiling?"),
        (["--valset", "x"], "unrecognized arguments: --valset."),
        (["--side"], "argument --side: expected one argument"),
        (["grid"], "unrecognized arguments: grid"),
    ],
)
def test_wrong_option_is_told_in_two_lines(words, said, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        arguments.parser(cut, "unidino cut").parse_args(words)
    told = f"error: {said}\nunidino cut --help lists the options.\n"
    assert capsys.readouterr().err == told


def test_misspelt_option_is_told_before_the_lack_of_the_one_meant(capsys):
    with pytest.raises(SystemExit, match="^2$"):
        arguments.parser(embed, "embed").parse_args(["--valsett", "x"])
    assert "Did you mean --valset?" in capsys.readouterr().err


def test_options_may_be_shortened_and_end():
    assert arguments.parser(cut, "cut").parse_args(["--til", "grid"]).tiling == "grid"
    assert arguments.parser(check, "check").parse_args(["--", "--here"]).folder == "--here"


def check(folder: str, /, deep: bool = False):
    """Check a thing.

    Parameters
    ----------
    folder : str
        Where it lies.
    """


def test_parameters_without_a_name_in_python_have_none_in_a_shell(capsys):
    parser = arguments.parser(check, "check")
    given = parser.parse_args(["here", "--deep"])
    assert (given.folder, given.deep) == ("here", True)
    with pytest.raises(SystemExit, match="^2$"):
        parser.parse_args(["--folder", "here"])
    assert "Where it lies." in parser.format_help() and "--folder" not in parser.format_help()


@pytest.mark.parametrize(
    ("text", "value"), [("4", 4), ("0,2", [0, 2]), ("[1]", [1]), ("two", None), ("1.5", None)]
)
def test_a_number_or_a_list(text, value, capsys):
    def function(gpus: int | list | None = None):
        """Nothing.

        Parameters
        ----------
        gpus : int or list
            How many, or which.
        """

    made = arguments.parser(function, "program")
    if value is None:
        with pytest.raises(SystemExit):
            made.parse_args(["--gpus", text])
        assert f"invalid number_or_list value: '{text}'" in capsys.readouterr().err
    else:
        assert made.parse_args(["--gpus", text]).gpus == value
