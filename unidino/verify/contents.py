"""What files an extraction's folder holds: tables, what runs left there, what is not ours."""

import contextlib
import json
from collections import Counter
from pathlib import Path

import filelock

from .. import paths
from .findings import RUN, Finding, as_text, damaged, footer, otherwise, settings_of
from .functions import functions_of


class Contents:
    """What files there are, by what an extraction calls them."""

    def __init__(self, folder):
        folder = Path(folder)
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise FileNotFoundError(
                f"{folder} {what}. Give the folder of an extraction, <outdir>/<model>/<valset>."
            )
        self.folder = folder
        self.sites, self.profiles, self.others, self.hidden = [], [], [], []
        for file in sorted(folder.rglob("*")):
            parts = file.relative_to(folder).parts
            if any(part.startswith(".") for part in parts):
                if not any(part.startswith(".") for part in parts[:-1]):
                    self.hidden.append(file)
            elif file.is_file():
                self._sort(file, parts)
        if not (self.sites or self.profiles or paths.settings_file(folder).exists()):
            below = sorted(folder.glob(f"**/{paths.settings_file('').name}"))
            named = ", ".join(str(file.parent) for file in below[:3])
            raise ValueError(
                f"{folder} holds no extraction: no settings.json, no site tables, no profiles. "
                f"Give the folder <outdir>/<model>/<valset>{f', such as {named}' if named else ''}."
            )

    def _sort(self, file, parts):
        if file.suffix == ".parquet" and parts[0] == "sites" and len(parts) > 1:
            self.sites.append(footer(file, self.folder))
        elif file.name.endswith("_features.parquet") and len(parts) == 1:
            self.profiles.append(footer(file, self.folder))
        elif not (parts[0] == paths.reports_folder("").name and file.suffix == ".html"):
            self.others.append(file)

    def oddities(self):
        """Notes on leftovers, on a run at work, and on files that an extraction does not write."""
        folder = self.folder.resolve()
        locks = [paths.lock_file(folder), *paths.runs_folder(folder).glob("*.lock")]
        if any(map(_is_locked, locks)):
            yield Finding("note", ".", "a run is at work here: verify again when it has ended")
        aside = paths.aside_folder(folder)
        for file in (*self.hidden, *([aside] if aside.exists() else [])):
            what = "left by an interrupted run, or by other software; the next run sees to its own"
            if file == aside:
                what = (
                    "the earlier extraction that an interrupted run was replacing; the next run "
                    "puts it back, or deletes it once there is a new plate"
                )
            yield Finding("note", self._name(file), what)
        known = {paths.settings_file(self.folder), paths.log_file(self.folder)}
        for table in (*self.sites, *self.profiles):
            known.add(table.file.with_suffix(".json"))
        for table in self.profiles:
            known |= {table.file.with_suffix(".csv"), paths.correction_file(table.file)}
            known.add(paths.anndata_file(table.file))
        for table in self.sites:
            for file in functions_of(table, self.folder):
                known |= {file, paths.illumination_record(file.parent)}
        for file in self.others:
            if file in known:
                continue
            if file.suffix == ".json" and (file.name.endswith("_features.json") or self._in(file)):
                what = "has no table beside it: a run was killed between the two, or it was removed"
            else:
                what = "is nothing that an extraction writes"
            yield Finding("note", self._name(file), what)

    def _in(self, file):
        return file.relative_to(self.folder).parts[0] == "sites"

    def _name(self, file):
        with contextlib.suppress(ValueError):
            return file.relative_to(self.folder).as_posix()
        return f"../{file.name}"


def _is_locked(file):
    """Whether a run holds a lock, as far as can be told."""
    if not file.exists():
        return False
    try:
        with filelock.FileLock(file, timeout=0):
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def recorded_settings(folder):
    """(settings.json, empty where it cannot be read; findings)."""
    file = paths.settings_file(folder)
    try:
        recorded = json.loads(file.read_text())
        if not isinstance(recorded, dict):
            raise ValueError("it holds no names and values")
    except FileNotFoundError:
        return {}, [Finding("wrong", file.name, "is missing", f"{RUN}: it is written again")]
    except (OSError, ValueError) as error:
        return {}, [Finding("wrong", file.name, damaged(error), f"{RUN}: it is written again")]
    return recorded, []


def agreed(recorded, whole):
    """(what tables are held against: settings.json, or most tables where none agrees; findings)."""
    differences = [otherwise(settings_of(table), recorded) for table in whole]
    if not whole or not all(differences):
        return recorded, []
    usual, _ = Counter(as_text(settings_of(table)) for table in whole).most_common(1)[0]
    usual = json.loads(usual)
    if not recorded:
        return usual, []
    what = f"agrees with no table: {otherwise(usual, recorded)}"
    remedy = f"{RUN}: it is written again"
    return recorded | usual, [Finding("wrong", paths.settings_file("").name, what, remedy)]
