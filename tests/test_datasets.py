from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bad_data
from bad_data import archive, cifar_members, idx, small_images
from scarce import little_memory
from spinscape.networks import _files, datasets, registry
from spinscape.networks._parsers import parse_cifar, parse_idx, parse_names, read_members
from spinscape.networks.datasets import DataError, load


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def published(name: str, files: dict[str, bytes]) -> registry.Specification:
    """The specification of `name` with the sums of made-up files."""
    original = registry.SPECIFICATIONS[name]
    entries = tuple(
        registry.RemoteFile(
            file.name,
            md5(files[file.name]),
            file.content_md5 and md5(gzip.decompress(files[file.name])),
        )
        for file in original.files
    )
    return replace(original, files=entries)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Empty folders for each place, and no network."""
    folders = {name: tmp_path / name for name in ("local", "debian", "cache")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("SPINSCAPE_DATA", str(folders["local"]))
    monkeypatch.setenv("SPINSCAPE_CACHE", str(folders["cache"]))
    monkeypatch.setattr(_files, "DEBIAN", folders["debian"])
    requests = pytest.importorskip("requests")

    def refuse(*args, **kwargs):
        raise requests.exceptions.ConnectionError("Failed to resolve 'example'")

    monkeypatch.setattr(requests, "get", refuse)
    return folders


def publish(monkeypatch, name: str, files: dict[str, bytes]) -> None:
    monkeypatch.setitem(registry.SPECIFICATIONS, name, published(name, files))


def put(folder, name: str, files: dict[str, bytes]) -> None:
    (folder / name).mkdir(exist_ok=True)
    for file, content in files.items():
        (folder / name / file).write_bytes(content)


def test_names_need_no_torch():
    code = (
        "import sys; from spinscape.networks import registry, datasets;"
        "assert 'torch' not in sys.modules; print(*registry.NAMES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(datasets.NAMES)


@pytest.mark.parametrize(
    ("wrong", "right"), [("minst", "mnist"), ("Fashion_MNIST", "fashion-mnist"), ("cifar", "cifar")]
)
def test_unknown_name_is_answered_with_the_nearest(wrong, right):
    with pytest.raises(ValueError, match=rf"Did you mean '{right}.*Known names: digits, linnerud"):
        load(wrong)


def test_digits_is_a_fixed_stratified_split():
    data = load("digits")
    assert data.x_train.shape == (1437, 1, 8, 8)
    assert data.x_test.shape == (360, 1, 8, 8)
    assert data.x_train.dtype == torch.float32
    assert data.y_train.dtype == torch.int64
    assert 0 <= data.x_train.min() < data.x_train.max() == 1
    counts = torch.bincount(data.y_test)
    assert counts.min() >= 34
    assert counts.max() <= 37
    assert data.source == "bundled"
    assert len(data.classes) == data.targets == 10
    assert torch.equal(load("digits").x_test, data.x_test)
    joined = np.sort(np.concatenate([data.x_train, data.x_test]).reshape(1797, -1).sum(1))
    from sklearn.datasets import load_digits

    assert np.array_equal(joined, np.sort((load_digits().data / 16).astype(np.float32).sum(1)))


def test_linnerud_is_a_regression():
    data = load("linnerud")
    assert data.task == "regression"
    assert data.x_train.shape == (15, 3)
    assert data.y_test.shape == (5, 3)
    assert data.y_train.dtype == torch.float32
    assert data.classes == ("Weight", "Waist", "Pulse")


def test_flat_is_a_view_and_keeps_the_rest():
    data = load("digits")
    flat = data.flat()
    assert flat.shape == (64,)
    assert data.features == 64
    assert flat.x_train.data_ptr() == data.x_train.data_ptr()
    assert flat.md5 == data.md5


def test_subset_is_fixed():
    data = load("digits")
    x, y = data.subset("test", 50, seed=3)
    again, _ = data.subset("test", 50, seed=3)
    other, _ = data.subset("test", 50, seed=4)
    assert x.shape == (50, 1, 8, 8)
    assert len(y) == 50
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert len({tuple(row.flatten().tolist()) for row in x}) == 50
    with pytest.raises(ValueError, match=r"1\.\.360"):
        data.subset("test", 361)
    with pytest.raises(ValueError, match="'train' or 'test'"):
        data.subset("valid", 3)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3).flatmap(
        lambda shape: st.tuples(st.just(tuple(shape)), st.binary(min_size=64, max_size=64))
    )
)
def test_idx_round_trip(case):
    shape, content = case
    array = np.frombuffer(content, np.uint8)[: int(np.prod(shape))].reshape(shape)
    assert np.array_equal(parse_idx(idx(array), len(shape)), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "too few"),
        (idx(np.zeros((2, 3, 3)))[:-1], r"so 34 bytes, but there are 33"),
        (idx(np.zeros((2, 3, 3))) + b"x", r"but there are 35"),
        (b"\x00\x00\x0d\x03" + idx(np.zeros((2, 3, 3)))[4:], "magic number 0x00000d03"),
        (idx(np.zeros(40)), "magic number 0x00000801 instead of 0x00000803"),
        (b"<!DOCTYPE html><html>not here</html>", "magic number"),
    ],
)
def test_idx_refuses_other_files(content, message):
    with pytest.raises(ValueError, match=message):
        parse_idx(content, 3)


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_cifar_records(label_bytes):
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (5, 3, 32, 32)).astype(np.uint8)
    labels = draw.integers(0, 10, 5).astype(np.uint8)
    coarse = np.full((5, label_bytes - 1), 3, np.uint8)
    content = np.hstack([coarse, labels[:, None], images.reshape(5, -1)]).tobytes()
    x, y = parse_cifar(content, label_bytes, 10)
    assert np.array_equal(x, images)
    assert np.array_equal(y, labels)
    for wrong in (content[:-1], b""):
        with pytest.raises(ValueError, match="whole number"):
            parse_cifar(wrong, label_bytes, 10)
    with pytest.raises(ValueError, match="out of range"):
        parse_cifar(content, label_bytes, int(labels.max()))
    with pytest.raises(ValueError, match="2 class names"):
        parse_names(b"cat\ndog\n", 3)


@pytest.mark.parametrize(("name", "train"), [("cifar10", 10), ("cifar100", 3)])
def test_cifar_is_read_from_the_archive(places, monkeypatch, name, train):
    members = cifar_members(name)
    file = registry.SPECIFICATIONS[name].files[0].name
    files = {file: archive(members)}
    publish(monkeypatch, name, files)
    put(places["local"], name, files)
    data = load(name)
    assert data.x_train.shape == (train, 3, 32, 32)
    assert data.source == "local"
    assert len(data.classes) == int(name.removeprefix("cifar"))
    part = next(iter(members.values()))
    first = np.frombuffer(part, np.uint8)[1 if name == "cifar10" else 2 :][:3072]
    assert np.allclose(data.x_train[0].flatten().numpy(), first / np.float32(255))
    assert [p.name for p in places["local"].rglob("*") if p.is_file()] == [file]


def test_a_dot_before_the_names_of_an_archive_is_fine():
    entries = [tarfile.TarInfo(name) for name in (".", "./folder")]
    for entry in entries:
        entry.type = tarfile.DIRTYPE
    content = gzip.decompress(archive({"./folder/a": b"1", "./folder/b": b"2"}, *entries))
    assert read_members(content, "folder", ["b"]) == {"b": b"2"}
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("folder/a")
        entry.size, entry.mtime = 1, 0.5
        tar.addfile(entry, io.BytesIO(b"1"))
    assert read_members(pax.getvalue(), "folder", ["a"]) == {"a": b"1"}


def test_cifar_archive_without_a_member(places, monkeypatch):
    members = cifar_members("cifar10")
    members.pop("cifar-10-batches-bin/data_batch_3.bin")
    files = {"cifar-10-binary.tar.gz": archive(members)}
    publish(monkeypatch, "cifar10", files)
    put(places["local"], "cifar10", files)
    with pytest.raises(DataError, match=r"no file cifar-10-batches-bin/data_batch_3\.bin"):
        load("cifar10")


def test_places_are_searched_in_order(places, monkeypatch):
    files = small_images()
    publish(monkeypatch, "mnist", files)
    for place in ("cache", "debian", "local"):
        put(places[place], "mnist", files)
        data = load("mnist")
        assert data.source == place
    assert data.md5 == {name: md5(content) for name, content in files.items()}
    assert data.x_train.shape == (7, 1, 4, 4)
    assert data.x_train.max() <= 1
    other = places["local"].parent / "elsewhere"
    other.mkdir()
    assert load("mnist", root=other).source == "debian"


def test_debian_copy_with_another_gzip_header(places, monkeypatch):
    files = small_images()
    publish(monkeypatch, "fashion-mnist", files)
    repacked = {
        name: gzip.compress(gzip.decompress(content), compresslevel=1, mtime=99)
        for name, content in files.items()
    }
    put(places["debian"], "fashion-mnist", repacked)
    data = load("fashion-mnist")
    assert data.source == "debian"
    assert data.md5 == {name: md5(content) for name, content in repacked.items()}
    name = next(iter(files))
    changed = bytearray(gzip.decompress(files[name]))
    changed[-1] ^= 1
    (places["debian"] / "fashion-mnist" / name).write_bytes(gzip.compress(bytes(changed)))
    with pytest.raises(DataError, match="MD5 of the decompressed content"):
        load("fashion-mnist")
    put(places["local"], "fashion-mnist", repacked)
    with pytest.raises(DataError, match="not the published file"):
        load("fashion-mnist")


def damage(content: bytes, how: str) -> bytes:
    if how == "flipped bit":
        return content[:40] + bytes([content[40] ^ 4]) + content[41:]
    return {
        "cut": content[:-9],
        "empty": b"",
        "page": b"<!DOCTYPE html><title>404</title>",
    }[how]


@pytest.mark.parametrize("how", ["flipped bit", "cut", "empty", "page"])
@pytest.mark.parametrize("place", ["local", "debian", "cache"])
def test_wrong_file_is_an_error_and_stays(places, monkeypatch, place, how):
    files = small_images()
    publish(monkeypatch, "mnist", files)
    put(places["local" if place == "cache" else "cache"], "mnist", {})
    put(places["cache"], "mnist", files)
    name = registry.MNIST.files[2].name
    bad = damage(files[name], how)
    put(places[place], "mnist", files | {name: bad})
    with pytest.raises(DataError) as caught:
        load("mnist")
    text = str(caught.value)
    path = places[place] / "mnist" / name
    assert str(path) in text
    assert md5(bad) in text
    assert md5(files[name]) in text
    assert "SPINSCAPE_DATA" in text
    assert path.read_bytes() == bad


def test_published_sum_with_a_wrong_format(places, monkeypatch):
    files = small_images()
    name = registry.MNIST.files[0].name
    files[name] = gzip.compress(idx(np.zeros(8)))
    publish(monkeypatch, "mnist", files)
    put(places["local"], "mnist", files)
    with pytest.raises(DataError, match="magic number"):
        load("mnist")


def test_incomplete_folder_is_named(places, monkeypatch):
    files = small_images()
    publish(monkeypatch, "mnist", files)
    put(places["cache"], "mnist", files)
    name = registry.MNIST.files[3].name
    put(places["local"], "mnist", {k: v for k, v in files.items() if k != name})
    with pytest.raises(DataError, match=f"only a part of mnist: {name} missing"):
        load("mnist")


def test_nothing_found_and_no_network(places):
    with pytest.raises(DataError) as caught:
        load("mnist")
    text = str(caught.value)
    for folder in places.values():
        assert str(folder / "mnist") in text
    for mirror in registry.MNIST.mirrors:
        assert mirror in text
    assert "no network?" in text
    assert len(text.splitlines()) <= 8
    assert caught.value.__cause__ is None
    with pytest.raises(DataError, match="not allowed by download=False"):
        load("mnist", download=False)


@pytest.fixture
def mirrors(places, monkeypatch):
    """A made-up MNIST, and two mirrors of it on this machine that answer as a test says."""
    monkeypatch.undo()
    for name, value in (("SPINSCAPE_DATA", places["local"]), ("SPINSCAPE_CACHE", places["cache"])):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(_files, "DEBIAN", places["debian"])
    files = small_images()
    with Mirror(files) as first, Mirror(files) as second:
        addresses = (first.address, second.address)
        monkeypatch.setitem(
            registry.SPECIFICATIONS, "mnist", replace(published("mnist", files), mirrors=addresses)
        )
        yield first, second


class Mirror:
    """An HTTP server on the loopback address.

    ``ways`` says by file name how it answers: ``good``, ``page``, ``cut`` (less than announced),
    ``missing``, ``silent``, ``drip`` (a byte now and then) or ``endless``.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.ways: dict[str, str] = {}
        self.asked: list[str] = []
        self.over = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def all(self, way: str) -> None:
        self.ways = dict.fromkeys(self.files, way)

    def answer(self, handler) -> None:
        name = handler.path.lstrip("/")
        self.asked.append(name)
        way, body = self.ways.get(name, "good"), self.files[name]
        if way == "silent":
            self.over.wait(60)
            return
        if way == "page":
            body = b"<!DOCTYPE html><title>moved</title>"
        handler.send_response(404 if way == "missing" else 200)
        if way not in ("drip", "endless"):
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            if way == "drip":
                while not self.over.wait(0.05):
                    handler.wfile.write(b"x")
            elif way == "endless":
                while not self.over.is_set():
                    handler.wfile.write(bytes(2**20))
            else:
                handler.wfile.write(body[:-9] if way == "cut" else body)


def left_in(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_download_tries_the_mirrors_and_fills_the_cache(mirrors, places):
    first, second = mirrors
    names = list(first.files)
    first.all("missing")
    first.ways[names[1]] = "page"
    data = load("mnist")
    assert data.source == "download"
    assert data.md5 == {name: md5(content) for name, content in first.files.items()}
    assert first.asked == second.asked == names
    assert left_in(places["cache"]) == sorted(names)
    for path in (places["cache"] / "mnist").rglob("*"):
        assert path.stat().st_mode & 0o77 == 0
    first.all("silent")
    second.all("silent")
    assert load("mnist").source == "cache"
    assert first.asked == second.asked == names


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("page", "another file than the published one"),
        ("cut", "MD5 differs|IncompleteRead|more expected"),
        ("missing", "404"),
        ("silent", "[Tt]imed out"),
        ("drip", "too slow"),
        ("endless", "sent more than 1048576 bytes"),
    ],
)
@pytest.mark.timeout(60)
def test_a_bad_mirror_leaves_nothing_and_a_good_one_helps(mirrors, places, monkeypatch, way, says):
    monkeypatch.setattr(_files, "TIMEOUT", 1.0)
    monkeypatch.setattr(_files, "PATIENCE", 1.0)
    monkeypatch.setitem(_files.LARGEST, "idx", 2**20)
    first, second = mirrors
    names = list(first.files)
    for mirror in mirrors:
        mirror.ways[names[2]] = way
    with pytest.raises(DataError) as caught:
        load("mnist")
    assert re.search(says, str(caught.value))
    for mirror in mirrors:
        assert mirror.address + names[2] in str(caught.value)
        assert mirror.asked.count(names[2]) == 1
    assert left_in(places["cache"]) == sorted(names[:2])
    second.ways.clear()
    assert load("mnist").source == "download"
    assert second.asked == [names[2], names[2]]
    assert left_in(places["cache"]) == sorted(names)


def test_mirrors_that_refuse_connections(mirrors, places):
    for mirror in mirrors:
        mirror.server.shutdown()
        mirror.server.server_close()
    with pytest.raises(DataError, match="refused"):
        load("mnist")
    assert left_in(places["cache"]) == []


@pytest.mark.timeout(60)
def test_a_mirror_that_drops_connections(mirrors, monkeypatch):
    monkeypatch.setattr(_files, "CONNECT_TIMEOUT", 0.3)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        specification = replace(registry.SPECIFICATIONS["mnist"], mirrors=(address, address))
        monkeypatch.setitem(registry.SPECIFICATIONS, "mnist", specification)
        with pytest.raises(DataError, match="timed out"):
            load("mnist")


def test_a_cache_that_cannot_be_written_is_named(mirrors, places):
    (places["cache"] / "mnist").write_text("")
    with pytest.raises(DataError, match=r"cache/mnist cannot be written: Not a directory"):
        load("mnist")
    assert not mirrors[0].asked


def test_a_download_that_was_killed_is_swept(mirrors, places):
    code = (
        "import os, signal; from pathlib import Path; from spinscape import durable\n"
        f"with durable.aside(Path({str(places['cache'])!r}) / 'mnist' / 'other', folder=True) as part:\n"
        "    (part / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert left_in(places["cache"]) == ["half"]
    assert load("mnist").source == "download"
    assert left_in(places["cache"]) == sorted(mirrors[0].files)


@contextlib.contextmanager
def nobody():
    """Give up what root may do with files, where this is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def everything(folder) -> dict:
    """What is in a folder: kinds, permissions, sizes, and the content of files that are small."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        small = path.is_file() and not path.is_symlink() and about.st_size < 2**24
        found[str(path)] = (about.st_mode, about.st_size, path.read_bytes() if small else None)
    return found


@pytest.fixture
def open_places(places, monkeypatch):
    """The same places in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folders = {place: Path(name) / place for place in places}
        for folder in folders.values():
            folder.mkdir()
        monkeypatch.setenv("SPINSCAPE_DATA", str(folders["local"]))
        monkeypatch.setenv("SPINSCAPE_CACHE", str(folders["cache"]))
        monkeypatch.setattr(_files, "DEBIAN", folders["debian"])
        yield folders


@pytest.mark.parametrize("place", ["local", "cache"])
@pytest.mark.parametrize("name", bad_data.WAYS)
@pytest.mark.timeout(60)
def test_spoiled_data_are_refused(open_places, monkeypatch, name, place):
    way = bad_data.WAYS[name]
    good = bad_data.made_up(way.dataset)
    publish(monkeypatch, way.dataset, good)
    path = bad_data.write(way, open_places[place], good)
    top = path.parents[2]
    before = everything(top)
    with (
        little_memory(2 * _files.LARGEST["idx" if way.dataset == "mnist" else "cifar"]),
        nobody() if name == "unreadable" else contextlib.nullcontext(),
        pytest.raises(DataError) as caught,
    ):
        load(way.dataset)
    text = str(caught.value)
    assert str(path) in text
    assert re.search(way.says or f"MD5 [0-9a-f]{{32}}, expected {md5(good[path.name])}", text)
    assert "SPINSCAPE_DATA" in text
    assert everything(top) == before
    assert not bad_data.evidence(path).exists()


@pytest.mark.parametrize("name", [name for name, way in bad_data.WAYS.items() if way.behind])
@pytest.mark.timeout(60)
def test_what_reads_is_safe_behind_a_sum_that_agrees(open_places, monkeypatch, name):
    way = bad_data.WAYS[name]
    path = bad_data.write(way, open_places["local"])
    publish(monkeypatch, way.dataset, {file.name: file.read_bytes() for file in path.parent.iterdir()})
    top = path.parents[2]
    before = everything(top)
    with (
        little_memory(4 * _files.LARGEST["idx" if way.dataset == "mnist" else "cifar"]),
        pytest.raises(DataError) as caught,
    ):
        load(way.dataset)
    text = str(caught.value)
    assert str(path) in text
    assert re.search(way.behind, text), text
    assert everything(top) == before
    assert not bad_data.evidence(path).exists()
    assert not os.path.exists("/tmp/spinscape-escape")


def test_the_pickle_would_have_left_evidence(tmp_path):
    path = bad_data.write(bad_data.WAYS["a pickle"], tmp_path)
    pickle.loads(path.read_bytes())
    assert bad_data.evidence(path).is_dir()


def test_a_bomb_in_debians_folder(places, monkeypatch):
    files = small_images()
    publish(monkeypatch, "fashion-mnist", files)
    way = replace(bad_data.WAYS["gzip bomb"], dataset="fashion-mnist")
    path = bad_data.write(way, places["debian"], files)
    with little_memory(2 * _files.LARGEST["idx"]), pytest.raises(DataError, match="more than") as caught:
        load("fashion-mnist")
    assert str(path) in str(caught.value)


def test_a_folder_that_may_not_be_entered_is_named(open_places):
    path = bad_data.write(bad_data.WAYS["empty"], open_places["local"])
    path.parent.chmod(0)
    with nobody(), pytest.raises(DataError, match=r"local/mnist/.* cannot be looked at: Permission denied"):
        load("mnist")
    path.parent.chmod(0o700)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_data(real_data, name):
    data = load(name, root=real_data, download=False)
    assert data.source == "local"
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    assert torch.bincount(data.y_test).tolist() == (
        [1000] * 10 if name == "fashion-mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    mean = float(data.x_train.double().mean())
    assert mean == pytest.approx(0.1307 if name == "mnist" else 0.2860, abs=1e-4)


def test_downscaled_pixels_are_means_over_their_areas():
    data = load("digits")
    halved = data.downscaled(4)
    blocks = data.x_train.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    assert torch.allclose(halved.x_train, blocks, atol=1e-6)
    assert halved.shape == (1, 4, 4)
    assert torch.equal(halved.y_test, data.y_test)
    odd = data.downscaled(3)
    fine = data.x_test.repeat_interleave(3, 2).repeat_interleave(3, 3)
    areas = fine.unflatten(2, (3, 8)).unflatten(4, (3, 8)).mean((3, 5))
    assert torch.allclose(odd.x_test, areas, atol=1e-6)
    assert torch.allclose(data.downscaled(8).x_train, data.x_train)


def test_downscaling_refuses_what_is_no_image():
    for data, side in ((load("digits"), 9), (load("digits"), 0), (load("digits").flat(), 4)):
        with pytest.raises(ValueError, match="cannot be scaled down"):
            data.downscaled(side)


def test_padded_images_stand_in_the_middle_of_zeros():
    data = load("digits")
    padded = data.padded(11)
    assert padded.name == "digits-11"
    assert padded.shape == (1, 11, 11)
    assert torch.equal(padded.x_train[:, :, 1:9, 1:9], data.x_train)
    assert torch.equal(padded.x_test.sum((1, 2, 3)), data.x_test.sum((1, 2, 3)))
    assert torch.equal(padded.y_test, data.y_test)
    assert data.padded(8) is data
    wide = replace(data, x_train=data.x_train[:, :, 1:], x_test=data.x_test[:, :, 1:]).padded(8)
    assert torch.equal(wide.x_train[:, :, :7], data.x_train[:, :, 1:])
    assert wide.shape == (1, 8, 8)


def test_padding_refuses_what_does_not_fit():
    for data, side in ((load("digits"), 7), (load("digits").flat(), 64)):
        with pytest.raises(ValueError, match="cannot be padded"):
            data.padded(side)


def test_standardised_by_the_training_samples() -> None:
    plain = datasets.load("linnerud")
    data = plain.standardised()
    for fitted in (data.x_train, data.y_train):
        torch.testing.assert_close(fitted.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(fitted.std(0, correction=0), torch.ones(3))
    scale = plain.x_train.std(0, correction=0)
    torch.testing.assert_close(data.x_test * scale + plain.x_train.mean(0), plain.x_test)
    digits = datasets.load("digits").standardised()
    assert digits.y_train.dtype == torch.int64
    assert bool(torch.isfinite(digits.x_train).all())


def test_shortened_keeps_the_test_samples() -> None:
    data = datasets.load("digits")
    few = data.shortened(100, seed=3)
    assert torch.equal(few.x_train, data.subset("train", 100, 3)[0])
    assert torch.equal(few.x_test, data.x_test)
    assert len(data.shortened(10**6).x_train) == len(data.x_train)
    with pytest.raises(ValueError, match="size must lie"):
        data.shortened(0)
