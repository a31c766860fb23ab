"""A file is the old one or the whole new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.atomic_file import replacing


def test_a_file_is_replaced_as_a_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.parent == path.parent, "on the same disk, else it could not take its place at once"
    assert path.read_text() == "new"
    with replacing(path) as partial:
        partial.write_text("newer")
        assert path.read_text() == "new"
    assert path.read_text() == "newer"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_file_is_as_it_was_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    with pytest.raises(KeyError), replacing(path):
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
