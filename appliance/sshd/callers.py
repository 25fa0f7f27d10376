"""Who a key speaks for at the SSH door: a person, a project's jobs by a checkout key, or a machine that dials in.

A deploy key reads one repository and nothing else. A user key does with git what its user may, and nothing else: it lies
in jobs, where everybody who can push to the project can read it, so it opens no shell. A machine's key serves jobs, and
opens nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.errors import Refused
from appliance.model import Project, User
from appliance.ssh_keys import fingerprint_of
from appliance.store import keys, machines, people, projects
from appliance.store.database import Tx


@dataclass(frozen=True, kw_only=True)
class Caller:
    name: str
    user: User | None  # None: a deploy key, or a machine's
    project: Project | None = None  # the one whose checkout key this is
    is_machine: bool = False

    @property
    def person(self) -> User:
        """Raises Refused for a checkout key."""
        if self.user is None or self.project is not None:
            raise Refused("this is a checkout key: it is for git, and opens no shell")
        return self.user

    def may_read(self, tx: Tx, project: Project) -> bool:
        if self.user is None:
            return self.project is not None and self.project.id == project.id
        return projects.may_enter(tx, self.user, project.id)

    @property
    def may_push(self) -> bool:
        """Whether at all; where to is for `may_read`."""
        return self.user is not None


def find(tx: Tx, public_key: str) -> Caller | None:
    """Who has this key ("ssh-ed25519 AAAA..."), as of now."""
    fingerprint = fingerprint_of(public_key)
    user = people.by_key(tx, fingerprint)
    if user is not None:
        return Caller(name=user.name, user=user)
    holder = keys.holder(tx, fingerprint)
    if holder is None:
        machine = machines.by_runner_key(tx, public_key)
        return None if machine is None else Caller(name=f"machine {machine.name}", user=None, is_machine=True)
    # Not the bare name of the user: what a job pushes must not run with the rights that only they have (spec 7.6).
    name = f"{holder.user.name} (by a key of {holder.project.name})" if holder.user else holder.project.name
    return Caller(name=name, user=holder.user, project=holder.project)
