"""Files that claim what they do not hold: `.npz` files with odd zips and odd array headers."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import CorpusError
from emsync.training.corpus.archive import is_archive, read_archive, write_archive
from emsync.training.corpus.archive_schema import SCHEMA
from emsync.training.corpus.npz import DAMAGE, member_names, one_line, open_npz
from emsync.training.corpus.song_files import read_song
from emsync.training.corpus.songs import UNREADABLE_PIANOROLL, Refused
from tests.models import toy_archive

LIMIT = 1 << 20


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    """An array's npy header, without the array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def future_version(data: bytes) -> bytes:
    """The zip, as if version 9.9 were needed to extract its members."""
    changed = bytearray(data)
    at = changed.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 6] = 99
        at = changed.find(b"PK\x01\x02", at + 4)
    return bytes(changed)


def encrypted(data: bytes) -> bytes:
    """The zip, as if its first member were encrypted."""
    changed = bytearray(data)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[changed.find(signature) + place] |= 1
    return bytes(changed)


# --- zips -------------------------------------------------------------------------------------------------------------


def test_members_of_zips_and_of_other_files(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.npz", {"a.npy": b"1", "info.json": b"{}"})
    assert member_names(whole) == {"a.npy", "info.json"}
    (tmp_path / "future.npz").write_bytes(future_version(whole.read_bytes()))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-10])
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("future.npz", "cut.npz", "text.npz", "gone.npz"):
        assert member_names(tmp_path / name) is None
    assert member_names("a\0b") is None


@pytest.mark.parametrize("spoil", [future_version, encrypted])
def test_zips_that_cannot_be_opened_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "odd.npz"
    write_archive(path, toy_archive(1))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CorpusError, match=r"odd\.npz cannot be read as an archive"):
        read_archive(path)
    with pytest.raises(Refused, match=r"odd\.npz (cannot be read as a pianoroll|has no info\.json)"):
        read_song(path)


def test_prepare_refuses_a_zip_of_a_later_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_archive(tmp_path / "whole.npz", toy_archive(2))
    (tmp_path / "future.npz").write_bytes(future_version((tmp_path / "whole.npz").read_bytes()))
    assert not is_archive(tmp_path / "future.npz")
    alone = ["prepare", str(tmp_path / "future.npz"), "-o", str(tmp_path / "out"), "--workers", "1", "-q"]
    assert main(alone) == 2
    assert "future.npz cannot be read as a pianoroll (zip file version 9.9)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    beside = ["prepare", str(tmp_path), "-o", str(tmp_path / "out"), "--workers", "1", "-q"]
    assert main(beside) == 0  # beside an archive it counts as a damaged one
    assert "refused: 1 (such as " in capsys.readouterr().out
    assert len(read_archive(tmp_path / "out" / "whole.npz")) == 2


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header((16 << 30,)), "claims the shape"),
        (header((4096, 4096), "<f8") + bytes(5000), r"a\.npy claims 134217728 bytes and has"),
        (header((100,), "<U1000"), r"claims 400000 bytes and has 128"),
        (header((1000,), "<U0"), "claims the shape"),
        (header((-5,)), "claims the shape"),
        (header((1 << 70, 0)), "claims the shape"),
        (b"\x93NUMPY\x03\x00" + header((1,))[8:] + b"\0", "npy version 3.0, not 1.0 or 2.0"),
        (b"\x93NUMPY\x01", "."),
        (header((1,), "|O") + bytes(8), "allow_pickle=False"),
        (header((300,)) + bytes(200), "cannot reshape|EOF"),
    ],
)
def test_claims_are_checked_before_memory_is_taken(tmp_path: Path, data: bytes, message: str) -> None:
    path = zipped(tmp_path / "a.npz", {"a.npy": data})
    tracemalloc.start()
    try:
        with open(path, "rb") as stream, open_npz(stream, LIMIT) as loaded, pytest.raises(DAMAGE, match=message):
            loaded["a"]
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()


def test_a_claim_under_a_name_without_npy_is_checked_too(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.npz", {"a": header((16 << 30,)), "a.npy": header((1,)) + b"1"})
    with open(path, "rb") as stream, open_npz(stream, LIMIT) as loaded, pytest.raises(ValueError, match="claims"):
        loaded["a"]


def test_arrays_and_other_members_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", row=np.arange(5), none=np.zeros(0, dtype="U64"), one=np.float64(2.5))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("info.json", "{}")
    with open(tmp_path / "a.npz", "rb") as stream, open_npz(stream, LIMIT) as loaded:
        assert loaded.names == {"row", "none", "one", "info.json"}
        assert "row" in loaded
        assert "rows" not in loaded
        assert loaded["row"].tolist() == [0, 1, 2, 3, 4]
        assert loaded["none"].shape == (0,)
        assert float(loaded["one"]) == 2.5
        assert loaded["info.json"] == b"{}"
        with pytest.raises(KeyError):
            loaded["rows"]


def test_single_arrays_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(header((16 << 30,)))
    with (
        open(tmp_path / "a.npz", "rb") as stream,
        pytest.raises(ValueError, match="a single array"),
        open_npz(stream, LIMIT),
    ):
        pass
    with pytest.raises(CorpusError, match=r"a\.npz cannot be read as an archive \(a single array\)"):
        read_archive(tmp_path / "a.npz")


def test_files_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", row=np.zeros(2 * LIMIT, dtype=np.uint8))
    with (
        open(tmp_path / "a.npz", "rb") as stream,
        pytest.raises(ValueError, match=f"2097280 bytes when unpacked, over {LIMIT}"),
        open_npz(stream, LIMIT),
    ):
        pass


def test_archives_and_pianorolls_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    claim = header((16 << 30,))
    archive = zipped(tmp_path / "archive.npz", {f"{name}.npy": claim for name in SCHEMA})
    with pytest.raises(CorpusError, match=r"archive\.npz cannot be read as an archive \(family\.npy claims"):
        read_archive(archive)
    tracks = {
        f"pianoroll_{n}_csc_{part}.npy": claim for n in range(5) for part in ("data", "indices", "indptr", "shape")
    }
    programs = [(0, True), (0, False), (24, False), (32, False), (48, False)]
    info = "".join(
        f', "{n}": {{"program": {program}, "is_drum": {str(drum).lower()}}}'
        for n, (program, drum) in enumerate(programs)
    )
    roll = zipped(tmp_path / "roll.npz", {"info.json": f'{{"resolution": 24{info}}}'.encode(), **tracks})
    with pytest.raises(
        Refused, match=r"roll\.npz cannot be read as a pianoroll \(pianoroll_0_csc_data\.npy claims"
    ) as it:
        read_song(roll)
    assert it.value.reason == UNREADABLE_PIANOROLL


def test_messages_take_one_short_line() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(EOFError()) == "EOFError"
    assert one_line(ValueError("x" * 121)) == "x" * 117 + "..."
