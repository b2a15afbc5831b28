"""Locks: one process at a time where the file system has them, without them elsewhere."""

import errno
import fcntl

import pytest

from dtnet_core.base.files import InUseError, locked


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_done_with_as_it_is(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="without locks.*DTNET_CACHE_DIR"), locked(tmp_path / "x", wait=False):
        (tmp_path / "x").write_text("written")
    assert (tmp_path / "x").read_text() == "written"


def test_what_is_no_lack_of_locks_is_raised(tmp_path, monkeypatch):
    with locked(tmp_path / "x"), pytest.raises(InUseError), locked(tmp_path / "x", wait=False):
        pass

    def flock(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken disk"), locked(tmp_path / "x"):
        pass
