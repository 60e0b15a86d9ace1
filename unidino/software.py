"""What software made something: versions of libraries, the checkout's commit."""

from importlib.metadata import PackageNotFoundError, version

from . import __version__, paths


def versions(libraries):
    """The installed version of each library, None of one that is absent; uniDINO's own as it runs.

    Parameters
    ----------
    libraries : iterable of str
        Names of distributions.

    Returns
    -------
    dict of str to str or None
    """
    found = {}
    for name in libraries:
        try:
            # A checkout that was never installed runs all the same, and knows its version.
            found[name] = __version__ if name == "unidino" else version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def commit():
    """The checkout's commit, or None outside one; read from git's files, without running git."""
    git = paths.project_root() / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        reference = head.removeprefix("ref: ")
        return (git / reference).read_text().strip() if reference != head else head
    except OSError:
        return None
