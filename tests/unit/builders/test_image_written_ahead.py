"""An image build has clusters of its qcow2 compressed while its disk is being filled."""

import os
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from goldsmith.builders.image.disk_steps import FormatsStep
from goldsmith.builders.image.image_files import ImageFiles
from goldsmith.core.step import StepContext
from goldsmith.disk import clusters_ahead
from goldsmith.disk.qcow2_clusters import Packing
from goldsmith.events import Emitter


class Enough(Exception):
    """Ends a build where the test has seen what it wants."""


def build(tmp_path, formats, on_formats):
    """Make the files of a small disk as far as the step that writes them."""

    def make_disk(raw, reason):
        raw.write_bytes(b"of a disk " * 50_000)

    partial = {name: tmp_path / name for name in formats}
    recipe = SimpleNamespace(options=SimpleNamespace(compression="zlib"))
    context = SimpleNamespace(work=tmp_path, run=None)
    files = ImageFiles(
        recipe, SimpleNamespace(run=on_formats), None, context, (), make_disk
    )  # fmt: skip
    outputs = SimpleNamespace(being_written=lambda run: nullcontext(partial))
    with pytest.raises(Enough):
        files._write(outputs, "")


def test_clusters_of_a_disk_are_ahead_of_its_qcow2(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters_ahead, "cores", lambda: 2)
    threads = threading.active_count()

    def on_formats(step):
        assert step.ahead.packing == Packing("zlib")
        end_s = time.monotonic() + 20
        while len(step.ahead) < 7 and time.monotonic() < end_s:
            time.sleep(0.01)
        packed = []
        monkeypatch.setattr(Packing, "pack", lambda *words: packed.append(words) or b"p")
        context = StepContext(emitter=Emitter("b", lambda _: None), scratch=tmp_path, epoch_s=0)
        step.run(context)
        assert len(packed) == 1  # the last cluster, which is not whole
        raise Enough

    build(tmp_path, ["qcow2"], on_formats)
    assert threading.active_count() == threads
    assert sorted(os.listdir(tmp_path)) == ["disk.raw", "qcow2"]


def test_without_qcow2_nothing_is_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters_ahead, "cores", lambda: 2)
    threads = threading.active_count()

    def on_formats(step):
        assert isinstance(step, FormatsStep)
        assert step.ahead is None
        assert threading.active_count() == threads
        raise Enough

    build(tmp_path, ["raw", "vmdk"], on_formats)
