"""Binary packages made byte by byte, good ones and bad ones."""

import gzip
import hashlib
import io
import lzma
import tarfile

import zstandard

from goldsmith.packages.package_store import Archive

COMPRESSORS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: zstandard.ZstdCompressor().compress(content),
}


def entry(name, content=None, *, kind=tarfile.REGTYPE, mode=0o644, target="", uid=0, mtime=1000):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.uid, info.mtime = kind, mode, target, uid, mtime
    info.size = len(content or b"")
    return info, content


def directory(name, mode=0o755):
    return entry(name, kind=tarfile.DIRTYPE, mode=mode)


def tar(entries, format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


def ar(members):
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
        parts.append(content + (b"\n" if len(content) % 2 else b""))
    return b"".join(parts)


def deb(name, entries, *, control=None, compression=".xz", format=tarfile.GNU_FORMAT, **fields):
    """A package; `control` are further control files, `fields` further fields."""
    given = {"Package": name, "Version": "1", "Architecture": "amd64", **fields}
    text = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in given.items())
    files = {"control": text, "md5sums": "", **(control or {})}
    scripts = ("preinst", "postinst")
    controls = [
        entry(f"./{file}", content.encode(), mode=0o755 if file in scripts else 0o644)
        for file, content in files.items() if content is not None
    ]  # fmt: skip
    pack = COMPRESSORS[compression]
    return ar([
        ("debian-binary", b"2.0\n"),
        (f"control.tar{compression}", pack(tar(controls))),
        (f"data.tar{compression}", pack(tar([directory("./"), *entries], format))),
    ])  # fmt: skip


def archive(content, name="a_1_amd64.deb"):
    return Archive(name, len(content), hashlib.sha256(content).hexdigest())


def take(store, tmp_path, *contents):
    """Put packages into a store, from files in a directory."""
    found = []
    for number, content in enumerate(contents):
        file = tmp_path / f"{number}.deb"
        file.write_bytes(content)
        found.append((archive(content), file))
    return store.take_all(found)
