"""The pipeline values CircleCI knows, and Python values as nodes.

Every name is known beforehand, as null until the trigger gives it a value: a config may ask for the number of a
pull request on a push. So an unknown name is a typing error and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from appliance.language.nodes import Node, Scalar
from appliance.language.problems import Placed


def _names(prefix: str, words: str) -> list[str]:
    return [f"{prefix}{word}" for word in words.split()]


_NAMES = (
    _names(
        "pipeline.",
        """id number name definition.id integration_source config_source trigger_source
        project.slug project.type project.git_url project.url
        schedule.id schedule.name""",
    )
    + _names(
        "pipeline.git.",
        """tag branch branch.is_default revision base_revision repo_url repo_owner repo_name repo_id
        ssh_checkout_url origin_repo_id origin_repo_url target_repo_url
        commit.url commit.subject commit.body commit.author_login commit.author_name commit.author_email
        commit.author_avatar_url commit.author_date commit.committer_login commit.committer_name
        commit.committer_email commit.committer_avatar_url commit.committer_date""",
    )
    + _names("pipeline.config.", "repository.name repository.url file_path file_type ref sha")
    + _names("pipeline.trigger.", "id name received_at type")
    + _names(
        "pipeline.event.",
        "name action circleci_actor_id provider_actor_id provider_login context.github.pr_url context.github.sha",
    )
    + _names(
        "pipeline.event.github.",
        """after ref head_commit.url comment.body label.name
        pull_request.number pull_request.title pull_request.url pull_request.draft pull_request.merged
        pull_request.base.ref pull_request.base.sha pull_request.head.ref pull_request.head.sha
        repository.name repository.owner.login repository.url sender.login sender.avatar_url sender.type""",
    )
    + _names(
        "pipeline.deploy.",
        "component_name environment_name target_version current_version namespace reason",
    )
    + _names(
        "pipeline.vcs.",
        """event_type revision type repository_url origin_repository_id origin_repository_url
        target_repository_id target_repository_url""",
    )
    + _names(
        "pipeline.trigger_parameters.",
        """circleci.event_time circleci.event_type circleci.event_action circleci.trigger_type circleci.trigger_id
        circleci.config_source_id circleci.actor_id git.branch git.tag git.ref git.checkout_sha git.checkout_url
        git.default_branch webhook.body event.title event.description""",
    )
)

KNOWN = frozenset(_NAMES)

# These families are open-ended: every forge adds fields of its own.
OPEN_PREFIXES = ("pipeline.trigger_parameters.", "pipeline.event.context.", "pipeline.vcs.", "pipeline.deploy.")

PARAMETER_PREFIX = "pipeline.parameters."


def is_known(name: str, values: Mapping[str, object]) -> bool:
    return name in values or name in KNOWN or name.startswith(OPEN_PREFIXES)


def node_of(value: object, at: Placed) -> Scalar:
    """A Python value as a node standing at `at`."""
    if value is None:
        return Scalar(at.file, at.line, at.column, "", True)
    if isinstance(value, bool):
        return Scalar(at.file, at.line, at.column, "true" if value else "false", True)
    if isinstance(value, int | float):
        return Scalar(at.file, at.line, at.column, str(value), True)
    return Scalar(at.file, at.line, at.column, str(value), False)


def text_of(node: Node) -> str:
    """A scalar as it looks inside a longer text."""
    if not isinstance(node, Scalar):
        return ""
    kind = node.kind
    if kind == "null":
        return ""
    return node.text
