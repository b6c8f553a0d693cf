"""What can go wrong with agents and versions, besides malformed input and unknown ids."""

from tollhouse.plugin.errors import Conflict


class SlugTaken(Conflict):
    code = "slug_taken"
    title = "Another agent already has this short name"


class VersionFrozen(Conflict):
    code = "version_frozen"
    title = "This version was active once and never changes again; make a new draft from it"


class Stale(Conflict):
    code = "changed_meanwhile"
    title = "Somebody else changed this in the meantime; load it again"


class NoActiveVersion(Conflict):
    code = "no_active_version"
    title = "Activate a version before publishing this agent"


class VersionInUse(Conflict):
    code = "version_in_use"
    title = "This version is in use; activate another one instead"


class AgentArchived(Conflict):
    code = "agent_archived"
    title = "This agent is archived"
