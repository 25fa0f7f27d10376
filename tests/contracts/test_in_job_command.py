"""The in-job `circleci` in every sandbox: there in every step, heard when it halts, told what the appliance has for it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

import pytest

from appliance.errors import SandboxError
from appliance.executors.base import Command, Exit
from appliance.executors.questions import Questions
from tests.contracts.worlds import World, finish, first_bytes


async def test_a_halt_is_told_with_the_exit_and_again_to_a_later_reader(world: World) -> None:
    sandbox = await world.open()
    assert await finish(sandbox, Command(id="1", script="exit 0")) == (b"", Exit(0))
    assert await finish(sandbox, Command(id="2", script="circleci step halt")) == (b"", Exit(0, halts=True))
    await sandbox.detach()
    second = world.again()
    again = await second.reattach(sandbox.ref)
    assert await finish(again, Command(id="2", script="")) == (b"", Exit(0, halts=True))
    assert await finish(again, Command(id="1", script="")) == (b"", Exit(0))
    await again.close()
    await second.close()


async def test_a_failed_step_may_halt_too(world: World) -> None:
    sandbox = await world.open()
    assert await finish(sandbox, Command(id="1", script="circleci step halt\nexit 3")) == (b"", Exit(3, halts=True))


async def test_both_names_come_before_all_others(real_world: World) -> None:
    sandbox = await real_world.open()
    script = """
    mkdir -p ~/bin; printf '#!/bin/sh\\necho mine' >~/bin/circleci; chmod +x ~/bin/circleci; PATH=$PATH:~/bin
    circleci version --short; circleci-agent version --short; circleci orb list
    """
    output, how = await finish(sandbox, Command(id="1", script=script))
    assert how == Exit(0), output
    version, same, other = output.decode().split()
    assert (version, other) == (same, "mine")


async def test_a_job_that_sets_path_still_has_it(real_world: World) -> None:
    sandbox = await real_world.open()
    path = "/usr/local/bin:/usr/bin:/bin"
    output, how = await finish(sandbox, Command(id="1", script="circleci version --short", environment={"PATH": path}))
    assert how == Exit(0), output


@pytest.mark.parametrize("shell", ["/bin/bash --login -eo pipefail", "/bin/bash -eo pipefail"])
async def test_a_login_shell_has_it(real_world: World, shell: str) -> None:
    if real_world.kind == "docker-busybox" or shutil.which("bash") is None:
        pytest.skip("has no bash")
    sandbox = await real_world.open()
    for number in (1, 2):
        output, how = await finish(sandbox, Command(id=f"{number}", shell=shell, script="circleci step halt; echo $-"))
        assert how == Exit(0, halts=True), output


async def test_files_for_the_job_arrive_whole(real_world: World) -> None:
    sandbox = await real_world.open()
    for data in (b"old", bytes(range(256)) * 4096):
        await sandbox.put("circle-test-results/results.json", data)
    script = 'cd "$CIRCLE_INTERNAL_TASK_DATA"; ls *; wc -c < circle-test-results/results.json'
    output, how = await finish(sandbox, Command(id="1", script=script))
    assert how == Exit(0), output
    assert output.split() == [b"results.json", b"1048576"]


async def test_a_file_that_cannot_be_written_is_said(real_world: World) -> None:
    sandbox = await real_world.open()
    await sandbox.put("x", b"")
    with pytest.raises(SandboxError, match="cannot write x/y"):
        await sandbox.put("x/y", b"")


ASKS = "echo before\ncircleci run oidc get\necho after"


async def test_a_question_of_a_step_is_heard_and_its_answer_reaches_the_step(world: World) -> None:
    sandbox = await world.open()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="1", script=ASKS)))
        question = await anext(sandbox.questions())
        await sandbox.put(f"answers/{question.id}", b"ok a.b.c\n")
    assert step.result() == (b"before\na.b.c\nafter\n", Exit(0))


async def test_a_refusal_ends_the_step_and_says_why(world: World) -> None:
    sandbox = await world.open()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="1", script=ASKS)))
        question = await anext(sandbox.questions())
        await sandbox.put(f"answers/{question.id}", b"no because it is so\n")
    assert step.result() == (b"before\ncircleci: because it is so\n", Exit(1))


async def test_a_question_that_nobody_answered_is_heard_by_the_next_reader(world: World) -> None:
    sandbox = await world.open()
    assert await first_bytes(sandbox, Command(id="1", script=ASKS)) == b"before\n"
    await sandbox.detach()
    second = world.again()
    again = await second.reattach(sandbox.ref)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        step = group.create_task(finish(again, Command(id="1", script=""), len(b"before\n")))
        question = await anext(again.questions())
        await again.put(f"answers/{question.id}", b"ok a.b.c\n")
    assert step.result() == (b"a.b.c\nafter\n", Exit(0))
    await again.close()
    await second.close()


async def test_a_background_step_is_heard_while_nothing_is_followed(world: World) -> None:
    sandbox = await world.open()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="b", script=ASKS, background=True)))
        question = await anext(sandbox.questions())
        await sandbox.put(f"answers/{question.id}", b"ok a.b.c\n")
    assert step.result() == (b"before\na.b.c\nafter\n", Exit(0))
    assert await finish(sandbox, Command(id="2", script="echo more")) == (b"more\n", Exit(0))


async def test_questions_amid_much_output_cost_it_no_byte(real_world: World) -> None:
    """Two streams: what is said aside never gets between the bytes of a step, whatever is written at once."""
    sandbox = await real_world.open()
    script = """
    for i in 1 2 3 4 5; do seq $((i * 4000)); circleci run oidc get; done &
    for i in 1 2 3; do circleci run oidc get >>~/tokens; done
    wait
    cat ~/tokens
    """
    whole = "".join("".join(f"{n}\n" for n in range(1, i * 4000 + 1)) + "a.b.c\n" for i in range(1, 6)) + "a.b.c\n" * 3

    async def answer() -> None:
        async for question in sandbox.questions():
            await sandbox.put(f"answers/{question.id}", b"ok a.b.c\n")

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        answering = group.create_task(answer())
        output, how = await finish(sandbox, Command(id="1", script=script))
        answering.cancel()
    assert how == Exit(0) and output.decode() == whole


async def test_few_questions_wait_and_the_next_is_found_behind_a_line_without_end() -> None:
    questions = Questions()
    questions.feed(b"".join(b"\x01question q%d text ;\n" % number for number in range(200)))
    taken = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            while True:
                taken.append((await questions.take()).id)
    assert taken == [f"q{number}" for number in range(32)]
    questions.feed(b"x" * 10_000)
    questions.feed(b"\n\x01question again text ;\n")
    assert (await questions.take()).id == "again"


async def test_garbage_in_place_of_questions_is_left_out(real_world: World) -> None:
    sandbox = await real_world.open()
    script = r"""
    cd "${CIRCLE_INTERNAL_TASK_DATA%/task}"
    say() { printf "$@" 1<>questions; }
    say '../../x oidc 0 - {}\n'; say 'UPPER x\n'; say 'a\n'; say '\001question b text ;\n'; say '\n'
    head -c 9000 /dev/zero | tr '\000' x 1<>questions; say '\n'
    i=0; while [ $i -lt 200 ]; do say "q$i text\n"; i=$((i + 1)); done
    """
    output, how = await finish(sandbox, Command(id="1", script=script))
    assert how == Exit(0), output
    heard = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        step = group.create_task(finish(sandbox, Command(id="2", script="circleci run oidc get")))
        async with contextlib.aclosing(sandbox.questions()) as questions:
            async for question in questions:
                if question.text.startswith("oidc "):
                    await sandbox.put(f"answers/{question.id}", b"ok a.b.c\n")
                    break
                heard.append((question.id, question.text))
    assert step.result() == (b"a.b.c\n", Exit(0))
    assert heard[0] == ("q0", "text")
    # Which of the rest are heard depends on when somebody listens; each comes once, in its turn, as it was asked.
    numbers = [int(name.removeprefix("q")) for name, _ in heard]
    assert numbers == sorted(set(numbers)) and {text for _, text in heard} == {"text"}
