"""``assetstore airflow manifest --url``, against an API that answers well, badly or not at all.

The real one is asked in tests/airflow; a real one cannot be made to answer nonsense.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.command import COMMAND, Cli, Ran
from tests.support.waiting import wait_until

from assetstore.manifest import ManifestAsset, parse

DEADLINE_S = 30.0


def asset(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "name": f"a{number}", "uri": f"u{number}", "group": "asset", **fields}


class Api:
    """An HTTP server that answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.assets: list[dict[str, Any]] = [asset(1), asset(2)]
        self.total: int | None = None
        self.code = 200
        self.body: bytes | None = None
        self.asked: list[tuple[str, str | None]] = []
        self.after_page: Callable[[], None] = lambda: None
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append((self.path, self.headers["Authorization"]))
                body = api.answer(self.path)
                self.send_response(api.code)
                if api.code == 302:
                    self.send_header("Location", "/api/v2/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> bytes:
        if self.body is not None:
            return self.body
        query = parse_qs(urlsplit(path).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        total = len(self.assets) if self.total is None else self.total
        page = {"assets": self.assets[offset : offset + limit], "total_entries": total}
        self.after_page()
        return json.dumps(page).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("ASSETSTORE_AIRFLOW_TOKEN", "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    api = Api()
    yield api
    api.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


def write(file: Path | str, api: Api, *options: str) -> Ran:
    return Cli("/nowhere")("airflow", "manifest", f"--output={file}", f"--url={api.url}", *options)


def listed(file: Path) -> list[ManifestAsset]:
    return parse(file.read_bytes(), path="x.json").assets


def test_the_active_assets_become_the_manifest(api: Api, file: Path) -> None:
    api.assets = [asset(2, group=""), asset(1, uri="s3://data/")]

    done = write(file, api)

    assert (done.code, done.err) == (0, "")
    assert "written, 2 assets" in done.out
    assert listed(file) == [ManifestAsset("a1", "s3://data/", "asset"), ManifestAsset("a2", "u2")]
    [(path, token)] = api.asked
    assert "only_active=true" in path
    assert token == "Bearer secret"


def test_a_second_time_nothing_is_written(api: Api, file: Path) -> None:
    write(file, api)
    before = file.stat()

    done = write(file, api, "--json")

    assert done.records[0]["changed"] is False
    assert file.stat().st_ino == before.st_ino


def test_standard_output_takes_the_manifest_too(api: Api) -> None:
    done = write("-", api)

    assert parse(done.out.encode(), path="x.json").assets[0].name == "a1"


def test_the_token_may_stand_in_a_file_that_is_read_each_time(
    api: Api, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ASSETSTORE_AIRFLOW_TOKEN")
    token = tmp_path / "token"
    monkeypatch.setenv("ASSETSTORE_AIRFLOW_TOKEN_FILE", str(token))
    for text in ("first\n", "second"):
        token.write_text(text)
        write(file, api)

    assert [given for _, given in api.asked] == ["Bearer first", "Bearer second"]


def test_many_assets_are_read_page_by_page_until_two_readings_agree(api: Api, file: Path) -> None:
    api.assets = [asset(number) for number in range(250)]

    write(file, api)

    assert len(listed(file)) == 250
    # Once to see that there are several pages, and twice that agree.
    assert len(api.asked) == 9


def test_an_asset_that_leaves_between_two_pages_takes_no_other_with_it(
    api: Api, file: Path
) -> None:
    api.assets = [asset(number) for number in range(250)]
    pages = 0

    def leave() -> None:
        nonlocal pages
        pages += 1
        if pages in (1, 4):
            # The number of them stays the same, so that no page shows what is missing.
            del api.assets[0]
            api.assets.append(asset(1000 + pages))

    api.after_page = leave

    done = write(file, api)

    assert done.code == 0, done.err
    assert {each.name for each in listed(file)} == {each["name"] for each in api.assets}


BAD_ANSWERS: dict[str, dict[str, Any]] = {
    "none": {"assets": []},
    "an error": {"code": 500, "body": b"{}"},
    "another program's": {"body": b"<html>hello"},
    "another shape": {"body": b'{"items": []}'},
    "a list": {"body": b"[]"},
    "fewer than it says": {"total": 5},
    "one without a uri": {"assets": [{"id": 1, "name": "a"}]},
    "a name that is no text": {"assets": [asset(1, name=7)]},
    "the same twice": {"assets": [asset(1), asset(1)]},
    "two of one uri": {"assets": [asset(1), asset(2, uri="u1")]},
    "no access": {"code": 401, "body": b"{}"},
    "elsewhere": {"code": 302, "body": b""},
    "an empty name": {"assets": [asset(1, name="")]},
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_an_answer_that_cannot_be_right_changes_nothing(api: Api, file: Path, what: str) -> None:
    write(file, api)
    before = file.read_bytes()
    for name, value in BAD_ANSWERS[what].items():
        setattr(api, name, value)

    done = write(file, api)

    assert done.code in (1, 4), done.out
    assert len(done.err.splitlines()) <= 2
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]
    assert not any("elsewhere" in path for path, _ in api.asked)


def test_an_airflow_that_is_down_changes_nothing_and_is_code_4(file: Path) -> None:
    file.write_text("as it was")

    done = Cli("/nowhere")(
        "airflow", "manifest", f"--output={file}", "--url=http://127.0.0.1:1", "--timeout=5"
    )

    assert done.code == 4
    assert "does not answer" in done.err
    assert file.read_text() == "as it was"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "http://h/?a=b", ""])
def test_what_is_no_address_is_refused(file: Path, url: str) -> None:
    done = Cli("/nowhere")("airflow", "manifest", f"--output={file}", f"--url={url}")

    assert done.code == 1
    assert "http://localhost:8080" in done.err


def test_without_an_address_airflow_has_to_be_there(file: Path) -> None:
    # The environment of these tests has no Airflow.
    done = Cli("/nowhere")("airflow", "manifest", f"--output={file}")

    assert done.code == 1
    assert "--url" in done.err
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_said(api: Api, tmp_path: Path) -> None:
    done = write(tmp_path / "nowhere" / "manifest.json", api)

    assert done.code == 70
    assert "No such file" in done.err


def test_watching_keeps_the_file_in_step_and_says_each_trouble_once(api: Api, file: Path) -> None:
    command = [*COMMAND, "airflow", "manifest", f"--output={file}", f"--url={api.url}", "--watch"]
    with subprocess.Popen(
        [*command, "--interval=0.02"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "2 assets" in process.stdout.readline()

        api.assets = []
        assert "no active assets" in process.stderr.readline()
        assert "asking on" in process.stderr.readline()
        asked = len(api.asked)
        wait_until(lambda: len(api.asked) > asked + 3, DEADLINE_S, "three more requests")
        assert len(listed(file)) == 2

        api.assets = [asset(1), asset(2), asset(3)]
        assert "answers again" in process.stderr.readline()
        assert "3 assets" in process.stdout.readline()
        assert len(listed(file)) == 3

        process.send_signal(signal.SIGINT)
        rest = process.stdout.read() + process.stderr.read()
    assert process.returncode == 130
    assert not re.search("Traceback|assets", rest)
