"""Files that are whole or not there at all."""

from nfvae.runs.files import remove_partial, whole_file, write_whole


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
