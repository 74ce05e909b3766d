"""Reads a playbook from its folder. What its files may say is in `core/playbook.py`."""

from pathlib import Path

from dagster_project.core.challenger_rules import FOLDER
from dagster_project.core.playbook import FILES, Playbook, PlaybookError, load_playbook

PACKAGED = Path(__file__).parent / "playbook"


def read_playbook(directory: Path | None) -> Playbook:
    """Read the playbook.

    Args:
        directory: The user's folder. A file that it lacks is the packaged one, so that a playbook may hold only what
            differs; challengers are in its folder `challengers`. None means the packaged playbook.

    Raises:
        PlaybookError: The folder is not there, holds a file that is no part of a playbook, or one can't be used.
    """
    own = _own_files(directory) if directory else {}
    challengers = challenger_files(directory) if directory else []
    return load_playbook(
        {name: _text(own.get(name, PACKAGED / name)) for name in FILES},
        {path.name: _text(path) for path in challengers},
    )


def challenger_files(directory: Path) -> list[Path]:
    """The files of a playbook's challengers, sorted; other files than YAML may lie beside them."""
    return sorted(path for path in (directory / FOLDER).glob("*.y*ml") if path.is_file())


def _own_files(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise PlaybookError(
            f"PLS_PLAYBOOK_DIR is {directory}, which is no folder: copy {PACKAGED.name}/ there, or unset it"
        )
    found = {path.name: path for path in directory.iterdir() if path.suffix in (".yml", ".yaml")}
    unknown = sorted(set(found) - set(FILES))
    if unknown:
        raise PlaybookError(
            f"{directory} holds {', '.join(unknown)}, which no part of the pipeline reads: expected some of "
            f"{', '.join(FILES)}"
        )
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlaybookError(f"{path.name}: this is no UTF-8 text (byte {error.start})") from None
