"""A real slapd with a few people, on free loopback ports, in a process of its own that ends with the test."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.served import free_port

SLAPD = "/usr/sbin/slapd"
BASE = "dc=example,dc=org"
READER = f"cn=reader,{BASE}"

CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
allow bind_anon_cred
database mdb
suffix "{base}"
rootdn "cn=root,{base}"
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by self read by users read by anonymous auth
"""

PEOPLE = """
dn: {base}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: {reader}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader-secret

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: uid=ayse,ou=people,{base}
objectClass: inetOrgPerson
uid: ayse
cn:: QXnFn2UgQXlkxLFu
sn: Aydin
mail: ayse@example.org
userPassword: correct horse

dn: uid=bob,ou=people,{base}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
userPassword: bob's battery

dn: uid=odd\\2C (one)*,ou=people,{base}
objectClass: inetOrgPerson
uid: odd, (one)*
cn: Odd
sn: O
userPassword: staple

dn: cn=Doctors,ou=groups,{base}
objectClass: groupOfNames
cn: Doctors
member: uid=ayse,ou=people,{base}

dn: cn=Staff,ou=groups,{base}
objectClass: groupOfNames
cn: Staff
member: cn=Doctors,ou=groups,{base}
member: uid=bob,ou=people,{base}

dn: cn=Everybody,ou=groups,{base}
objectClass: groupOfNames
cn: Everybody
member: cn=Staff,ou=groups,{base}
member: cn=Everybody,ou=groups,{base}
"""


@dataclass(frozen=True)
class Slapd:
    ldap_port: int
    ldaps_port: int
    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def log(self) -> str:
        """What it was asked, request by request."""
        return (self.folder / "log.txt").read_text(errors="replace")

    @property
    def binds(self) -> int:
        """How often somebody wanted in; each stands in the log before it is answered."""
        return self.log.count(" method=128")


@contextmanager
def slapd(folder: Path) -> Iterator[Slapd]:
    if shutil.which(SLAPD) is None:
        pytest.skip("slapd is not installed")
    running = Slapd(free_port(), free_port(), folder)
    write_certificates(folder)
    names = {"folder": folder, "base": BASE, "reader": READER}
    (folder / "db").mkdir()
    (folder / "slapd.conf").write_text(CONFIG.format(**names))
    (folder / "people.ldif").write_text(PEOPLE.format(**names))
    add = ("/usr/sbin/slapadd", "-f", str(folder / "slapd.conf"), "-l", str(folder / "people.ldif"))
    subprocess.run(add, check=True, capture_output=True)
    urls = f"ldap://127.0.0.1:{running.ldap_port} ldaps://127.0.0.1:{running.ldaps_port}"
    with (folder / "log.txt").open("wb") as sink:
        # stats on the terminal, and so in the foreground
        process = subprocess.Popen([SLAPD, "-f", folder / "slapd.conf", "-h", urls, "-d", "stats"], stdout=sink, stderr=sink)
    try:
        _wait(running, process)
        yield running
    finally:
        process.terminate()
        process.wait(20)


def write_certificates(folder: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = authority.issue_cert("127.0.0.1", "directory.test", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    trustme.CA().cert_pem.write_to_path(folder / "another-ca.pem")


def _wait(running: Slapd, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, running.log
        if "slapd starting" in running.log:
            return
        time.sleep(0.02)
    raise AssertionError(running.log)
