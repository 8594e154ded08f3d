"""The feature registry brought to what feature_repo says, as `feast plan` and `feast apply` do."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.diff.registry_diff import FeastObjectDiff
    from feast.repo_contents import RepoContents

log = logging.getLogger(__name__)


def plan() -> list[str]:
    """What `apply` would change, one line per object; nothing is changed."""
    changes = _changes(*_store_and_repo())
    log.info("%s", "\n".join(changes) or "No changes to the registry")
    return changes


def apply() -> list[str]:
    """Makes the changes, objects that are no longer defined included, and returns them, one line each.

    Without changes the registry is not written, so that nobody who is materializing has to merge with it.
    """
    from feast.repo_operations import apply_total_with_repo_instance

    store, repo = _store_and_repo()
    changes = _changes(store, repo)
    if not changes:
        log.info("No changes to the registry of project %s", store.project)
        return []
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
    from feast.feature_view import DUMMY_ENTITY_NAME

    diff, _, _ = store.plan(repo)
    return [
        f"{change} {each.feast_object_type.value} {each.name}"
        for each in diff.feast_object_diffs
        if each.name != DUMMY_ENTITY_NAME
        if (change := _change(each))
    ]


def _change(difference: FeastObjectDiff) -> str:
    """create, delete, update or nothing. Feast itself calls a view updated for the time at which its source was written."""
    old, new = difference.current_feast_object, difference.new_feast_object
    if old is None or new is None:
        return "create" if old is None else "delete"
    return "" if _definition(old) == _definition(new) else "update"


def _definition(registered: Any) -> Any:
    proto: Any = registered.to_proto()
    definition = proto.spec if "spec" in proto.DESCRIPTOR.fields_by_name else proto
    _forget(definition)
    return definition


def _forget(message: Any) -> None:
    """Drops what Feast fills in when it writes the registry."""
    for field, value in message.ListFields():
        if field.name in {"meta", "project"}:
            message.ClearField(field.name)
        elif field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        else:
            for part in value if field.is_repeated else (value,):
                _forget(part)
