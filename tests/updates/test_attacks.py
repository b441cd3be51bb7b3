"""Every way to slip something in, each refused with its own error while the release in use goes on serving (TRAPS 13, 14).

After each attack the real shelf still finds release 1, what was believed is unchanged, and an honest bundle still comes in.
"""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from appliance.errors import (
    BlobMissing,
    BlobTampered,
    BundleTruncated,
    BundleUnreadable,
    MemberTooLarge,
    MemberTwice,
    MetadataMissing,
    MetadataTampered,
    NotPlainFile,
    ReleaseInvalid,
    StrangeMember,
    TooFewSignatures,
    UnsafeName,
    UnsafeWeights,
    UpdateExpired,
    UpdateMixed,
    UpdateOlder,
    UpdateRefused,
    WrongRoot,
)
from appliance.updates.release import ReleasePlan
from appliance.updates.repository import Repository
from appliance.updates.signing import Keys, make_vendor_keys
from tests.updates.making import Maker, Site, model_files, rewrite

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def next_release(maker: Maker, site: Site) -> Iterator[Maker]:
    """A second release is out. However the test ends, the site must still serve the first, and then take the second."""
    maker.release(2)
    honest, before = maker.tar("honest"), site.remembered()
    yield maker
    assert site.serves() == 1
    assert site.remembered() == before, "nothing of the attack is believed"
    assert site.leftovers() == []
    site.take(honest)
    assert site.serves() == 2


def is_blob(member: tarfile.TarInfo) -> bool:
    return member.name.startswith("blobs/")


def add_first(extra: tarfile.TarInfo, content: bytes = b"") -> Callable[[tarfile.TarInfo, bytes], Members]:
    """Put a member before everything else."""
    done: list[bool] = []

    def change(member: tarfile.TarInfo, old: bytes) -> Members:
        if done:
            return [(member, old)]
        done.append(True)
        return [(extra, content), (member, old)]

    return change


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


# --- the signed lists -------------------------------------------------------------------------------------------------


def test_rollback_an_older_bundle_is_refused(site: Site, maker: Maker) -> None:
    old = maker.tar("old")
    maker.release(2)
    site.take(maker.tar("new"))
    with pytest.raises(UpdateOlder):
        site.take(old)
    assert site.serves() == 2


def test_freeze_an_expired_bundle_is_refused_and_the_clock_is_named(site: Site, next_release: Maker) -> None:
    stale = Maker(next_release.folder / "stale", next_release.keys)
    long_ago = datetime.now(UTC) - timedelta(days=366)
    for _ in range(2):
        stale.repository.release(_plan(stale), stale.keys, now=long_ago)
    with pytest.raises(UpdateExpired, match="clock") as refused:
        site.take(stale.tar())
    assert "set its clock" in refused.value.hint


def _plan(maker: Maker) -> ReleasePlan:
    maker.release(2)
    return maker.repository.plan()


def test_an_expired_root_is_refused(tmp_path: Path, next_release: Maker) -> None:
    stale = Maker(tmp_path / "stale")
    (stale.repository.metadata / "1.root.json").unlink()
    stale.repository.create(stale.keys, threshold=2, now=datetime.now(UTC) - timedelta(days=5 * 365 + 1))
    stale.release(1)
    site = Site(tmp_path / "other", stale.anchor)
    with pytest.raises(UpdateExpired, match="root"):
        site.take(stale.tar())
    stale.repository.renew_root(stale.keys)
    site.take(stale.tar())
    assert site.serves() == 1, "a renewed root is followed"


def test_mix_and_match_lists_of_two_releases_are_refused(site: Site, next_release: Maker) -> None:
    metadata = next_release.bundle("mixed") / "metadata"
    next_release.release(3)
    for role in ("snapshot", "targets"):
        (metadata / f"2.{role}.json").write_bytes((next_release.repository.metadata / f"1.{role}.json").read_bytes())
    with pytest.raises(UpdateMixed):
        site.take(metadata.parent)


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_a_list_changed_after_it_was_signed_is_refused(site: Site, next_release: Maker, role: str) -> None:
    path = next_release.bundle("tampered") / "metadata" / f"{role}.json"
    data = path.read_bytes()
    assert b'"version":2' in data
    path.write_bytes(data.replace(b'"expires":"20', b'"expires":"21', 1))
    with pytest.raises(MetadataTampered, match=role.rpartition(".")[2]):
        site.take(path.parent.parent)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"signed": {}, "signatures": []}', b"null", b"[" * 200_000])
@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_a_list_that_is_no_list_is_refused(site: Site, next_release: Maker, role: str, content: bytes) -> None:
    path = next_release.bundle("tampered") / "metadata" / f"{role}.json"
    path.write_bytes(content)
    with pytest.raises(MetadataTampered):
        site.take(path.parent.parent)


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
def test_a_list_that_is_missing_is_named(site: Site, next_release: Maker, role: str) -> None:
    path = next_release.bundle("lacking") / "metadata" / f"{role}.json"
    path.unlink()
    with pytest.raises(MetadataMissing, match=role):
        site.take(path.parent.parent)


def test_a_bundle_of_another_root_is_refused(site: Site, next_release: Maker, tmp_path: Path) -> None:
    stranger = Maker(tmp_path / "stranger", make_vendor_keys(tmp_path / "keys", "secret"))
    for _ in range(3):
        stranger.release(66)
    with pytest.raises(WrongRoot):
        site.take(stranger.tar())


def test_a_new_root_that_only_one_of_three_signed_is_refused(site: Site, next_release: Maker) -> None:
    bundle = next_release.bundle("takeover")
    repository = Repository(bundle)
    repository.renew_root(Keys(next_release.keys.root[:1], next_release.keys.release))
    with pytest.raises(TooFewSignatures, match="1 valid signature; 2 are needed"):
        site.take(bundle)


def test_two_of_three_root_keys_are_enough(tmp_path: Path, maker: Maker) -> None:
    keys = Keys(maker.keys.root[1:], maker.keys.release)
    maker.repository.renew_root(keys)
    site = Site(tmp_path / "site", maker.anchor)
    site.take(maker.tar())
    assert site.serves() == 1


def test_a_list_without_a_signature_is_refused(site: Site, next_release: Maker) -> None:
    path = next_release.bundle("bare") / "metadata" / "timestamp.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | {"signatures": []}))
    with pytest.raises(TooFewSignatures, match="0 valid"):
        site.take(path.parent.parent)


# --- contents ---------------------------------------------------------------------------------------------------------


def test_a_tampered_blob_is_refused(site: Site, next_release: Maker) -> None:
    def flip(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content[:-1] + bytes([content[-1] ^ 1]) if is_blob(member) and len(content) > 40_000 else content)]

    with pytest.raises(BlobTampered):
        site.take(rewrite(next_release.tar(), flip))


def test_a_missing_blob_is_named(site: Site, next_release: Maker) -> None:
    def leave_out(member: tarfile.TarInfo, content: bytes) -> Members:
        return [] if is_blob(member) and len(content) > 40_000 else [(member, content)]

    with pytest.raises(BlobMissing, match=r"model\.bin of 'tiny'"):
        site.take(rewrite(next_release.tar(), leave_out))


def test_an_oversized_member_is_refused_before_it_is_written(site: Site, next_release: Maker) -> None:
    def swell(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content + bytes(10_000) if is_blob(member) and len(content) > 40_000 else content)]

    with pytest.raises(MemberTooLarge):
        site.take(rewrite(next_release.tar(), swell))


def test_an_oversized_list_is_refused_before_it_is_read(site: Site, next_release: Maker) -> None:
    def swell(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content + b" " * 5_000_000 if member.name.endswith("timestamp.json") else content)]

    with pytest.raises(MemberTooLarge):
        site.take(rewrite(next_release.tar(), swell))


def test_a_blob_that_the_list_does_not_name_is_refused(site: Site, next_release: Maker) -> None:
    def add(member: tarfile.TarInfo, content: bytes) -> Members:
        stranger = entry("blobs/sha256/" + "0" * 64)
        return [(stranger, b"boo"), (member, content)] if is_blob(member) else [(member, content)]

    with pytest.raises(StrangeMember):
        site.take(rewrite(next_release.tar(), add))


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/should-not-exist",)


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors", "pytorch_model.pt", "model.pkl", "weights.npz"])
def test_an_unsafe_pickle_in_a_validly_signed_bundle_is_refused(site: Site, next_release: Maker, name: str) -> None:
    """TRAPS 13: bare, under a harmless name, and inside a zip."""
    content = pickle.dumps(Evil())
    if name.endswith("npz"):
        with zipfile.ZipFile(next_release.folder / "evil.npz", "w") as archive:
            archive.writestr("weights.npy", content)
        content = (next_release.folder / "evil.npz").read_bytes()
    evil = Maker(next_release.folder / "evil")
    for seed in (1, 2, 3):
        evil.release(seed, files={**model_files(3), name: content})
    with pytest.raises(UnsafeWeights):
        site.take(evil.tar())


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", ".hidden/a.json", "a/b/c/d/e.json"])
def test_a_signed_list_cannot_name_a_file_outside_its_model(site: Site, next_release: Maker, name: str) -> None:
    evil = Maker(next_release.folder / "evil")
    evil.release(1)
    plan = evil.repository.plan()
    files = {**plan.models[0].files, name: plan.models[0].files["config.json"]}
    for _ in range(2):
        evil.repository.put(msgspec.structs.replace(plan.models[0], files=files), evil.keys)
    with pytest.raises(ReleaseInvalid, match="forbidden name"):
        site.take(evil.tar())


@pytest.mark.parametrize("model_id", ["site/tiny", "../tiny", "TINY", "a/b", ""])
def test_the_vendor_cannot_take_the_names_of_the_site_nor_others(site: Site, next_release: Maker, model_id: str) -> None:
    evil = Maker(next_release.folder / "evil")
    for seed in (1, 2):
        evil.release(seed, model_id=model_id)
    with pytest.raises(ReleaseInvalid):
        site.take(evil.tar())


# --- the tar ----------------------------------------------------------------------------------------------------------

LONG = "blobs/sha256/" + "a" * 64
NAMES = {
    "path traversal": "../../etc/cron.d/evil",
    "path traversal inside": "blobs/sha256/../../../evil",
    "absolute path": "/etc/cron.d/evil",
    "other folder": "blobs/md5/00",
    "hidden": "metadata/.root.json",
    "short checksum": "blobs/sha256/abc",
    "capital checksum": "blobs/sha256/" + "A" * 64,
    "dot": "./metadata/timestamp.json",
    "line break": "metadata/timestamp.json\n",
    "empty": "",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_forbidden_name_is_refused(site: Site, next_release: Maker, name: str) -> None:
    with pytest.raises(UnsafeName):
        site.take(rewrite(next_release.tar(), add_first(entry(name), b"* * * * * root boom\n")))
    assert not list(site.models_dir.parent.rglob("*evil*"))


KINDS = {
    "symlink": entry(LONG, tarfile.SYMTYPE, "/etc/passwd"),
    "hardlink": entry(LONG, tarfile.LNKTYPE, "metadata/timestamp.json"),
    "character device": entry(LONG, tarfile.CHRTYPE),
    "block device": entry(LONG, tarfile.BLKTYPE),
    "pipe": entry(LONG, tarfile.FIFOTYPE),
    "folder": entry("blobs/sha256", tarfile.DIRTYPE),
    "extended header": entry("x", tarfile.XHDTYPE),
    "global header": entry("x", tarfile.XGLTYPE),
    "long name": entry("x", tarfile.GNUTYPE_LONGNAME),
    "sparse file": entry(LONG, tarfile.GNUTYPE_SPARSE),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_no_plain_file_is_refused(site: Site, next_release: Maker, kind: tarfile.TarInfo) -> None:
    with pytest.raises(NotPlainFile):
        site.take(rewrite(next_release.tar(), add_first(copy(kind))))


@pytest.mark.parametrize("kind", ["symlink", "linked folder", "folder", "pipe", "device"])
def test_in_a_folder_as_well(site: Site, next_release: Maker, kind: str) -> None:
    bundle = next_release.bundle("folder")
    victim = sorted((bundle / "blobs/sha256").iterdir())[0]
    if kind == "linked folder":
        (bundle / "blobs").rename(bundle / "elsewhere")
        (bundle / "blobs").symlink_to(bundle / "elsewhere")
    else:
        victim.unlink()
        make: dict[str, Callable[[], object]] = {
            "symlink": lambda: victim.symlink_to("/etc/passwd"),
            "folder": victim.mkdir,
            "pipe": lambda: os.mkfifo(victim),
            "device": lambda: os.mknod(victim, 0o20600, os.makedev(1, 5)) if os.geteuid() == 0 else os.mkfifo(victim),
        }
        make[kind]()
    with pytest.raises(NotPlainFile):
        site.take(bundle)


def test_a_member_that_comes_twice_is_refused(site: Site, next_release: Maker) -> None:
    def double(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content), (copy(member), content)] if is_blob(member) else [(member, content)]

    with pytest.raises(MemberTwice):
        site.take(rewrite(next_release.tar(), double))


def test_a_list_twice_is_refused(site: Site, next_release: Maker) -> None:
    def double(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content), (copy(member), content)] if member.name.endswith("timestamp.json") else [(member, content)]

    with pytest.raises(MemberTwice):
        site.take(rewrite(next_release.tar(), double))


def test_a_list_after_the_contents_is_refused(site: Site, next_release: Maker) -> None:
    def late(member: tarfile.TarInfo, content: bytes) -> Members:
        return [(member, content), (entry("metadata/9.root.json"), b"{}")] if is_blob(member) else [(member, content)]

    with pytest.raises(BundleUnreadable, match="after the contents"):
        site.take(rewrite(next_release.tar(), late))


@pytest.mark.parametrize("percent", range(0, 100, 7))
def test_a_truncated_tar_is_refused_and_what_came_whole_is_kept(site: Site, next_release: Maker, percent: int) -> None:
    whole = next_release.tar()
    cut = whole.with_name("cut.tar")
    with tarfile.open(whole) as tar:
        end = max(member.offset_data + member.size for member in tar)
    cut.write_bytes(whole.read_bytes()[: end * percent // 100])
    with pytest.raises(UpdateRefused) as refused:
        site.take(cut)
    assert isinstance(refused.value, BundleTruncated), refused.value


@pytest.mark.parametrize("content", [b"hello", b"\x1f\x8b" + bytes(1000), b"x" * 5000, bytes(10_240)])
def test_another_file_is_not_taken_for_a_bundle(site: Site, next_release: Maker, content: bytes) -> None:
    path = next_release.folder / "other.tar"
    path.write_bytes(content)
    with pytest.raises((BundleUnreadable, BundleTruncated)):
        site.take(path)


def test_a_bundle_that_is_not_there_is_named(site: Site, next_release: Maker) -> None:
    with pytest.raises(BundleUnreadable, match="nowhere"):
        site.take(Path("/nowhere.tar"))
    (next_release.folder / "empty").mkdir()
    with pytest.raises(BundleUnreadable, match="no folder 'metadata'"):
        site.take(next_release.folder / "empty")
