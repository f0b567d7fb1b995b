"""The tree of exceptions, and that its messages name what a person needs."""

import errno
import inspect

import pytest

import pagewalk
from pagewalk import errors


def test_everything_raised_is_a_pagewalk_error() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.PagewalkError)


def test_the_face_offers_every_error() -> None:
    assert set(errors.__all__) <= set(pagewalk.__all__)


def test_every_error_says_when_it_is_raised() -> None:
    for name in errors.__all__:
        assert inspect.getdoc(getattr(errors, name))


def test_errors_fit_pythons_own_kinds() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.NotModelled, NotImplementedError)
    assert issubclass(errors.LinuxError, OSError)


def test_a_linux_error_names_the_call_and_the_errno() -> None:
    error = errors.LinuxError("mmap", errno.ENOMEM)
    assert (error.call, error.errno) == ("mmap", errno.ENOMEM)
    assert "mmap: ENOMEM" in str(error)


def test_an_exec_error_is_one_line_with_the_path() -> None:
    error = errors.ExecError("/bin/x", errno.ENOEXEC, "not an ELF file")
    assert str(error) == "/bin/x: not an ELF file"
    assert (error.errno, error.path) == (errno.ENOEXEC, "/bin/x")


def test_a_memory_fault_keeps_address_access_and_code() -> None:
    error = errors.SegmentationFault("segmentation fault: write to 0x10", 0x10, "write", 1)
    assert (error.addr, error.access, error.code) == (0x10, "write", 1)
    with pytest.raises(errors.MemoryFault):
        raise error


def test_the_face_is_small_and_complete() -> None:
    assert len(pagewalk.__all__) <= 16
    assert sorted(pagewalk.__all__) == pagewalk.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = pagewalk.nonsense
