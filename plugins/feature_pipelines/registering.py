"""The feature registry brought to what feature_repo says, as `feast plan` and `feast apply` do."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_contents import RepoContents

log = logging.getLogger(__name__)


def plan() -> list[str]:
    """What `apply` would change, one line per object; nothing is changed."""
    store, repo = _store_and_repo()
    changes = _changes(store, repo)
    log.info("%s", "\n".join(changes) or "No changes to the registry")
    return changes


def apply() -> list[str]:
    """Makes the changes, objects that are no longer defined included, and returns them, one line each."""
    from feast.repo_operations import apply_total_with_repo_instance

    store, repo = _store_and_repo()
    changes = _changes(store, repo)
    # The tables of a fresh lake do not exist yet; that they do is the first publish's business.
    apply_total_with_repo_instance(store, store.project, store.registry, repo, skip_source_validation=True)
    log.info("Applied %s changes to the registry of project %s", len(changes), store.project)
    return changes


def _store_and_repo() -> tuple[FeatureStore, RepoContents]:
    from feast import Project
    from feast.repo_operations import parse_repo

    from feature_pipelines import environment

    env = environment.load()
    # Feast finds a repository's modules by their path below the working directory.
    with contextlib.chdir(env.repo):
        if str(env.repo) not in sys.path:
            sys.path.append(str(env.repo))
        repo = parse_repo(env.repo)
    repo.projects.append(Project(name=env.project))
    return env.feature_store(), repo


def _changes(store: FeatureStore, repo: RepoContents) -> list[str]:
    from feast.diff.property_diff import TransitionType
    from feast.feature_view import DUMMY_ENTITY_NAME

    diff, _, _ = store.plan(repo)
    return [
        f"{each.transition_type.name.lower()} {each.feast_object_type.value} {each.name}"
        for each in diff.feast_object_diffs
        if each.transition_type is not TransitionType.UNCHANGED and each.name != DUMMY_ENTITY_NAME
    ]
