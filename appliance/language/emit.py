"""A plan as compiled YAML: version 2, no templates, nothing to resolve. It compiles to the same plan again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from appliance.language import plan
from appliance.language.nodes import kind_of

_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BASE):  # type: ignore[misc]
    """Block text for what has several lines, quotes for what would be read as something else than text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = None
    if "\n" in text:
        style = "|"
    elif kind_of(text) != "str":
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def process(compiled: plan.Plan, orbs: Mapping[str, str]) -> str:
    """The compiled config as text, headed by a comment for each orb."""
    comments = [f"# Orb '{reference}' resolved to '{name}'\n" for reference, name in sorted(orbs.items())]
    document = _document(compiled)
    body: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return "".join(comments) + body


def _document(compiled: plan.Plan) -> dict[str, object]:
    jobs = _Jobs()
    workflows: dict[str, object] = {"version": 2}
    for workflow in (*compiled.workflows, *compiled.scheduled):
        workflows[workflow.name] = _workflow(workflow, jobs)
    return {"version": 2, "jobs": jobs.definitions, "workflows": workflows}


class _Jobs:
    """Definitions under unique keys: two workflows may have different jobs of one name."""

    def __init__(self) -> None:
        self.definitions: dict[str, object] = {}

    def key_of(self, job: plan.Job) -> str:
        body = _job(job)
        key, number = job.name, 1
        while key in self.definitions and self.definitions[key] != body:
            number += 1
            key = f"{job.name}-{number}"
        self.definitions[key] = body
        return key


def _workflow(workflow: plan.Workflow, jobs: _Jobs) -> dict[str, object]:
    body: dict[str, object] = {}
    if workflow.max_auto_reruns:
        body["max_auto_reruns"] = workflow.max_auto_reruns
    if workflow.schedules:
        body["triggers"] = [{"schedule": _schedule(schedule)} for schedule in workflow.schedules]
    body["jobs"] = [_invocation(job, jobs) for job in workflow.jobs]
    return body


def _schedule(schedule: plan.Schedule) -> dict[str, object]:
    branches: dict[str, object] = {}
    if schedule.branches_only is not None:
        branches["only"] = list(schedule.branches_only)
    if schedule.branches_ignore is not None:
        branches["ignore"] = list(schedule.branches_ignore)
    body: dict[str, object] = {"cron": schedule.cron}
    if branches:
        body["filters"] = {"branches": branches}
    return body


def _invocation(job: plan.Job, jobs: _Jobs) -> object:
    body: dict[str, object] = {}
    if job.type is plan.JobType.APPROVAL:
        key = job.name
        body["type"] = "approval"
    else:
        key = jobs.key_of(job)
        if key != job.name:
            body["name"] = job.name
    if job.requires:
        body["requires"] = [_require(entry) for entry in job.requires]
    if job.contexts:
        body["context"] = list(job.contexts)
    return {key: body} if body else key


def _require(entry: plan.Require) -> object:
    return entry.job if entry.statuses == ("success",) else {entry.job: list(entry.statuses)}


def _given(**fields: object) -> dict[str, object]:
    """Only what is set; `_` in names stands for itself, so keys with `-` are added by the caller."""
    return {key: value for key, value in fields.items() if value is not None and value != {} and value != ()}


def _job(job: plan.Job) -> dict[str, object]:
    if job.type is not plan.JobType.BUILD:
        return _given(type=str(job.type), key=job.key, plan_name=job.plan_name)
    body: dict[str, object] = {}
    if isinstance(job.executor, plan.Docker):
        body["docker"] = [_image(image) for image in job.executor.images]
    elif isinstance(job.executor, plan.Machine):
        caching = job.executor.docker_layer_caching or None
        body["machine"] = _given(image=job.executor.image, docker_layer_caching=caching) or True
    elif isinstance(job.executor, plan.Macos):
        body["macos"] = {"xcode": job.executor.xcode}
    body.update(
        _given(
            resource_class=job.resource_class,
            parallelism=job.parallelism if job.parallelism != 1 else None,
            shell=job.shell,
            working_directory=job.working_directory if job.working_directory != "~/project" else None,
            environment=dict(job.environment),
        )
    )
    if job.cache_retention_days is not None:
        body["retention"] = {"caches": f"{job.cache_retention_days}d"}
    body["steps"] = [_step(step) for step in job.steps]
    return body


def _image(image: plan.DockerImage) -> dict[str, object]:
    auth = None
    if image.auth is not None:
        auth = {"username": image.auth.username, "password": image.auth.password}
    return _given(
        image=image.image,
        name=image.name,
        user=image.user,
        entrypoint=_list(image.entrypoint),
        command=_list(image.command),
        environment=dict(image.environment),
        auth=auth,
        aws_auth=dict(image.aws_auth) if image.aws_auth is not None else None,
        gcp_auth=dict(image.gcp_auth) if image.gcp_auth is not None else None,
    )


def _list(words: Iterable[str] | None) -> list[str] | None:
    return None if words is None else list(words)


def _step(step: plan.Step) -> object:
    if isinstance(step, plan.Run):
        return _run(step)
    name = plan.kind_of(step)
    fields: dict[str, object] = {}
    for field in type(step).__dataclass_fields__.values():
        value = getattr(step, field.name)
        if value == field.default:
            continue
        fields[field.name] = list(value) if isinstance(value, tuple) else _plain(value)
    return {name: fields} if fields else name


def _plain(value: object) -> object:
    return str(value) if isinstance(value, plan.When) else value


def _run(step: plan.Run) -> object:
    delay = step.auto_rerun_delay_s
    body = _given(
        name=step.name,
        command=step.command,
        shell=step.shell,
        environment=dict(step.environment),
        background=step.background or None,
        working_directory=step.working_directory,
        no_output_timeout=f"{step.no_output_timeout_s:g}s" if step.no_output_timeout_s != 600 else None,
        when=str(step.when) if step.when is not plan.When.ON_SUCCESS else None,
        max_auto_reruns=step.max_auto_reruns or None,
        auto_rerun_delay=f"{delay:g}s" if delay else None,
    )
    return {"deploy" if step.only_on_first_node else "run": body}
