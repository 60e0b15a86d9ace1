"""Which machines of a network may be asked for a file: those of the internet, no private ones.

The one place of that rule. A table or a redirect that a stranger wrote could name a printer, a
router or the account server of a cloud machine; no request goes to such addresses.
"""

import ipaddress
import socket

_CLOUD = ipaddress.ip_address("168.63.129.16")
"""Not private by its number, but each machine of Azure's own server of accounts and settings."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def check_public(host, loopback=False, resolve=True):
    """Stop on a host that is not a machine of the internet; to be asked before each request.

    A name may lead elsewhere a moment later. Who cannot rely on a certificate (``https``) to
    notice connects to one of the addresses returned, not to the name.

    Parameters
    ----------
    host : str
        A name, or an address (IPv6 with or without brackets), as ``urlsplit(url).hostname`` gives
        it.
    loopback : bool
        Allow this machine itself (127.0.0.0/8, ::1), as the tests' servers need. Never by default.
    resolve : bool
        Look the name up and check every address of it. False behind a proxy, which does that:
        addresses and names of this machine are still refused.

    Returns
    -------
    list of str
        The addresses of the host, all of them checked; empty where none was looked up.

    Raises
    ------
    ValueError
        An address that is private, of this machine, of the local link, a group's or reserved, in
        any of its spellings; names host and address.
    OSError
        The name is not known, or there is no network (`socket.gaierror`).

    Examples
    --------
    >>> check_public("127.0.0.1", loopback=True)
    ['127.0.0.1']
    """
    name = str(host).strip("[]").rstrip(".").lower()
    if not name:
        raise ValueError("the address names no host.")
    addresses = _literal(name)
    if addresses is None and (name == "localhost" or name.endswith(".localhost")):
        addresses = ["127.0.0.1"]
    if addresses is None:
        if not resolve:
            return []
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise ValueError(f"{host!r} is not the name of a host.") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not _allowed(ipaddress.ip_address(address.partition("%")[0]), loopback):
            means = "" if address == name else f" means {address}, which"
            raise ValueError(
                f"the host {name}{means} is not a public address of the internet, so nothing is "
                "asked of it. Give a public address, or copy the files to this machine."
            )
    return addresses


def is_loopback(found):
    """Whether all of these addresses are of this machine itself."""
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _literal(name):
    """The address that a host is, as a list, or None for a name."""
    try:
        return [str(ipaddress.ip_address(name.partition("%")[0]))]
    except ValueError:
        pass
    try:
        # 127.1, 0x7f000001 and 2130706433 are addresses to the system, too.
        return [socket.inet_ntoa(socket.inet_aton(name))]
    except (OSError, UnicodeError, ValueError):
        return None


def _allowed(address, loopback):
    inner = _inside(address)
    if inner is not None:
        return _allowed(inner, loopback)
    if address.is_loopback:
        return loopback
    return (
        address.is_global
        and address != _CLOUD
        and not (address.is_multicast or address.is_reserved)
    )


def _inside(address):
    """The IPv4 address that an IPv6 address carries, or None."""
    if address.version == 4:
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
