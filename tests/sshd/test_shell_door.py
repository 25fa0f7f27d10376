"""Shells and commands in running jobs, with the real ssh and real processes of this host."""

from __future__ import annotations

from pathlib import Path

from tests.sshd.jobs import running_job
from tests.sshd.world import world


async def test_a_command_runs_in_the_jobs_directory_with_its_environment(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = await here.user("ada")
        project = await here.project(ada)
        async with running_job(here, project, tmp_path) as job:
            said = await here.ssh(ada, str(job.number), 'pwd; echo "$GREETING, $LATER"; exit 7')
    assert said.error == ""
    assert said.out.splitlines() == [
        f"{tmp_path}/sandboxes/{job.number}.0/home/project",
        "hello from the job, from BASH_ENV",
    ]
    assert said.code == 7
