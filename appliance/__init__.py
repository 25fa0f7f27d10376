"""Rondo: a CI server in one process that runs the `.circleci/config.yml` a team already has."""

__version__ = "0.1.0"
