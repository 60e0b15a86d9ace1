"""The ``unidino`` command, and what an installed wheel holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import unidino
from unidino import cli

PROJECT = Path(__file__).resolve().parents[1]


def test_without_a_command_the_commands_are_listed(capsys):
    cli.main([])
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[2:-2]] == list(cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_every_command(command, capsys):
    with pytest.raises(SystemExit, match="^0$"):
        cli.main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: unidino {command} ")


def test_version(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out.strip() == unidino.__version__


def test_unknown_command_suggests_the_nearest():
    with pytest.raises(SystemExit, match="no command 'extrct'; .* Did you mean extract"):
        cli.main(["extrct"])


def test_command_carries_its_options_out(tmp_path, capsys):
    words = "simulate --valset HPA --field 64 --wells 2 --workers 1 --root".split()
    cli.main([*words, str(tmp_path)])
    assert Path(capsys.readouterr().out.strip(), "SIMULATED.json").is_file()


def test_wheel_holds_the_package_and_the_demo_model(tmp_path):
    build = f"from hatchling import build; print(build.build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import unidino; model = unidino.load_model(); "
        "print(unidino.__file__, model.name, model.embedding_dim)"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path / "site")) and "unidino-demo" in ran.stdout
