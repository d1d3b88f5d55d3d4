"""Files that are whole or not there at all."""

import os
import socket
import subprocess

from nfvae.runs.files import remove_partial, whole_file, write_whole
from nfvae.runs.yamls import dump_yaml, load_yaml


def test_of_two_writers_at_once_the_last_one_wins(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    with whole_file(path) as first:
        first.write(b"first" * 1000)
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda: 1)  # another process
            with whole_file(path) as second:
                second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first" * 1000
    assert [*path.parent.iterdir()] == [path]


def test_what_killed_writers_left_is_removed_of_these_files_alone(tmp_path):
    for name in ("best.ckpt", "best.ckpt.host-7.tmp", "other.ckpt.host-7.tmp"):
        write_whole(tmp_path / name, "text")
    remove_partial(tmp_path / "best.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", "other.ckpt.host-7.tmp"}


def test_a_writer_removes_what_dead_processes_of_this_machine_left_beside(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = socket.gethostname()
    kept = [f"b.{host}-{os.getpid()}.tmp", f"b.{host}-{os.getppid()}.tmp", f"b.other-{ended.pid}.tmp", "b.tmp"]
    for name in (*kept, f"b.{host}-{ended.pid}.tmp", f"c.{host}-{ended.pid}.tmp"):
        (tmp_path / name).touch()
    write_whole(tmp_path / "a", "text")
    assert {path.name for path in tmp_path.iterdir()} == {"a", *kept}


def test_texts_that_look_like_something_else_stay_texts_in_yaml():
    texts = ["1e3", "-2E-4", "1_0e5", "010", "1:30", "null", "~", "true", "#x", "", "2020-01-01", "a: b", ".5", "ü"]
    settings = {"texts": texts, "numbers": [1e-3, 1e30, 7, -0.5], "flags": [True, None]}
    assert load_yaml(dump_yaml(settings)) == settings
