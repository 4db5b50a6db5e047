"""Writing a file whole or not at all, whatever is in its place and wherever the writing fails."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_factory.config.file_access import replacing_file, write_whole_file


class WritingError(Exception):
    """What a writer raises in the middle."""


@given(
    before=st.none() | st.binary(max_size=40),
    link=st.sampled_from([None, "symbolic", "hard"]),
    parts=st.lists(st.binary(max_size=20), max_size=5),
    fails=st.none() | st.integers(0, 5),
)
def test_a_file_is_written_whole_or_stays_as_it_was(
    before: bytes | None, link: str | None, parts: list[bytes], fails: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = named = Path(folder, "file")
        if before is not None:
            file.write_bytes(before)
        if link == "symbolic":
            named = Path(folder, "link")
            named.symlink_to(file)
        elif link == "hard" and before is not None:
            named = Path(folder, "link")
            os.link(file, named)
        names = set(os.listdir(folder))
        broken = False
        try:
            with replacing_file(named) as stream:
                for number, part in enumerate(parts):
                    if number == fails:
                        raise WritingError
                    stream.write(part)
                    assert (file.read_bytes() if file.exists() else None) == before
        except WritingError:
            broken = True
        content = named.read_bytes() if named.exists() else None
        assert content == (before if broken else b"".join(parts))
        assert set(os.listdir(folder)) == (names if broken else names | {"file"})
        assert named.is_symlink() == (link == "symbolic")


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    write_whole_file(file, "text")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="folder"):
        write_whole_file(tmp_path, "text")
    assert list(tmp_path.iterdir()) == []
