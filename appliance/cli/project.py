"""`rondo project`: what is built."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from appliance.cli import project_caches, project_keys
from appliance.cli.place import Store, add_options, project_of, store_of
from appliance.cli.typed import typed
from appliance.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from appliance.model import Project

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("project", help="make projects; their variables, settings, keys and caches")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a project")
    create.add_argument("name", metavar="ORG/REPO")
    create.add_argument("--git-url", metavar="URL", help="where its repository is (default: here, to be pushed to us)")
    create.add_argument("--github", action="store_true", help="the repository is on GitHub: webhooks and commit statuses")
    create.add_argument("--default-branch", metavar="BRANCH", default="main")
    _action(create, _create)
    _action(actions.add_parser("list", help="list projects"), _list)
    env = actions.add_parser("env", help="set, list or remove environment variables")
    env.add_argument("name", metavar="ORG/REPO")
    env.add_argument("variable", metavar="NAME", nargs="?", help="set this one; its value is read from standard input")
    env.add_argument("--remove", metavar="NAME", nargs="?", const=True, help="remove this one, or the one named before")
    _action(env, _env)
    show = actions.add_parser("show", help="show a project and its settings")
    show.add_argument("name", metavar="ORG/REPO")
    _action(show, _show)
    change = actions.add_parser("set", help="change a setting of a project")
    change.add_argument("name", metavar="ORG/REPO")
    change.add_argument("flag", metavar="SETTING", help="as `rondo project show` names it")
    change.add_argument("value", metavar="on|off", nargs="*", help="for pr_only_branch_overrides: regular expressions")
    _action(change, _set)
    purge = actions.add_parser("purge-layers", help="throw away the Docker layers kept for a project's jobs")
    purge.add_argument("name", metavar="ORG/REPO")
    _action(purge, _purge_layers)
    project_keys.register(actions)
    project_caches.register(actions)


def _action(parser: argparse.ArgumentParser, fn: object) -> None:
    add_options(parser)
    parser.set_defaults(run=fn)


def _create(args: argparse.Namespace) -> int:
    org, _, repo = args.name.removesuffix(".git").partition("/")
    if not (_NAME.fullmatch(org) and _NAME.fullmatch(repo)):
        raise BadRequest(f"{args.name} is not ORG/REPO of letters, digits, '.', '_' and '-'")
    with store_of(args) as store:
        for line in create(store, org, repo, args.git_url, args.default_branch, is_github=args.github):
            print(line)
    return 0


def create(store: Store, org: str, repo: str, git_url: str | None, default_branch: str, *, is_github: bool) -> list[str]:
    """Make a project; what to tell the person about it."""
    import asyncio
    import secrets

    from appliance.model import Vcs
    from appliance.store import projects
    from appliance.store.database import Tx
    from appliance.vcs.client import Git
    from appliance.vcs.hosted import Hosted

    if is_github:
        vcs, git_url = Vcs.GITHUB, git_url or f"https://github.com/{org}/{repo}.git"
    else:
        vcs = Vcs.GIT if git_url else Vcs.HOSTED
    hosted = Hosted(Git(), store.data)

    def add(tx: Tx) -> Project:
        made = projects.add(
            tx, org=org, repo=repo, vcs=vcs, git_url=git_url, default_branch=default_branch, now_ms=store.now_ms
        )
        if vcs is Vcs.HOSTED:
            asyncio.run(hosted.create(made))  # in the transaction: a name that no folder can have leaves no row behind
        return made

    project = store.write(add)
    if vcs is Vcs.HOSTED:
        store.give_back(hosted.folder_of(project))
        return [f"created {project.name}", f"push to it: git push {hosted_url(store, org, repo)} {default_branch}"]
    if vcs is Vcs.GITHUB:
        from appliance.cli.user import web_url

        secret = secrets.token_hex(32)
        store.write(lambda tx: projects.set_webhook_secret(tx, store.box, project.id, secret))
        return [
            f"created {project.name}",
            "add a webhook to the repository: content type application/json, pushes and pull requests,",
            f"    payload URL {web_url(store)}/hooks/github",
            f"    secret      {secret}",
            *_checkout_key_lines(store, project),
        ]
    return [
        f"created {project.name}",
        *_checkout_key_lines(store, project),
        f"start a pipeline: POST /api/v2/project/{project.slug}/pipeline",
    ]


def _checkout_key_lines(store: Store, project: Project) -> list[str]:
    """A repository that is fetched over SSH wants a key; over https its URL's login does."""
    return project_keys.made_checkout_key(store, project) if project.is_fetched_by_ssh else []


def hosted_url(store: Store, org: str, repo: str) -> str:
    """What `git push` takes for a repository that lives here."""
    noted = store.data / "ssh_address"
    if noted.exists():
        address = noted.read_text("utf-8").strip()
    else:
        settings = store.settings
        address = f"{settings.text('ssh.name') or settings.text('ssh.host')}:{settings.integer('ssh.port')}"
    return f"ssh://git@{address}/{org}/{repo}.git"


def _list(args: argparse.Namespace) -> int:
    from appliance.store import projects

    with store_of(args) as store:
        for project in projects.all_of(store.tx):
            print(f"{project.name}  {project.git_url or hosted_url(store, project.org, project.repo)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from appliance.store import projects

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        flags = projects.flags(store.tx, project.id)
        print(f"{project.name}  {project.git_url or hosted_url(store, project.org, project.repo)}")
        for name, value in asdict(flags).items():
            print(f"    {name:30} {(' '.join(value) or '-') if isinstance(value, tuple) else 'on' if value else 'off'}")
    return 0


def _set(args: argparse.Namespace) -> int:
    from appliance.engine import flags, moves
    from appliance.store.database import Tx

    def change(tx: Tx) -> None:
        project = project_of(tx, args.name)
        name = args.flag.partition("=")[0]  # who writes NAME=VALUE hears of the name, or how it is written
        value: object = args.value
        if name in flags.SWITCHES:
            if name != args.flag or len(args.value) != 1 or args.value[0] not in ("on", "off"):
                raise BadRequest(f"rondo project set {args.name} {name} on|off")
            value = args.value[0] == "on"
        elif name == flags.OVERRIDES != args.flag:
            raise BadRequest(f"rondo project set {args.name} {name} [PATTERN ...]")
        if flags.change(tx, project.id, {name: value}, "rondo project set").is_stopped:
            moves.cancel_open(tx, project.id, "rondo project set", store.now_ms)  # the server sees it within seconds

    with store_of(args) as store:
        store.write(change)
    return 0


def _env(args: argparse.Namespace) -> int:
    from appliance.store import projects
    from appliance.store.variables import check

    is_removal, name = args.remove is not None, args.remove if isinstance(args.remove, str) else args.variable
    if isinstance(args.remove, str) and args.variable is not None:
        raise BadRequest("name one variable to remove")
    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        if is_removal and name is None:
            raise BadRequest("which variable? rondo project env ORG/REPO --remove NAME")
        if name is None:
            names = projects.secrets(store.tx, store.box, project.id)
            print("\n".join(names) or f"{project.name} has no variable; rondo project env {project.name} NAME sets one")
            return 0
        if is_removal:
            if not store.write(lambda tx: projects.remove_secret(tx, project.id, name)):
                raise NotFound(f"{project.name} has no variable {name}")
            return 0
        check(name, "", 0)  # before a value is asked for
        value = typed(f"value of {name}").removesuffix("\n")
        store.write(lambda tx: projects.set_secret(tx, store.box, project.id, name, value, store.now_ms))
    return 0


def _purge_layers(args: argparse.Namespace) -> int:
    from appliance.store import docker_layers

    with store_of(args) as store:
        project = project_of(store.tx, args.name)
        count = store.write(lambda tx: docker_layers.purge(tx, project.id))
        print(f"forgot {count} sets of layers of {project.name}; a running server removes them within a minute")
    return 0
