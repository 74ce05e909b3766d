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
    found = {path.name: path for path in directory.iterdir() if not path.name.startswith(".")}
    own = {name: path for name, path in found.items() if name in FILES}
    unknown = sorted(name for name, path in found.items() if name not in own and _looks_like_rules(path))
    if unknown:
        raise PlaybookError(
            f"{directory} holds {', '.join(unknown)}, which no part of the pipeline reads: expected some of "
            f"{', '.join(FILES)}, and {FOLDER}/ with YAML files"
        )
    if found and not own and FOLDER not in found:
        raise PlaybookError(f"{directory} holds no file of a playbook: expected some of {', '.join(FILES)}")
    return own


def _looks_like_rules(path: Path) -> bool:
    """Whether somebody may think that it is read: a file with a name of YAML, a folder with one in it."""
    if path.is_dir():
        read = challenger_files(path.parent) if path.name == FOLDER else ()
        return any(_looks_like_rules(inside) for inside in path.iterdir() if inside not in read)
    return bool({".yml", ".yaml"}.intersection(suffix.lower() for suffix in path.suffixes))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlaybookError(f"{path.name}: this is no UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise PlaybookError(f"{path.name}: {path} can't be read: {error.strerror}") from None
