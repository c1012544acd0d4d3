"""The watcher: on real files, every way in which a manifest is changed is noticed, and soon."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.waiting import wait_until

from assetstored.manifest_file import signature
from assetstored.watcher import Watcher, find_layout

#: By far enough for the poll too; what comes by event is there within 0.2 s.
DEADLINE_S = 10.0


class Watched:
    """A manifest path, and what its watcher has seen of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0
        self.last: object = "not looked at"
        self._watcher = Watcher(str(path), self._look)

    def start(self) -> None:
        self._look()
        self._watcher.start()
        self._look()

    def close(self) -> None:
        self._watcher.close()

    def _look(self) -> None:
        self.calls += 1
        self.last = self._content()

    def _content(self) -> object:
        try:
            return self.path.read_bytes()
        except OSError as exc:
            return type(exc)

    def notices(self, what: str) -> None:
        """Return once a call came that saw what is there now."""
        wait_until(lambda: self.last == self._content(), DEADLINE_S, f"a call after {what}")

    def is_called(self, what: str, change: Callable[[], object]) -> None:
        """Return once a call came after the change, of which the content shows nothing."""
        before = self.calls
        change()
        wait_until(lambda: self.calls > before, DEADLINE_S, f"a call after {what}")


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[Path], Watched]]:
    started: list[Watched] = []
    threads = set(threading.enumerate())

    def begin(path: Path) -> Watched:
        watched = Watched(path)
        watched.start()
        started.append(watched)
        return watched

    yield begin
    for watched in started:
        watched.close()
    assert set(threading.enumerate()) == threads


Watch = Callable[[Path], Watched]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "manifest.json"
    path.parent.mkdir()
    path.write_bytes(b"first")
    return path


def test_a_rewrite_in_place_is_noticed(watch: Watch, path: Path) -> None:
    watched = watch(path)

    path.write_bytes(b"second")
    watched.notices("a rewrite")
    with path.open("ab") as file:
        file.write(b" and more")
    watched.notices("an addition")


def test_a_rename_over_the_file_is_noticed_each_time(watch: Watch, path: Path) -> None:
    watched = watch(path)

    for content in (b"second", b"third", b"fourth"):
        new = path.with_suffix(".tmp")
        new.write_bytes(content)
        new.replace(path)
        watched.notices("a rename")


def test_an_editors_dance_is_noticed(watch: Watch, path: Path) -> None:
    """As vim does: the old file is renamed away, a new one written, the old one removed."""
    watched = watch(path)

    path.rename(path.with_suffix(".json~"))
    path.write_bytes(b"second")
    path.with_suffix(".json~").unlink()
    watched.notices("an edit")
    path.write_bytes(b"third")
    watched.notices("a rewrite of the new file")


def test_deletion_and_return_are_noticed(watch: Watch, path: Path) -> None:
    watched = watch(path)

    path.unlink()
    watched.notices("a deletion")
    path.write_bytes(b"first")
    watched.notices("the return")


def test_a_file_that_is_not_there_at_the_start_is_noticed_when_it_comes(
    watch: Watch, path: Path
) -> None:
    path.unlink()
    watched = watch(path)

    path.write_bytes(b"first")
    watched.notices("the file's arrival")


def test_truncation_is_noticed(watch: Watch, path: Path) -> None:
    watched = watch(path)

    os.truncate(path, 0)
    watched.notices("a truncation")


def test_a_change_of_permissions_is_noticed(watch: Watch, path: Path) -> None:
    watched = watch(path)

    watched.is_called("a chmod", lambda: path.chmod(0o640))


def test_a_directory_in_place_of_the_file_is_noticed(watch: Watch, path: Path) -> None:
    watched = watch(path)

    path.unlink()
    path.mkdir()
    watched.notices("a directory")
    path.rmdir()
    path.write_bytes(b"back")
    watched.notices("the file's return")


def config_map(directory: Path, version: str) -> None:
    """Lay out a version of the file as Kubernetes does: a directory, and a link swapped to it."""
    (directory / version).mkdir(parents=True)
    (directory / version / "manifest.json").write_text(version)
    link = directory / "..data_tmp"
    link.symlink_to(version)
    link.replace(directory / "..data")
    if not (directory / "manifest.json").is_symlink():
        (directory / "manifest.json").symlink_to("..data/manifest.json")


def test_a_config_maps_symlink_swap_is_noticed_each_time(watch: Watch, tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    config_map(mount, "..v1")
    watched = watch(mount / "manifest.json")

    for version, old in (("..v2", "..v1"), ("..v3", "..v2")):
        config_map(mount, version)
        shutil.rmtree(mount / old)
        watched.notices("a symlink swap")
        assert watched.last == version.encode()


def test_a_change_behind_a_symlink_to_another_directory_is_noticed(
    watch: Watch, tmp_path: Path, path: Path
) -> None:
    (tmp_path / "link.json").symlink_to(path)
    watched = watch(tmp_path / "link.json")

    path.write_bytes(b"second")
    watched.notices("a change of the target")
    other = tmp_path / "other" / "file"
    other.parent.mkdir()
    other.write_bytes(b"other")
    (tmp_path / "new").symlink_to("other/file")
    (tmp_path / "new").replace(tmp_path / "link.json")
    watched.notices("another target")
    other.write_bytes(b"more")
    watched.notices("a change of the other target")


def test_a_directory_on_the_way_that_is_a_link_may_be_swapped(watch: Watch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "manifest.json").write_text(name)
    (tmp_path / "current").symlink_to("one")
    watched = watch(tmp_path / "current" / "sub" / "manifest.json")

    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "current")
    watched.notices("a swap of the directory")
    assert watched.last == b"two"
    (tmp_path / "two" / "sub" / "manifest.json").write_text("three")
    watched.notices("a rewrite in the other directory")


def test_the_directory_may_be_removed_and_made_anew(watch: Watch, path: Path) -> None:
    watched = watch(path)

    shutil.rmtree(path.parent)
    watched.notices("the directory's removal")
    path.parent.mkdir()
    path.write_bytes(b"anew")
    watched.notices("the file in a new directory")
    path.write_bytes(b"and changed")
    watched.notices("a change in the new directory")


def test_the_directory_may_be_swapped_for_another(watch: Watch, tmp_path: Path, path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / path.name).write_bytes(b"other")
    watched = watch(path)

    path.parent.rename(tmp_path / "old")
    new.rename(path.parent)
    watched.notices("a swap of the directory")
    assert watched.last == b"other"
    path.write_bytes(b"changed")
    watched.notices("a change in the other directory")


def test_the_directories_need_not_be_there_at_the_start(watch: Watch, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "manifest.json"
    watched = watch(path)

    path.parent.mkdir(parents=True)
    path.write_bytes(b"there")
    watched.notices("the file and its directories")
    path.write_bytes(b"changed")
    watched.notices("a change")


def test_a_hundred_changes_in_a_second_cost_few_calls_and_the_last_one_is_seen(
    watch: Watch, path: Path
) -> None:
    watched = watch(path)
    before = watched.calls
    start = time.monotonic()

    for number in range(100):
        new = path.with_suffix(".tmp")
        new.write_text(f"content {number}")
        new.replace(path)
        # The pace comes from the watcher: a thread that never pauses would be done at once.
        wait_until(
            lambda due=start + number / 100: time.monotonic() >= due,  # type: ignore[misc]
            DEADLINE_S,
            "the next hundredth of a second",
        )
    watched.notices("the last of a hundred changes")

    duration_s = time.monotonic() - start
    assert watched.last == b"content 99"
    assert watched.calls - before <= duration_s * 10 + 2


def test_what_happens_to_other_files_of_the_directory_is_no_call(watch: Watch, path: Path) -> None:
    watched = watch(path)
    before = watched.calls

    for number in range(300):
        (path.parent / f"other-{number}").write_bytes(b"x")
    path.write_bytes(b"second")
    watched.notices("a change among many others")

    assert watched.calls - before <= 2


def test_looking_at_the_file_is_no_change(watch: Watch, path: Path) -> None:
    watched = watch(path)
    before = watched.calls

    for _ in range(100):
        path.read_bytes()
        signature(str(path))
        os.listdir(path.parent)
    watched.is_called("a change after all", lambda: path.write_bytes(b"second"))

    assert watched.calls - before <= 2


def test_a_name_that_is_not_utf_8_is_watched_by_the_poll_and_the_log_says_so(
    watch: Watch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    path = directory / "manifest.json"
    with caplog.at_level(logging.INFO):
        watched = watch(path)

        path.write_bytes(b"there")
        watched.notices("a change found by looking")
        path.write_bytes(b"changed")
        watched.notices("another")

    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert warnings[0].startswith("cannot watch for manifest changes, so looking every 0.5 s")


def test_watching_says_nothing_of_changes_in_the_log(
    watch: Watch, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        watched = watch(path)
        path.write_bytes(b"second")
        watched.notices("a change")

    assert caplog.records == []


def test_after_close_the_thread_is_gone_and_no_call_comes(path: Path) -> None:
    watched = Watched(path)
    watched.start()
    start = time.monotonic()
    watched.close()
    took_s = time.monotonic() - start
    calls = watched.calls

    path.write_bytes(b"second")

    assert "manifest-watcher" not in {thread.name for thread in threading.enumerate()}
    assert watched.calls == calls
    assert took_s < 1.0


def test_close_is_prompt_while_waiting_for_a_directory(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "not" / "there")
    watched.start()

    watched.close()
    watched.close()

    assert "manifest-watcher" not in {thread.name for thread in threading.enumerate()}


def test_a_watcher_that_was_never_started_can_be_closed(path: Path) -> None:
    Watcher(str(path), lambda: None).close()


def test_a_relative_path_is_watched_where_it_was_meant(
    watch: Watch, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    calls: list[int] = []
    with Watcher(path.name, lambda: calls.append(1)):
        monkeypatch.chdir(tmp_path)
        path.write_bytes(b"second")
        wait_until(lambda: calls, DEADLINE_S, "a call")


# --- which directories are watched


def test_a_plain_file_is_watched_through_its_directory_alone(path: Path) -> None:
    layout = find_layout(str(path))

    assert list(layout.directories) == [str(path.parent)]
    assert layout.paths == {str(path.parent), str(path)}


def test_every_directory_that_holds_a_link_on_the_way_is_watched(tmp_path: Path) -> None:
    config_map(tmp_path / "mount", "..v1")
    (tmp_path / "link").symlink_to("mount/manifest.json")

    layout = find_layout(str(tmp_path / "link"))

    assert set(layout.directories) == {
        str(tmp_path),
        str(tmp_path / "mount"),
        str(tmp_path / "mount" / "..v1"),
    }
    assert str(tmp_path / "mount" / "..data") in layout.paths


def test_what_is_missing_is_watched_for_where_it_is_missing_from(tmp_path: Path) -> None:
    layout = find_layout(str(tmp_path / "a" / "b" / "c"))

    assert list(layout.directories) == [str(tmp_path)]
    assert str(tmp_path / "a") in layout.paths


def test_a_directory_made_anew_is_another_layout(path: Path) -> None:
    before = find_layout(str(path))

    path.parent.rename(path.parent.with_name("old"))
    path.parent.mkdir()

    assert find_layout(str(path)) != before


def test_a_circle_of_links_has_a_layout_too(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert list(find_layout(str(tmp_path / "a" / "x")).directories) == [str(tmp_path)]


def test_parent_steps_in_a_link_are_followed(tmp_path: Path, path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    link = tmp_path / "deep" / "er" / "link"
    link.symlink_to("../../etc/./manifest.json")

    assert set(find_layout(str(link)).directories) == {str(link.parent), str(path.parent)}
