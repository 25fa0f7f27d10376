"""Projects, their secrets, and the refs of hosted repositories."""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import asdict, fields

from appliance.crypto import SecretBox
from appliance.errors import Conflict, NotFound
from appliance.model import SLUG_PREFIX, Project, ProjectFlags, ProjectId, User, Vcs
from appliance.store import variables
from appliance.store.database import Tx

_LARGEST_VALUE = 64 << 10
_SLUG_PREFIXES = ("circleci/", "gh/", "github/", "bb/", "bitbucket/")


def add(tx: Tx, *, org: str, repo: str, vcs: Vcs, git_url: str | None, default_branch: str, now_ms: int) -> Project:
    """Make a project. Raises Conflict when ORG/REPO is taken."""
    project = Project(
        id=ProjectId(str(uuid.uuid4())),
        slug=f"{SLUG_PREFIX[vcs]}/{org}/{repo}",
        vcs=vcs,
        org=org,
        repo=repo,
        git_url=git_url,
        default_branch=default_branch,
        created_at_ms=now_ms,
    )
    try:
        tx.execute(
            "INSERT INTO projects (id, slug, vcs, org, repo, git_url, default_branch, created_at_ms)"
            " VALUES (:id, :slug, :vcs, :org, :repo, :git_url, :default_branch, :created_at_ms)",
            vars(project),
        )
    except sqlite3.IntegrityError:
        raise Conflict(f"there is a project {org}/{repo} already") from None
    return project


def _project(row: sqlite3.Row) -> Project:
    return Project(
        id=ProjectId(row["id"]),
        slug=row["slug"],
        vcs=Vcs(row["vcs"]),
        org=row["org"],
        repo=row["repo"],
        git_url=row["git_url"],
        default_branch=row["default_branch"],
        created_at_ms=row["created_at_ms"],
    )


def by_id(tx: Tx, project_id: ProjectId) -> Project:
    row = tx.execute("SELECT * FROM projects WHERE id = :id", {"id": project_id}).fetchone()
    if row is None:
        raise NotFound("Project not found.")
    return _project(row)


def find(tx: Tx, slug: str) -> Project:
    """The project that `slug` names: `PREFIX/ORG/REPO` with any known prefix, or `ORG/REPO`. Raises NotFound."""
    name = slug.strip("/").removesuffix(".git")
    for prefix in _SLUG_PREFIXES:
        if name.startswith(prefix) and name.count("/") == 2:
            name = name.removeprefix(prefix)
            break
    org, _, repo = name.partition("/")
    row = tx.execute(
        "SELECT * FROM projects WHERE org = :org COLLATE NOCASE AND repo = :repo COLLATE NOCASE",
        {"org": org, "repo": repo},
    ).fetchone()
    if row is None:
        raise NotFound("Project not found.")
    return _project(row)


def all_of(tx: Tx, user: User | None = None, limit: int = -1) -> list[Project]:
    """Every project, or those `user` may see, by name; the first `limit` of them."""
    if user is None or user.sees_everything:
        rows = tx.execute(
            "SELECT * FROM projects ORDER BY org COLLATE NOCASE, repo COLLATE NOCASE LIMIT :limit", {"limit": limit}
        )
    else:
        rows = tx.execute(
            "SELECT projects.* FROM projects JOIN members ON members.project_id = projects.id"
            " WHERE members.user_id = :user ORDER BY org COLLATE NOCASE, repo COLLATE NOCASE LIMIT :limit",
            {"user": user.id, "limit": limit},
        )
    return [_project(row) for row in rows]


def of_vcs(tx: Tx, vcs: Vcs) -> list[Project]:
    """Every project of a kind of forge."""
    return [_project(row) for row in tx.execute("SELECT * FROM projects WHERE vcs = :vcs", {"vcs": vcs})]


def page(tx: Tx, user: User, wanted: str, after: str, limit: int) -> list[Project]:
    """Those that `user` may see whose name holds `wanted`, by name, from behind the name `after` on.

    A search looks at every name: some ten thousand take milliseconds.
    """
    org, _, repo = after.partition("/")
    sql = _PAGE_OF_ALL if user.sees_everything else _PAGE_OF_MEMBER
    values = {"user": user.id, "wanted": _anywhere(wanted), "org": org, "repo": repo, "limit": limit}
    return [_project(row) for row in tx.execute(sql, values)]


_NAMED = (
    " org COLLATE NOCASE >= :org AND (org COLLATE NOCASE > :org OR repo COLLATE NOCASE > :repo)"
    " AND org || '/' || repo LIKE :wanted ESCAPE '\\'"
    " ORDER BY org COLLATE NOCASE, repo COLLATE NOCASE LIMIT :limit"
)
_PAGE_OF_ALL = f"SELECT * FROM projects WHERE{_NAMED}"
_PAGE_OF_MEMBER = (
    "SELECT projects.* FROM members JOIN projects ON projects.id = members.project_id"
    f" WHERE members.user_id = :user AND{_NAMED}"
)


def _anywhere(text: str) -> str:
    """A pattern for LIKE, which does not tell a from A."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", text) + "%"


def organizations(tx: Tx) -> list[str]:
    """The names of all, however many projects each has."""
    return [row["org"] for row in tx.execute(ORGANIZATIONS)]


# One step into the index for each.
ORGANIZATIONS = (
    "WITH RECURSIVE names (org) AS (SELECT min(org COLLATE NOCASE) FROM projects"
    " UNION ALL SELECT (SELECT min(org COLLATE NOCASE) FROM projects WHERE org COLLATE NOCASE > names.org)"
    " FROM names WHERE names.org IS NOT NULL)"
    " SELECT org FROM names WHERE org IS NOT NULL"
)


def ids_of(tx: Tx, user: User, org: str | None = None) -> list[ProjectId]:
    """The projects that `user` may see, of all organizations or of one."""
    sees_all = user.sees_everything
    if org is None:
        sql = "SELECT id FROM projects" if sees_all else "SELECT project_id AS id FROM members WHERE user_id = :user"
    elif sees_all:
        sql = "SELECT id FROM projects WHERE org = :org COLLATE NOCASE"
    else:
        sql = (
            "SELECT projects.id FROM members JOIN projects ON projects.id = members.project_id"
            " WHERE members.user_id = :user AND projects.org = :org COLLATE NOCASE"
        )
    return [ProjectId(row["id"]) for row in tx.execute(sql, {"user": user.id, "org": org})]


def may_enter(tx: Tx, user: User, project_id: ProjectId) -> bool:
    """Whether `user` may see and use a project; one who only reads, whether they may see it."""
    return is_member(tx, user, project_id) or (user.is_reader and flags(tx, project_id).oss)


def is_member(tx: Tx, user: User, project_id: ProjectId) -> bool:
    """Whether a project is `user`'s to use, and not only open to everybody."""
    if user.sees_everything:
        return True
    row = tx.execute(
        "SELECT 1 FROM members WHERE user_id = :user AND project_id = :project",
        {"user": user.id, "project": project_id},
    ).fetchone()
    return row is not None


def find_for(tx: Tx, user: User, slug: str) -> Project:
    """Like `find`; NotFound too when `user` may not see it, so that strangers learn nothing."""
    project = find(tx, slug)
    if not may_enter(tx, user, project.id):
        raise NotFound("Project not found.")
    return project


def flags(tx: Tx, project_id: ProjectId) -> ProjectFlags:
    """The settings of a project as they are now."""
    row = tx.execute("SELECT * FROM project_flags WHERE project_id = :id", {"id": project_id}).fetchone()
    if row is None:
        return ProjectFlags()
    switches = {field.name: bool(row[field.name]) for field in fields(ProjectFlags) if field.type == "bool"}
    return ProjectFlags(**switches, pr_only_branch_overrides=tuple(json.loads(row["pr_only_branch_overrides"])))


def set_flags(tx: Tx, project_id: ProjectId, wanted: ProjectFlags) -> None:
    """Change the settings of a project, all of them."""
    tx.execute(
        "INSERT OR REPLACE INTO project_flags (project_id, autocancel_builds, build_fork_prs, build_prs_only, disable_ssh,"
        " forks_receive_secret_env_vars, oss, set_github_status, setup_workflows, write_settings_requires_admin,"
        " blocks_new_work, is_stopped, pr_only_branch_overrides) VALUES (:project, :autocancel_builds, :build_fork_prs,"
        " :build_prs_only, :disable_ssh, :forks_receive_secret_env_vars, :oss, :set_github_status, :setup_workflows,"
        " :write_settings_requires_admin, :blocks_new_work, :is_stopped, :overrides)",
        {**asdict(wanted), "project": project_id, "overrides": json.dumps(wanted.pr_only_branch_overrides)},
    )


def set_webhook_secret(tx: Tx, box: SecretBox, project_id: ProjectId, secret: str) -> None:
    tx.execute(
        "UPDATE projects SET webhook_secret = :secret WHERE id = :id",
        {"id": project_id, "secret": box.seal(secret, f"webhook/{project_id}")},
    )


def webhook_secret(tx: Tx, box: SecretBox, project_id: ProjectId) -> str | None:
    row = tx.execute("SELECT webhook_secret FROM projects WHERE id = :id", {"id": project_id}).fetchone()
    if row is None or row["webhook_secret"] is None:
        return None
    return box.open(row["webhook_secret"], f"webhook/{project_id}")


def set_secret(tx: Tx, box: SecretBox, project_id: ProjectId, name: str, value: str, now_ms: int) -> None:
    """Set a project environment variable. Raises BadRequest when it is no name for one, or the value is too large."""
    variables.check(name, value, _LARGEST_VALUE)
    tx.execute(
        "INSERT INTO secrets (project_id, name, value, created_at_ms) VALUES (:project, :name, :value, :now)"
        " ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value, created_at_ms = excluded.created_at_ms",
        {"project": project_id, "name": name, "value": box.seal(value, f"secret/{project_id}/{name}"), "now": now_ms},
    )


def remove_secret(tx: Tx, project_id: ProjectId, name: str) -> bool:
    found = tx.execute(
        "DELETE FROM secrets WHERE project_id = :project AND name = :name", {"project": project_id, "name": name}
    )
    return found.rowcount > 0


def secrets(tx: Tx, box: SecretBox, project_id: ProjectId) -> Mapping[str, str]:
    """Every environment variable of a project, in plain text. Only for runs the project trusts."""
    rows = tx.execute("SELECT name, value FROM secrets WHERE project_id = :project ORDER BY name", {"project": project_id})
    return {row["name"]: box.open(row["value"], f"secret/{project_id}/{row['name']}") for row in rows}


def hosted_refs(tx: Tx, project_id: ProjectId) -> dict[str, str]:
    """Ref to revision, as of the last push that was turned into triggers."""
    rows = tx.execute("SELECT ref, revision FROM hosted_refs WHERE project_id = :project", {"project": project_id})
    return {row["ref"]: row["revision"] for row in rows}


def set_hosted_ref(tx: Tx, project_id: ProjectId, ref: str, revision: str | None) -> None:
    """Remember a hosted repository's ref; None forgets it (the ref was deleted)."""
    if revision is None:
        tx.execute("DELETE FROM hosted_refs WHERE project_id = :project AND ref = :ref", {"project": project_id, "ref": ref})
        return
    tx.execute(
        "INSERT INTO hosted_refs (project_id, ref, revision) VALUES (:project, :ref, :revision)"
        " ON CONFLICT (project_id, ref) DO UPDATE SET revision = excluded.revision",
        {"project": project_id, "ref": ref, "revision": revision},
    )
