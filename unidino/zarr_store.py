"""Arrays of Zarr that lie elsewhere, read through the copies of their files (see `remote`)."""

import asyncio

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from . import remote

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class RemoteStore(Store):
    """The files below an address, for reading.

    Parameters
    ----------
    address : str
        Of a group or an array, as `remote.address` writes it.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, address):
        super().__init__(read_only=True)
        self.address = address.rstrip("/")

    def __eq__(self, other):
        return isinstance(other, RemoteStore) and self.address == other.address

    def __hash__(self):
        return hash(self.address)

    def __str__(self):
        return self.address

    async def get(self, key, prototype=None, byte_range=None):
        """The bytes of a file, or of a part of it; None where there is no such file."""
        from zarr.core.buffer import default_buffer_prototype

        data = await asyncio.to_thread(self._read, key)
        if data is None:
            return None
        prototype = prototype or default_buffer_prototype()
        return prototype.buffer.from_bytes(data[_part(byte_range, len(data))])

    def _read(self, key):
        try:
            return remote.copy(f"{self.address}/{key}").read_bytes()
        except remote.AbsentError:
            return None
        except remote.RefusedError:
            # So answer buckets that do not list their files, where there is none. An array has
            # metadata of one version, and chunks that may not be missed.
            if key.rpartition("/")[2] in _METADATA:
                return None
            raise

    async def get_partial_values(self, prototype, key_ranges):
        """Several `get`, one after another."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key):
        """Whether there is such a file."""
        return await asyncio.to_thread(self._read, key) is not None

    async def set(self, key, value):
        """Not supported, as are `delete` and the lists of files."""
        self._check_writable()

    async def delete(self, key):
        self._check_writable()

    async def list(self):
        raise NotImplementedError(f"{self.address}: files elsewhere are not listed.")
        yield

    async def list_prefix(self, prefix):
        raise NotImplementedError(f"{self.address}: files elsewhere are not listed.")
        yield

    async def list_dir(self, prefix):
        raise NotImplementedError(f"{self.address}: files elsewhere are not listed.")
        yield


def _part(wanted, size):
    """The slice of `size` bytes that a request of Zarr means."""
    if isinstance(wanted, RangeByteRequest):
        return slice(wanted.start, wanted.end)
    if isinstance(wanted, OffsetByteRequest):
        return slice(wanted.offset, None)
    if isinstance(wanted, SuffixByteRequest):
        return slice(max(0, size - wanted.suffix), None)
    return slice(None)
