"""The variables of a job (spec 1.13, 3.1), lowest precedence first."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from appliance.executors.base import DOCKER_SOCKET
from appliance.language import plan as plans
from appliance.model import Project, Trigger, organization_id
from appliance.store import jobs, pipelines


def for_steps(
    *,
    everywhere: Mapping[str, str],
    secrets: Mapping[str, str],
    built_in: Mapping[str, str],
    job: plans.Job,
) -> dict[str, str]:
    """What the user's steps see; `run` adds its own on top. `secrets` are the project's, then the contexts'."""
    return {**everywhere, **secrets, **built_in, **job.environment}


def built_in(
    *,
    project: Project,
    pipeline: pipelines.Pipeline,
    workflow: pipelines.Workflow,
    job: jobs.Job,
    plan: plans.Job,
    index: int,
    git_url: str,
    web_url: str,
    has_docker: bool = False,
    previous_number: int | None = None,
) -> dict[str, str]:
    """The `CIRCLE_*` variables. Those that do not apply are absent, not empty."""
    trigger = pipeline.trigger
    values = {
        "CI": "true",
        "CIRCLECI": "true",
        "CIRCLE_BRANCH": trigger.branch,
        "CIRCLE_TAG": trigger.tag,
        "CIRCLE_SHA1": trigger.revision,
        "CIRCLE_BUILD_NUM": str(job.number),
        "CIRCLE_PREVIOUS_BUILD_NUM": None if previous_number is None else str(previous_number),
        # Orbs take it to pieces: the host to ask, the kind of forge, the slug of the project.
        "CIRCLE_BUILD_URL": f"{web_url}/{quote(project.slug)}/{job.number}",
        "CIRCLE_JOB": job.name,
        "CIRCLE_NODE_INDEX": str(index),
        "CIRCLE_NODE_TOTAL": str(plan.parallelism),
        "CIRCLE_WORKING_DIRECTORY": plan.working_directory,
        "CIRCLE_WORKFLOW_ID": workflow.id,
        "CIRCLE_WORKFLOW_JOB_ID": job.id,
        "CIRCLE_WORKFLOW_WORKSPACE_ID": workflow.workspace_id,
        "CIRCLE_PIPELINE_ID": pipeline.id,
        "CIRCLE_ORGANIZATION_ID": organization_id(project.org),
        "CIRCLE_PROJECT_ID": project.id,
        "CIRCLE_PROJECT_USERNAME": project.org,
        "CIRCLE_PROJECT_REPONAME": project.repo,
        "CIRCLE_REPOSITORY_URL": git_url,
        "CIRCLE_USERNAME": trigger.actor or None,
        **_of_pull_request(trigger),
        # From the start, though nobody answers before `setup_remote_docker`: so debug shells have it too.
        "DOCKER_HOST": f"unix://{DOCKER_SOCKET}" if has_docker else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _of_pull_request(trigger: Trigger) -> dict[str, str | None]:
    pull = trigger.pull_request
    if pull is None:
        return {}
    found: dict[str, str | None] = {"CIRCLE_PULL_REQUEST": pull.url or None, "CIRCLE_PULL_REQUESTS": pull.url or None}
    if trigger.is_fork:
        found["CIRCLE_PR_NUMBER"] = str(pull.number)
        found["CIRCLE_PR_USERNAME"] = pull.head_owner or None
        found["CIRCLE_PR_REPONAME"] = pull.head_name or None
    return found
