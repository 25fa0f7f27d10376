"""Which addresses may be fetched from. A name in a config must not lead to what only this machine can reach.

The address is judged after the name is resolved, and it is the judged address that is connected to: whatever way a
number is written (`0x7f.1`, `2130706433`, `[::ffff:127.0.0.1]`), and whatever a name server says the second time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from appliance.errors import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local, where most clouds keep the credentials of this machine
        "fe80::/10",
        "fd00:ec2::/32",  # the same of AWS over IPv6
        "100.100.100.200/32",  # of Alibaba
        "168.63.129.16/32",  # of Azure
        "192.0.0.192/32",  # of Oracle
    )
)
_SPECIAL: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "192.0.0.0/24",  # protocol assignments; Python's own list has holes here
        "192.88.99.0/24",  # 6to4 relays
        "fec0::/10",  # site-local of old
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from the settings. Raises SettingsError."""
    found, problems = [], []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            problems.append(f"orbs.networks: {error}")
    if problems:
        raise SettingsError(problems)
    return tuple(found)


def is_allowed(text: str, networks: Sequence[Network]) -> bool:
    """Whether to connect to an address: a public one, or one of the `networks` that were allowed by name."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_allowed(form, networks) for form in _forms(address))


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(form.is_loopback for form in _forms(address))


def _is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    if any(address in network for network in _NEVER):
        return False
    if any(address in network for network in networks):
        return True
    is_public = address.is_global and not (address.is_multicast or address.is_reserved)
    return is_public and not any(address in network for network in _SPECIAL)


def _forms(address: Address) -> list[Address]:
    """What an address really reaches: an IPv6 one may carry an IPv4 one, by five old ways."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:  # how a host without IPv4 reaches all of it
        return [ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    forms: list[Address] = [address]
    if address.sixtofour is not None:
        forms.append(address.sixtofour)
    if address.teredo is not None:
        forms += address.teredo
    if address in _COMPATIBLE and int(address) > 1:
        forms.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return forms
