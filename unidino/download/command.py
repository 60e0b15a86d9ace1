"""Fetch what is published by name: the terms first, then the files, then their place."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from .. import arguments, paths
from ..progress import Progress, one_line, say
from . import archives, catalogue, sources, space, transfer
from .received import Received, alone

_ASKED = 100
"""Files whose size is asked of the server one by one; of more, a few speak for all."""

_FEW = 10

_SHOWN = 5

_REFUSED = 10
"""Files in a row that servers refuse, after which no more are asked for."""


def download(
    name: str,
    /,
    root: str | Path | None = None,
    parts: str | list | None = None,
    accept_licence: bool = False,
    dry_run: bool = False,
    check: bool = False,
    keep_archives: bool = False,
    workers: int = 4,
):
    """Fetch released weights or a published dataset, into the layout that is read here.

    A transfer that breaks, and a run that is killed, go on where they stopped with the same call.
    What was published of a file, its size and checksum, is compared; of files without either, their
    SHA-256 is recorded (``.download/received.jsonl`` in the folder). Nothing that differs is
    overwritten.

    Parameters
    ----------
    name : str
        Of a model or dataset; `unidino download` alone lists them.
    root : str or Path, optional
        Data root to fetch into; UNIDINO_DATA by default, else data/downloaded of the project
        (weights: the first folder where they are looked for).
    parts : str or list of str, optional
        Plates to fetch, with commas between them, instead of all; of a record of Zenodo, its files.
    accept_licence : bool
        The licence was read and is accepted; asked for where it allows no commercial use, or none
        is known.
    dry_run : bool
        Say what would be fetched, how large it is and where it would go; fetch nothing.
    check : bool
        Read what is there already again and compare checksums, not sizes alone.
    keep_archives : bool
        Keep archives beside what is unpacked from them.
    workers : int
        Files that are fetched side by side.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        An unknown name or part, a licence that is not accepted, nothing that a program could fetch
        (says what to do by hand), an archive or a file that is not what was published, another run.
    OSError
        No network (says what to do by hand), a server that does not give the file, too little
        space.
    ImportError
        A library is missing; names the extra.
    """
    arguments.check_types(locals(), download)
    arguments.check_positive("workers", workers)
    entry = catalogue.find(name)
    return fetch_entry(
        entry,
        transfer.Web(),
        root=root,
        parts=parts,
        accept_licence=accept_licence,
        dry_run=dry_run,
        check=check,
        keep_archives=keep_archives,
        workers=workers,
    )


def fetch_entry(
    entry,
    web,
    *,
    root=None,
    parts=None,
    accept_licence=False,
    dry_run=False,
    check=False,
    keep_archives=False,
    workers=4,
):
    """`download` of an entry of any catalogue, by a given `transfer.Web`."""
    web.stop.clear()
    folder = entry.target(root)
    chosen = entry.chosen(parts)
    if not entry.sources:
        raise ValueError(f"{entry.name} cannot be fetched by a program.\n{by_hand(entry, folder)}")
    say("\n".join(terms(entry, folder)))
    if entry.asks and not accept_licence and not dry_run:
        raise ValueError(
            f"{entry.name}: the licence is {entry.licence} ({entry.licence_url}). Read it, and "
            "accept it with accept_licence=True (--accept-licence True)."
        )
    with alone(folder, entry.name) as hidden:
        received = Received(folder)
        found = []
        try:
            found, notes = _listed(entry, chosen, web, folder)
            found = _sized(found, web, workers)
            wanted = [item for item in found if not received.holds(item, check)]
            sizes = _Sizes(wanted, web, workers)
            _say_plan(found, wanted, sizes, notes, folder, hidden, keep_archives)
            if dry_run:
                return folder
            if entry.asks:
                received.accept(entry)
            _fetch_all(wanted, sizes, web, received, hidden, keep_archives)
        except transfer.NoNetwork as error:
            raise transfer.NoNetwork(
                f"{error} Is there a network?\n{by_hand(entry, folder, found)}"
            ) from None
    compared = sum(item.checksum is not None for item in found)
    say(
        f"{entry.name} is in {folder}: {_files(len(found))}, {compared} of them compared with a "
        "published checksum"
    )
    for line in _next_steps(entry, folder, chosen, root):
        say(line)
    return folder


def terms(entry, folder):
    """Lines that say what an entry is, under which licence, whom to cite, and where it goes."""
    yield f"{entry.name}: {entry.title}"
    yield f"  licence  {entry.licence} ({entry.licence_url})"
    for i, source in enumerate(entry.cite):
        yield f"  {'' if i else 'cite':7}  {source}"
    yield f"  size     {entry.size}"
    yield f"  folder   {folder}"


def by_hand(entry, folder, found=()):
    """What a person does where a program cannot: addresses, files, folder, checksums."""
    lines = [f"By hand, into {folder}:", entry.manual.strip()]
    for item in found[:_SHOWN]:
        known = [text for text in (_known_size(item), item.checksum) if text]
        lines.append(f"  {item.url} -> {item.path}" + (f" ({', '.join(known)})" if known else ""))
    if len(found) > _SHOWN:
        lines.append(f"  … and {len(found) - _SHOWN} more")
    if found:
        lines.append("The same command checks then what is there, and fetches what is lacking.")
    return "\n".join(lines)


def _files(count):
    return "1 file" if count == 1 else f"{count} files"


def _known_size(item):
    return None if item.size is None else f"{item.size} bytes"


def _listed(entry, chosen, web, folder):
    """The files of an entry; where its sources lack something, what to do by hand."""
    try:
        return sources.items(entry, chosen, web, folder)
    except ValueError as error:
        raise ValueError(f"{error}\n{by_hand(entry, folder)}") from None


def _asked(items, web, workers):
    """The sizes of files as their servers say, asked side by side; the first failure ends all."""

    def ask(item):
        try:
            return web.size(item.url)
        except BaseException:
            web.stop.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(ask, item) for item in items]
        try:
            return [task.result() for task in tasks]
        except BaseException as error:
            web.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise _first(tasks, error) from None


def _sized(found, web, workers):
    """The files with the sizes that their servers say, where none was published."""
    unknown = [i for i, item in enumerate(found) if item.size is None]
    if not unknown or len(unknown) > _ASKED:
        return found
    sizes = _asked([found[i] for i in unknown], web, workers)
    sized = list(found)
    for i, size in zip(unknown, sizes, strict=True):
        sized[i] = replace(found[i], size=size)
    return sized


class _Sizes:
    """Bytes of files; where most are unknown, by those of a few."""

    def __init__(self, wanted, web, workers):
        self.workers = workers
        self.wanted = wanted
        self.mean = None
        unknown = [item for item in wanted if item.size is None]
        self.exact = not unknown
        if unknown:
            few = unknown[:: -(-len(unknown) // _FEW)]
            known = [size for size in _asked(few, web, workers) if size is not None]
            self.mean = sum(known) / len(known) if known else None

    def of(self, items):
        """Bytes of all of these files; None where nothing is known of some."""
        sizes = [self.mean if item.size is None else item.size for item in items]
        return None if None in sizes else round(sum(sizes))

    def needed(self, hidden, keep_archives):
        """Bytes that a download takes at its fullest; None where they are not known."""
        packed = [item for item in self.wanted if item.packed]
        largest = sorted((item.size or self.mean or 0 for item in packed), reverse=True)
        held = self.of(packed) if keep_archives else sum(largest[: self.workers])
        unpacked = [item.source.unpacked or 2 * (item.size or self.mean or 0) for item in packed]
        plain = self.of([item for item in self.wanted if not item.packed])
        if plain is None or held is None or self.of(packed) is None:
            return None
        there = sum(file.stat().st_size for file in hidden.glob("*.part"))
        return max(round(plain + held + sum(unpacked)) - there, 0)


def _say_plan(found, wanted, sizes, notes, folder, hidden, keep_archives):
    """Say what there is to fetch; stop where there is no room."""
    there = len(found) - len(wanted)
    known = f" ({there} are there already)" if there else ""
    about = "" if sizes.exact else "about "
    say(f"  fetch    {_files(len(wanted))}, {about}{space.words(sizes.of(wanted))}{known}")
    for note in notes:
        say(f"           {note}")
    needed = sizes.needed(hidden, keep_archives)
    say(f"  space    {about}{space.words(needed)} needed, {space.words(space.free(folder))} free")
    if needed is not None:
        space.check(folder, needed)


def _fetch_all(wanted, sizes, web, received, hidden, keep_archives):
    """Fetch files side by side; the first failure ends all of them."""
    _clean(hidden)
    with Progress(sizes.of(wanted), "B", "fetching", scaled=True) as bar:
        with ThreadPoolExecutor(sizes.workers) as pool:
            tasks = [
                pool.submit(_fetch_one, item, web, received, hidden, keep_archives, bar.update)
                for item in wanted
            ]
            try:
                failures = _outcome(tasks)
            except BaseException as error:
                web.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise _first(tasks, error) from None
    if failures:
        told = "".join(f"\n  {failure}" for failure in failures[:_SHOWN])
        more = f"\n  … and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise transfer.TransferError(
            f"{len(failures)} of {_files(len(wanted))} could not be had; the others are there, and "
            f"the same command tries again:{told}{more}"
        )


def _outcome(tasks):
    """Wait for all of the files; those that a server refuses, as long as others come.

    Raises
    ------
    Exception
        What ends a run: a full disk, a hostile archive, no network, one refusal after the other.
    """
    failures, in_a_row = [], 0
    for task in as_completed(tasks):
        try:
            task.result()
        except transfer.NoNetwork:
            raise
        except transfer.TransferError as error:
            failures.append(error)
            in_a_row += 1
            if in_a_row == min(_REFUSED, len(tasks)):
                raise
        else:
            in_a_row = 0
    return failures


def _first(tasks, error):
    """What ended a run, not what was stopped by that."""
    if not isinstance(error, transfer.Stopped):
        return error
    failures = (task.exception() for task in tasks if task.done() and not task.cancelled())
    real = (f for f in failures if f is not None and not isinstance(f, transfer.Stopped))
    return next(real, error)


def _clean(hidden):
    """Remove what killed runs left half unpacked; halves of transfers stay."""
    for folder in hidden.glob("*.unpacking"):
        shutil.rmtree(folder, ignore_errors=True)


def _fetch_one(item, web, received, hidden, keep_archives, counted):
    place = received.folder / item.path
    if not item.packed:
        digests = transfer.fetch(web, item, place, hidden, counted)
        received.write(item, digests)
        return
    archive = place if keep_archives else hidden / paths.escape(item.path)
    digests = transfer.fetch(web, item, archive, hidden, counted)
    received.write(item, digests, _unpack(item, archive, received.folder, hidden))
    if not keep_archives:
        archive.unlink()


def _unpack(item, archive, folder, hidden):
    """Unpack an archive into the folder of its dataset; the files' paths there and sizes."""
    source = item.source
    beside = hidden / f"{token_hex(8)}.unpacking"
    top = source.top.format(part=item.part) if source.top else None
    most = None if source.unpacked is None else 2 * source.unpacked
    try:
        made = archives.unpack(archive, beside, top, most, item.path.rpartition("/")[2])
        moves = {path: path for path in made}
        if source.root_of is not None:
            moves = archives.rooted(made, source.root_of, source.only)
        target = folder / source.unpack
        archives.settle(moves, beside, target)
    except OSError as error:
        raise space.told(error, folder / item.path) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    start = "" if source.unpack == "." else f"{source.unpack}/"
    return {f"{start}{new}": made[old] for new, old in moves.items()}


def _next_steps(entry, folder, chosen, root):
    if entry.automatic == "some" and not any(s.kind == "table" for s in entry.sources):
        yield by_hand(entry, folder)
    if entry.parts and len(chosen) < len(entry.parts):
        yield (
            f"{len(chosen)} of {len(entry.parts)} are there; extraction takes them with "
            "max_missing=0.99, and records the sites of the others as failed"
        )
    if entry.use:
        yield entry.use
    found_there = root is None and (
        not paths.data_is_simulated_default() or entry.folder == "checkpoints"
    )
    home = Path(root).expanduser().resolve() if root is not None else folder.parent
    if not found_there and str(home) != os.environ.get("UNIDINO_DATA"):
        yield f"to work on it: export UNIDINO_DATA={home}"


def listing():
    """Lines of a table of all entries: name, size, licence, and whether a program fetches them."""
    rows = [("name", "fetched", "size", "licence")]
    for name, entry in catalogue.entries().items():
        rows.append((name, catalogue.AUTOMATIC[entry.automatic], entry.size, entry.licence))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for *cells, last in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield f"{start}  {last}"


def main(argv=None, program="python -m unidino.download"):
    """The command line: lists what there is without a name; exit status 1 where a fetch fails."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words:
        print("\n".join(listing()))
        print(f"\n{program} NAME fetches one; {program} --help lists the options.")
        return
    parser = arguments.parser(download, program)
    given = vars(parser.parse_args(words))
    name = given.pop("name")
    try:
        download(name, **given)
    except (ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on where it stopped")
