"""What a program loads before there is work to do: help and refusals are said at once."""

import re
import subprocess
import sys

import pytest

SECONDS = {"torch", "torchvision", "timm", "scipy", "sklearn", "umap", "copairs", "pycytominer"}
"""Libraries that take seconds to load, and what they would bring."""

TABLES = {"pandas", "pyarrow"}
PLOTS = {"matplotlib", "seaborn"}

EXTRACT = "from unidino import inference; inference.main({}, 'unidino extract')"
TRAIN = "from unidino.train.training import main; main({}, 'unidino train')"
EXPORT = "from unidino.train.export import main; main({}, 'unidino export')"


def loaded(code):
    """(libraries that a fresh interpreter has loaded after some code, what it wrote to stderr)."""
    catching = (
        f"import sys\ntry:\n    {code}\n"
        "except SystemExit as stop:\n"
        "    print(stop, file=sys.stderr)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", catching], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.splitlines()[-1].split()), ran.stderr


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import unidino", SECONDS | TABLES | PLOTS | {"numpy"}),
        ("from unidino import cli; cli.main([])", SECONDS | TABLES | PLOTS | {"numpy"}),
        (EXTRACT.format(["--help"]), SECONDS | PLOTS),
        (TRAIN.format(["--help"]), SECONDS | TABLES | PLOTS),
        (EXPORT.format(["--help"]), SECONDS | PLOTS),
        ("import unidino.train", SECONDS | TABLES | PLOTS),
        ("import unidino.valsets, unidino.profiles", SECONDS | PLOTS),
        ("import unidino.evaluate", (SECONDS | PLOTS) - {"scipy"}),
        ("import unidino.evaluate.cell_painting", (SECONDS | PLOTS) - {"scipy"}),
        ("import unidino.pages.plate, unidino.pages.plate_answers", SECONDS - {"scipy"}),
    ],
)
def test_imports_and_help_load_no_more_than_they_need(code, absent):
    assert not loaded(code)[0] & absent


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--modle", "x"], "unrecognized arguments: --modle"),
        (["--tiling", "covr"], "tiling 'covr' is not one of"),
        (["--pooling", "clss"], "pooling 'clss' is not one of"),
        (["--precision", "fp61"], "precision 'fp61' is not one of"),
        (["--model", "unidino_demo"], "unknown model 'unidino_demo'.* Did you mean 'unidino-demo'"),
    ],
)
def test_extract_refuses_wrong_options_without_torch(options, said):
    libraries, errors = loaded(EXTRACT.format(["--valset", "plate.csv", *options]))
    assert "torch" not in libraries
    assert re.search(said, errors)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--learning_rate", "1"], "unrecognized arguments: --learning_rate"),
        (["--centring", "means"], "centring 'means' is not one of"),
        (["--optimizer", "adam"], "optimizer 'adam' is not one of"),
        (["--precision", "fp61"], "precision 'fp61' is not one of"),
    ],
)
def test_train_refuses_wrong_options_without_torch(options, said):
    libraries, errors = loaded(TRAIN.format(["--output_dir", "out", *options]))
    assert not libraries & (SECONDS | TABLES)
    assert said in errors


def test_choices_name_what_the_code_has():
    from unidino import choices, embedding

    assert tuple(embedding.PRECISIONS) == choices.PRECISIONS
