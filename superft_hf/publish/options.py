"""What a person decides when publishing a run."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from superft_hf.errors import PublishError

LICENCE_IDS = (
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m",
    "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "isc", "h-research", "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0",
    "odc-by", "odbl", "openmdw-1.0", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense",
    "zlib", "pddl", "lgpl-lr", "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2",
    "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "grok2-community", "unknown", "other",
)  # fmt: skip
"""What the Hub accepts as `license` of a card."""

MAX_MISCLASSIFIED = 48
MAX_WORDS = 20_000

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class PublishOptions:
    """Choices for the card and for the way to the Hub.

    Attributes:
        intended_use: Markdown for the card; empty leaves a sentence that says it is missing.
        limits: Likewise.
        licence: The Hub's id of the model's licence; empty takes the one that follows from model and images.
        num_misclassified: How many misclassified eval pictures go in; none unless asked for.
        is_private: Whether a new repository is private; an existing one stays as it is.
        as_pull_request: Whether an existing repository gets a pull request instead of a commit.
        message: Title of the commit; empty makes one of the run's name.
    """

    intended_use: str = ""
    limits: str = ""
    licence: str = ""
    num_misclassified: int = 0
    is_private: bool = True
    as_pull_request: bool = False
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def require_valid(self) -> "PublishOptions":
        """Returns itself. Raises PublishError for what the Hub would refuse, or a card cannot hold."""
        if self.licence and self.licence not in LICENCE_IDS:
            raise PublishError(
                f"{self.licence!r} is no licence that the Hub knows.",
                hint="Use an id such as apache-2.0, mit, cc-by-4.0, cc-by-nc-sa-4.0 or other.",
            )
        if not 0 <= self.num_misclassified <= MAX_MISCLASSIFIED:
            raise PublishError(
                f"{self.num_misclassified} misclassified pictures cannot go in.",
                hint=f"Choose 0 to {MAX_MISCLASSIFIED}.",
            )
        longest = max(len(self.intended_use), len(self.limits), len(self.message))
        if longest > MAX_WORDS:
            raise PublishError(
                f"A text of {longest:,} characters is too long for a card.",
                hint=f"Keep it below {MAX_WORDS:,}.",
            )
        return self


def require_repo_id(repo_id: str) -> str:
    """Returns `OWNER/NAME` when it can be a repository of the Hub. Raises PublishError."""
    owner, slash, name = repo_id.partition("/")
    parts_fit = all(
        _PART.fullmatch(part) and ".." not in part and "--" not in part and len(part) <= 96
        for part in (owner, name)
    )
    if not slash or not parts_fit or name.endswith(".git"):
        raise PublishError(
            f"{repo_id!r} cannot be the name of a repository on the Hub.",
            hint="Give OWNER/NAME of letters, digits, '-', '_' and '.', such as acme/solar-cells.",
        )
    return repo_id


def suggested_name(text: str) -> str:
    """A name for a repository made of a run's name.

    Example:
        >>> suggested_name("first try (lite0)"), suggested_name("??")
        ('first-try-lite0', 'model')
    """
    made = re.sub(r"[^A-Za-z0-9._]+", "-", text.strip())
    made = re.sub(r"([-.])[-.]+", r"\1", made).strip("-._")[:80].strip("-._")
    return made.removesuffix(".git") or "model"
