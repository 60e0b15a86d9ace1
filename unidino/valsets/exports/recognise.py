"""Which images of which wells, sites and channels lie below a folder, and what tells it."""

from .indexes import by_index
from .listing import SUFFIXES
from .names import by_names
from .patterns import by_pattern


def recognised(root, listing, name, pattern=None):
    """Understand what lies below a folder.

    Parameters
    ----------
    root : Path
    listing : listing.Listing
        Of that folder.
    name : str
        Of the plate that lies in the folder itself.
    pattern : str, optional
        Regular expression that is searched in the paths below the folder.

    Returns
    -------
    Recognised

    Raises
    ------
    ValueError
        No images, none that is understood, images of several microscopes, a wrong pattern or index;
        says what was looked for and what to do.
    """
    if not listing.count and not listing.indexes:
        seen = f"has {', '.join(listing.others)}" if listing.others else "is empty"
        raise ValueError(
            f"{root} has no images ({', '.join(SUFFIXES)}) in it or below: it {seen}. Give "
            "the folder of a microscope's export, the path of an OME-Zarr plate itself, or a CSV "
            "with one row a site; files of other kinds are to be saved as TIFF or OME-Zarr first."
        )
    if pattern is not None:
        return by_pattern(root, listing, name, pattern)
    if listing.indexes:
        return by_index(root, listing, name)
    return by_names(root, listing, name)
