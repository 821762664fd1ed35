"""`superft cache`: what a home keeps so that images are not opened again, and how to be rid of it."""

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from superft_hf.cli_words import Call, say, short, write_json, write_table
from superft_hf.errors import HomeError
from superft_hf.paths import HomePaths
from superft_hf.sources.cache_room import CacheFolder, clear_caches, list_caches
from superft_hf.words import counted, size


def cache(asked: argparse.Namespace, call: Call) -> int:
    """Lists the caches of the home, or removes those that no run uses."""
    paths = HomePaths(call.home)
    if asked.clear:
        _clear(paths)
    found = list_caches(paths.image_caches)
    looks_bytes = sum(path.stat().st_size for path in _looks(paths))
    if asked.json:
        write_json(_details(found, looks_bytes, paths))
        return 0
    if found:
        write_table(("DATA", "IMAGES", "SIZE", "AT MOST", "LAST USED"), [_row(one) for one in found])
    total = sum(one.size_bytes for one in found)
    say(
        f"{size(total)} of prepared images in {counted(len(found), 'cache')}, and {size(looks_bytes)} of "
        "notes on images that were opened."
    )
    if total + looks_bytes:
        say(f"`{call.command('cache', '--clear')}` removes what no run uses; it is made again when needed.")
    return 0


def cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `superft cache` takes."""
    parser.add_argument("--clear", action="store_true", help="remove every cache that no run uses")


def _clear(paths: HomePaths) -> None:
    try:
        freed = clear_caches(paths.image_caches)
        for path in _looks(paths):
            freed += path.stat().st_size
            path.unlink()
    except OSError as error:
        raise HomeError(
            f"The folder {paths.cache} cannot be cleared: {error.strerror or error}.",
            hint="Change its permissions, or wait until no run starts.",
        ) from error
    say(f"{size(freed)} became free.")


def _looks(paths: HomePaths) -> list[Path]:
    """The files of the database of opened images."""
    return sorted(paths.cache.glob(f"{paths.scan_cache.name}*"))


def _row(one: CacheFolder) -> tuple[str, ...]:
    used = datetime.fromtimestamp(one.used_at).astimezone()
    when = "in use" if one.is_in_use else f"{used:%Y-%m-%d %H:%M}"
    return short(one.title), one.words, size(one.size_bytes), size(one.reserved_bytes), when


def _details(found: list[CacheFolder], looks_bytes: int, paths: HomePaths) -> dict[str, Any]:
    return {
        "folder": str(paths.image_caches),
        "images": [
            {
                **asdict(one),
                "folder": str(one.folder),
                "used_at": datetime.fromtimestamp(one.used_at, UTC).isoformat(timespec="seconds"),
            }
            for one in found
        ],
        "looks_bytes": looks_bytes,
        "size_bytes": looks_bytes + sum(one.size_bytes for one in found),
    }
