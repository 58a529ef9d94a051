from __future__ import annotations

import gzip
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinscape.networks import _files, datasets, registry
from spinscape.networks._parsers import parse_cifar, parse_idx, parse_names
from spinscape.networks.datasets import DataError, load


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx(array: np.ndarray) -> bytes:
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def small_images(seed: int = 0) -> dict[str, bytes]:
    """Four made-up gzipped IDX files: 7 training and 3 test images of 4 x 4."""
    draw = np.random.default_rng(seed)
    arrays = [
        draw.integers(0, 256, (7, 4, 4)),
        draw.integers(0, 10, 7),
        draw.integers(0, 256, (3, 4, 4)),
        draw.integers(0, 10, 3),
    ]
    return {
        file.name: gzip.compress(idx(array), mtime=1)
        for file, array in zip(registry.MNIST.files, arrays, strict=True)
    }


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


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def cifar_members(name: str) -> dict[str, bytes]:
    draw = np.random.default_rng(2)

    def records(count: int, labels: int) -> bytes:
        rows = draw.integers(0, 256, (count, labels + 3072)).astype(np.uint8)
        rows[:, :labels] %= 10
        return rows.tobytes()

    if name == "cifar10":
        parts = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
        members = {f"cifar-10-batches-bin/{part}": records(2, 1) for part in parts}
        names = "\n".join(f"class {i}" for i in range(10)) + "\n\n"
        return members | {"cifar-10-batches-bin/batches.meta.txt": names.encode()}
    members = {f"cifar-100-binary/{part}.bin": records(3, 2) for part in ("train", "test")}
    names = "\n".join(f"class {i}" for i in range(100))
    return members | {"cifar-100-binary/fine_label_names.txt": names.encode()}


@pytest.mark.parametrize(("name", "train"), [("cifar10", 10), ("cifar100", 3)])
def test_cifar_is_read_from_the_archive(places, monkeypatch, name, train):
    members = cifar_members(name)
    file = registry.SPECIFICATIONS[name].files[0].name
    files = {file: archive({"../escape": b"x"} | members)}
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


class Server:
    """Stands in for ``requests.get``: serves files by address and counts the calls."""

    def __init__(self, content: dict[str, bytes]):
        self.content = content
        self.asked: list[str] = []

    def __call__(self, url, **options):
        assert options["timeout"] == _files.TIMEOUT
        self.asked.append(url)
        return self.Answer(self.content.get(url))

    class Answer:
        def __init__(self, content):
            self.body = content
            self.headers = {"content-length": str(len(content or b""))}

        def raise_for_status(self):
            import requests

            if self.body is None:
                raise requests.exceptions.HTTPError("404 Client Error: Not Found")

        def iter_content(self, chunk_size):
            yield self.body

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def close(self):
            return None


def test_download_tries_the_mirrors_and_fills_the_cache(places, monkeypatch):
    import requests

    files = small_images()
    publish(monkeypatch, "mnist", files)
    first, second = registry.MNIST.mirrors
    content = {second + name: body for name, body in files.items()}
    name = registry.MNIST.files[1].name
    content[first + name] = b"<html>moved</html>"
    server = Server(content)
    monkeypatch.setattr(requests, "get", server)
    assert load("mnist").source == "download"
    assert len(server.asked) == 8
    monkeypatch.setattr(requests, "get", None)
    assert load("mnist").source == "cache"


def test_mirrors_with_other_files(places, monkeypatch):
    import requests

    files = small_images()
    publish(monkeypatch, "mnist", files)
    pages = {mirror + name: b"page" for mirror in registry.MNIST.mirrors for name in files}
    monkeypatch.setattr(requests, "get", Server(pages))
    with pytest.raises(DataError, match="another file than the published one"):
        load("mnist")
    assert not [path for path in places["cache"].rglob("*") if path.is_file()]


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
