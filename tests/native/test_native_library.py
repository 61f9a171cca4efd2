"""How the kernels are found, compiled and threaded."""

import ctypes
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recon import native
from recon.native import build

TINY_SOURCE = 'extern "C" __attribute__((visibility("default"))) int answer() { return %d; }\n'


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A one-line library instead of ours, an empty cache, nothing installed, nothing loaded; gives the folder."""
    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "tiny.cpp").write_text(TINY_SOURCE % 42)
    monkeypatch.setattr(build, "SOURCE_DIR", sources)
    monkeypatch.setattr(build, "LIB_DIR", tmp_path / "lib")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECON_NATIVE", raising=False)
    native._load.cache_clear()
    yield tmp_path
    native._load.cache_clear()


def loaded() -> ctypes.CDLL:
    library = native.library()
    assert library is not None, native.describe().reason
    return library


def test_compiles_into_the_cache_once_and_finds_it_again(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded().answer() == 42
    first = native.describe()
    assert first.path is not None
    assert first.path.parent == fresh / "cache" / "recon" / "native"
    assert "compiled now" in first.reason

    monkeypatch.setattr(build, "find_compiler", lambda: None)  # the second time needs no compiler
    native._load.cache_clear()
    assert loaded().answer() == 42
    assert native.describe().path == first.path
    assert "earlier" in native.describe().reason
    assert [p.name for p in first.path.parent.iterdir()] == [first.path.name], "scratch files were left behind"


def test_the_installed_library_comes_first(fresh: Path) -> None:
    paths = build.compile_all(fresh / "lib")
    assert len(paths) == len(build.variants())
    assert loaded().answer() == 42
    assert native.describe().path in paths
    assert not (fresh / "cache").exists()


def test_an_edited_source_is_compiled_again(fresh: Path) -> None:
    build.compile_all(fresh / "lib")
    (fresh / "src" / "tiny.cpp").write_text(TINY_SOURCE % 43)
    assert loaded().answer() == 43
    build.compile_all(fresh / "lib")
    assert len(list((fresh / "lib").iterdir())) == len(build.variants()), "libraries of old sources must go"


def test_a_changed_header_changes_the_hash(fresh: Path) -> None:
    before = build.library_name(next(iter(build.variants())))
    (fresh / "src" / "new.h").write_text("// a header\n")
    assert build.library_name(next(iter(build.variants()))) != before


def test_without_a_compiler_there_is_a_warning_and_no_library(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    with caplog.at_level(logging.WARNING):
        assert native.library() is None
    assert "compiler" in caplog.text
    assert native.describe().isa == "none"


def test_a_source_that_does_not_compile_is_reported(fresh: Path) -> None:
    (fresh / "src" / "tiny.cpp").write_text("this is not C++\n")
    with pytest.raises(build.BuildError, match="failed"):
        build.compile_library(next(iter(build.variants())), fresh / "lib")
    assert native.library() is None


def test_an_unwritable_cache_is_no_crash(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh / "a-file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "a-file"))
    assert native.library() is None
    assert str(fresh) in native.describe().reason


def test_processes_may_compile_together(fresh: Path) -> None:
    errors: list[Exception] = []

    def compile_one() -> None:
        try:
            build.compile_library(next(iter(build.variants())), fresh / "together")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=compile_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(list((fresh / "together").iterdir())) == 1


def test_switched_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_NATIVE", "off")
    assert native.library() is None
    assert "RECON_NATIVE" in native.describe().reason


@pytest.mark.skipif("v3" not in build.variants(), reason="one variant only on this processor")
def test_the_variant_can_be_forced(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_NATIVE", "baseline")
    assert loaded().answer() == 42
    assert native.describe().isa == "baseline"


def test_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECON_NUM_THREADS", "3")
    assert native.thread_count() == 3
    native.set_thread_count(5)
    try:
        assert native.thread_count() == 5
    finally:
        native.set_thread_count(None)
    monkeypatch.delenv("RECON_NUM_THREADS")
    assert native.thread_count() >= 1
    with pytest.raises(ValueError, match="at least 1"):
        native.set_thread_count(0)


def parallel_sum(count: int, chunk: int, threads: int, fail_at: int = -1) -> tuple[int, int]:
    """(code, sum of 0 .. count - 1) from the library's own parallel loop."""
    total = ctypes.c_int64(-1)
    i64 = ctypes.c_int64
    code = loaded().recon_threads_selftest(i64(count), i64(chunk), threads, i64(fail_at), ctypes.byref(total))
    return code, total.value


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 10, 10_001])
def test_parallel_loop_does_everything_once(count: int, threads: int) -> None:
    assert parallel_sum(count, 3, threads) == (0, count * (count - 1) // 2)


def test_an_exception_in_a_worker_is_a_code() -> None:
    assert parallel_sum(10_000, 7, 3, fail_at=5_000)[0] == 1
    assert parallel_sum(10_000, 7, 3) == (0, 49_995_000), "the pool must survive it"


def test_parallel_loops_from_several_python_threads() -> None:
    results: list[tuple[int, int]] = []
    callers = [
        threading.Thread(target=lambda: results.extend(parallel_sum(50_000, 5, 3) for _ in range(20))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [(0, 50_000 * 49_999 // 2)] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_parallel_loop_after_a_fork() -> None:
    assert parallel_sum(1000, 5, 3)[0] == 0  # the parent's pool has threads now; the child has none of them
    child = os.fork()
    if child == 0:
        os._exit(0 if parallel_sum(1000, 5, 3) == (0, 499_500) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
