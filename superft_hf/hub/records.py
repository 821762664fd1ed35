"""Plain records about the Hub: search results, and whom a token stands for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HubEntry:
    """One line of a search: a repository of the Hub, or what the local cache holds of one.

    Attributes:
        repo_id: `owner/name`.
        kind: `model` or `dataset`.
        author: The owner.
        downloads: In the last month; None when unknown. Likewise likes.
        last_modified: UTC, ISO 8601; empty when unknown.
        task: Such as `image-classification`; empty when unknown.
        library: Such as `timm`; empty when unknown.
        licence: As its tags say; empty when unknown.
        size: Parameters of a model, or the size category of a data set such as `10K<n<100K`; in words.
        is_gated: Whether its terms have to be accepted first.
        is_private: Whether only its owner sees it.
        is_local: Whether it comes from the cache of this machine rather than from the Hub.
    """

    repo_id: str
    kind: str
    author: str = ""
    downloads: int | None = None
    likes: int | None = None
    last_modified: str = ""
    task: str = ""
    library: str = ""
    licence: str = ""
    size: str = ""
    is_gated: bool = False
    is_private: bool = False
    is_local: bool = False


@dataclass(frozen=True)
class HubPage:
    """One page of search results.

    Attributes:
        entries: In the order asked for.
        next_cursor: What brings the next page; None at the end.
        note: Why the list is local or empty, as a sentence; empty when the Hub answered.
    """

    entries: tuple[HubEntry, ...] = ()
    next_cursor: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Identity:
    """Whom a token stands for. The token itself is never kept in a record.

    Attributes:
        name: The user's name on the Hub.
        organisations: Names of the organisations that the user may publish to.
        role: `read`, `write`, `fineGrained` or another word of the Hub.
        token_name: What its owner called it.
        source: `environment`, `login` (kept by `hf auth login`) or `session` (typed into this browser tab).
    """

    name: str
    organisations: tuple[str, ...] = ()
    role: str = ""
    token_name: str = ""
    source: str = ""

    @property
    def can_write(self) -> bool:
        """Whether it may be able to publish; of a fine-grained token only a try can tell."""
        return self.role != "read"
