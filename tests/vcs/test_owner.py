"""`sudo rondo project create`, as the README has it, beside a server that runs as another user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.cli import run
from appliance.store.database import open_plain

SOMEBODY = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_a_project_made_by_root_belongs_to_the_user_of_the_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    open_plain(data / "rondo.db").close()
    for path in (data, *data.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    assert run(["project", "create", "acme/app", "--data", str(data)]) == 0
    repositories = data / "repos"
    made = [repositories, *repositories.rglob("*")]
    assert any(path.name == "objects" for path in made)
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made} == {(SOMEBODY, SOMEBODY)}
