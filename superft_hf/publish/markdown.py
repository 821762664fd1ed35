"""Markdown as the Hub draws it. What people typed formats nothing and breaks no table."""

import re
from collections.abc import Sequence


def plain(text: str) -> str:
    r"""Text on one line in which nothing formats.

    Example:
        >>> print(plain("a_b *c* | <d>"))
        a\_b \*c\* \| \<d\>
    """
    return re.sub(r"([\\`*_{}\[\]<>#!|~$:@&])", r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table; its cells are Markdown without line breaks.

    Args:
        head: Titles of the columns.
        rows: As long as the head.
        align: `l` or `r` a column; the first left and all others right when empty.

    Example:
        >>> print(table(("Class", "Images"), [("cat", "12")]))
        | Class | Images |
        | :--- | ---: |
        | cat | 12 |
    """
    sides = align or "l" + "r" * (len(head) - 1)
    rules = [":---" if side == "l" else "---:" for side in sides]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows))


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names in a sentence, the rest counted.

    Example:
        >>> listed(["cat", "dog"]), listed(["a", "b", "c"], limit=2)
        ('cat, dog', 'a, b and 1 more')
    """
    shown = ", ".join(plain(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
