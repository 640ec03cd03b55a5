"""Which file systems are made before the plan, from what, and that nothing of them stays."""

from goldsmith.disk.filesystems import packed
from goldsmith.disk.identity import DiskIdentity
from goldsmith.disk.layout import AUTO, FileSystem, Layout, Partition
from goldsmith.disk.packing import packed_trees


def test_only_what_is_compressed_and_mounted_is_made_before_the_plan(tmp_path, monkeypatch):
    made, said = [], []

    def write_file(path, filesystem, tree, *, epoch_s):
        made.append((filesystem, tree, epoch_s))
        path.write_bytes(bytes(4096 * len(made)))
        return 4096 * len(made)

    monkeypatch.setattr(packed, "write_file", write_file)
    root = Partition("root", "root", AUTO, FileSystem("erofs", options=("-zlz4hc",)), "/")
    usr = Partition("usr", "data", AUTO, FileSystem("squashfs"), "/usr")
    var = Partition("var", "data", AUTO, FileSystem("ext4"), "/var")
    spare = Partition("spare", "data", AUTO, FileSystem("squashfs"))
    identity = DiskIdentity("seed")
    trees = {"/": tmp_path / "root", "/var": tmp_path / "var"}
    with packed_trees(
        Layout(partitions=(root, usr, var, spare)), trees, identity=identity, epoch_s=7,
        scratch=tmp_path, on_file=lambda *words: said.append(words),
    ) as found:  # fmt: skip
        assert found.sizes_bytes == {"/": 4096, "/usr": 8192}
        assert {m: path.stat().st_size for m, path in found.files.items()} == found.sizes_bytes
    assert made == [
        (packed.Packed("erofs", identity.filesystem_uuid("root", "erofs"), ("-zlz4hc",)),
         tmp_path / "root", 7),
        (packed.Packed("squashfs", identity.filesystem_uuid("usr", "squashfs")), None, 7),
    ]  # fmt: skip
    assert said == [("erofs root", 0, 2), ("squashfs usr", 1, 2)]
    assert list(tmp_path.iterdir()) == []
