"""Which hosts are public: every spelling of an address that is not."""

import socket

import pytest

from unidino import addresses


def resolving_to(*found):
    return lambda name, *_, **__: [(0, 0, 0, "", (address, 0)) for address in found]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost", "LOCALHOST.",
        "a.localhost", "0.0.0.0", "10.1.2.3", "172.16.0.9", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "[::1]", "::",
        "::ffff:10.0.0.1", "::ffff:7f00:1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "fe80::1%eth0",
        "fc00::1", "ff02::1", "2001:db8::1", "168.63.129.16", "::ffff:168.63.129.16",
    ],
)  # fmt: skip
@pytest.mark.parametrize("resolve", [True, False])
def test_private_addresses_are_refused_in_every_spelling(host, resolve):
    with pytest.raises(ValueError, match="is not a public address of the internet"):
        addresses.check_public(host, resolve=resolve)


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(host):
    assert len(addresses.check_public(host)) == 1


def test_every_address_of_a_name_counts(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("8.8.8.8", "10.0.0.7"))
    with pytest.raises(ValueError, match="host data.example.org means 10.0.0.7, which is not"):
        addresses.check_public("data.example.org")
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to("8.8.8.8", "8.8.4.4", "8.8.8.8"))
    assert addresses.check_public("data.example.org") == ["8.8.8.8", "8.8.4.4"]


def test_a_proxy_looks_names_up_itself(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert addresses.check_public("data.example.org", resolve=False) == []


def test_an_unknown_name_is_an_oserror(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="Name or service not known"):
        addresses.check_public("nowhere.example.org")


@pytest.mark.parametrize("host", ["", "[]", "a..b", "x" * 64 + ".org"])
def test_what_is_no_host(host):
    with pytest.raises(ValueError, match="names no host|is not the name of a host"):
        addresses.check_public(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_by_the_explicit_option_alone(host):
    assert addresses.check_public(host, loopback=True)
    with pytest.raises(ValueError, match="is not a public address"):
        addresses.check_public("10.0.0.1", loopback=True)
