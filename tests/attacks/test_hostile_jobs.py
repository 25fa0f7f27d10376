"""Jobs that turn against their supervisor, or against us by way of it. They own their sandbox; nothing else may suffer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.whole import ON_THIS_HOST, house

# What a job finds around it on this host; in a container the same lies in /tmp/.rondo, and its stdout in /proc/1/fd/1.
_FOLLOWED = """\
state=$HOME/../state out=$HOME/../out
until [ -s "$state/step1.follow" ] && [ -s "$state/starter" ]; do sleep 0.1; done
read -r nonce offset rest <"$state/step1.follow"; read -r runner rest <"$state/starter"
"""


def config(script: str) -> str:
    lines = "".join(f"            {line}\n" for line in (_FOLLOWED + script).splitlines())
    return (
        "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n"
        f"      - run:\n          command: |\n{lines}      - run: {{command: echo after, when: always}}\n"
    )


@pytest.mark.slow
async def test_a_job_that_silences_its_supervisor_and_floods_us_fills_no_disk(tmp_path: Path) -> None:
    """With its runner stopped nobody says the end of the step; the log ends at its limit all the same."""
    limit = 4 << 20
    script = 'kill -STOP "$runner"\ntrap "" TERM HUP\nwhile :; do head -c 1000000 /dev/zero >"$out"; done\n'
    async with house(tmp_path, {**ON_THIS_HOST, "jobs.log_limit": limit, "jobs.longest": 15.0}) as (place, _):
        await place.commit({".circleci/config.yml": config(script)})
        await place.push()
        seen = await place.ended()
        assert str(seen.jobs["build"].status) not in ("success", "running")
        assert place.log_path(seen.steps["build"][1]).stat().st_size < limit + (1 << 20)


ASKS = r"""
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - run: |
          circleci run oidc get --claims '{"\ud800": 1}' && exit 1
          circleci run oidc get --claims '{"aud": "\udfff"}' && exit 1
          questions=${CIRCLE_INTERNAL_TASK_DATA%/task}/questions
          head -c 200000 /dev/zero | tr '\0' x 1<>"$questions"
          printf '\n../../../escaped oidc 0 - {}\na/b oidc 0 - {}\n\001end 1 0 0 0\n' 1<>"$questions"
          mkdir -p "$CIRCLE_INTERNAL_TASK_DATA/answers/here oidc"
          i=0; while [ $i -lt 300 ]; do echo "q$i oidc 0 - {"; i=$((i + 1)); done 1<>"$questions"
          circleci run oidc get --claims '{"aud": "still"}' >token && [ "$(tr -cd . <token | wc -c)" -eq 2 ]
      - run: echo after
"""


async def test_no_question_breaks_the_job_that_asks_it_or_what_answers(tmp_path: Path) -> None:
    """Half a character in a claim's name came back in the answer, could not be written, and took the runner along."""
    async with house(tmp_path, ON_THIS_HOST) as (place, _):
        await place.commit({".circleci/config.yml": ASKS})
        await place.push()
        seen = await place.ended()
        assert seen.statuses == {"build": "success"}, (seen.jobs["build"].message, seen.logs)
        assert not list(tmp_path.rglob("escaped*"))
