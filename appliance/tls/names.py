"""Under which names and addresses people reach this machine: the configured ones, and its own.

Nothing here asks the network: a name server would learn that the appliance starts, and an offline one would delay it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import psutil

from appliance.domain import Value
from appliance.errors import StartRefused

Address = IPv4Address | IPv6Address

LOCALHOST = "localhost"
LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
MAX_ADDRESSES = 64  # a host of many containers has hundreds
MAX_SEARCH_DOMAINS = 3

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")  # the host name that Docker invents; nobody types it, and each restart has another


class Names(Value, frozen=True):
    """Host names in lower case, ASCII, without a final dot; addresses without a zone. Sorted, without doubles."""

    dns: tuple[str, ...] = ()
    ips: tuple[Address, ...] = ()

    def __add__(self, more: Names) -> Names:
        return collected([*self.dns, *more.dns], [*self.ips, *more.ips])

    def __bool__(self) -> bool:
        return bool(self.dns or self.ips)

    def without(self, others: Names) -> Names:
        return collected(set(self.dns) - set(others.dns), set(self.ips) - set(others.ips))

    def __str__(self) -> str:
        return ", ".join([*self.dns, *map(str, self.ips)])


def collected(dns: Iterable[str], ips: Iterable[Address]) -> Names:
    by_family = sorted(set(ips), key=lambda address: (address.version, int(address)))
    return Names(tuple(sorted(set(dns))), tuple(by_family))


def names_of_server(configured: Sequence[str]) -> Names:
    """Raises StartRefused when a configured one can be neither a name nor an address."""
    return configured_names(configured) + own_names()


def configured_names(configured: Sequence[str]) -> Names:
    dns, ips = [], []
    for text in configured:
        try:
            ips.append(ip_address(text.strip().strip("[]")))
        except ValueError:
            dns.append(_host_name(text))
    return collected(dns, ips)


def own_names() -> Names:
    """`localhost`, the host name with the domains this machine knows for it, and the addresses of its interfaces."""
    return collected([LOCALHOST, *_own_host_names()], [*LOOPBACK, *_own_addresses()][:MAX_ADDRESSES])


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _host_name(text: str) -> str:
    """Internationalised names become what browsers send (`xn--…`)."""
    refusal = StartRefused(
        f"'{text}' in APPLIANCE_TLS_NAMES is neither a host name nor an address.",
        "Write names like box.example.org and addresses like 10.0.0.5, without https:// and without a port.",
    )
    try:
        name = text.strip().rstrip(".").lower().encode("idna").decode()
    except UnicodeError as error:
        raise refusal from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise refusal
    return name


def _own_host_names() -> Iterator[str]:
    host = socket.gethostname().lower().rstrip(".")
    if _CONTAINER_ID.fullmatch(host) or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        return
    yield host
    if "." in host:
        yield host.split(".")[0]
        return
    yield f"{host}.local"  # as multicast DNS announces it
    yield from _names_in_hosts_file(host)
    for domain in _search_domains()[:MAX_SEARCH_DOMAINS]:
        yield f"{host}.{domain}"


def _names_in_hosts_file(host: str) -> Iterator[str]:
    """What `hostname --fqdn` finds there: "127.0.1.1 box.example.org box"."""
    for line in _lines("/etc/hosts"):
        names = line.lower().split()[1:]
        if host in names:
            yield from (name for name in names if name.startswith(f"{host}.") and _is_plain(name))


def _search_domains() -> list[str]:
    for line in reversed(_lines("/etc/resolv.conf")):
        keyword, *domains = line.lower().split() or [""]
        if keyword in ("search", "domain"):
            return [domain.strip(".") for domain in domains if _is_plain(domain.strip("."))]
    return []


def _is_plain(name: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in name.split("."))


def _lines(file: str) -> list[str]:
    try:
        return [line.split("#")[0] for line in Path(file).read_text(errors="replace").splitlines()]
    except OSError:
        return []


def _own_addresses() -> Iterator[Address]:
    """Link-local addresses of IPv6 need a zone, which browsers do not take."""
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family in (socket.AF_INET, socket.AF_INET6) and "%" not in entry.address:
                yield ip_address(entry.address)
